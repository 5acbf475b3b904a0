"""Reopening: a fan-out that goes on with tenants that had ended without success, because a person asks for it."""

from __future__ import annotations

from collections.abc import Sequence

from steadybeat.ledger.connection import Database, sql

BATCH = 1_000

# An ended fan-out is taken too: `admitting` leaves those alone.
_LOCK = sql("SELECT run FROM steadybeat.fan_outs WHERE run = :run AND written_at IS NOT NULL FOR UPDATE")
_RELEASED = sql("""
    SELECT run FROM steadybeat.fan_outs WHERE run = ANY(CAST(:run_ids AS uuid[])) AND written_at IS NOT NULL
""")
# What a person has cancelled by itself stays so.
_REVIVE = sql("""
    WITH former AS MATERIALIZED (
        SELECT id FROM steadybeat.runs
         WHERE fan_out = :run AND state = ANY(:states)
           AND (state <> 'cancelled' OR cancel_requested_at IS NULL OR given_up)
         LIMIT CAST(:row_count AS integer) FOR UPDATE
    )
    UPDATE steadybeat.runs r
       SET state = 'waiting', in_line = true, reason = :reason, finished_at = NULL, not_before = clock_timestamp(),
           deadline = NULL, delivery_no = r.delivery_no + 1, retry_count = 0, crash_count = 0, rescue_count = 0,
           next_rescue_at = NULL, retry_until = NULL, replaced_at = NULL, cancel_requested_at = NULL,
           cancel_reason = NULL, given_up = false, terminate_at = NULL
      FROM former WHERE r.id = former.id
    RETURNING r.id
""")
REOPENED = """
       SET ended_at = NULL, aborted_at = NULL, abort_reason = NULL,
           forgiven_count = (SELECT count(*) FROM steadybeat.runs d WHERE d.fan_out = f.run AND d.state = 'dead')"""
_REOPEN = sql(f"UPDATE steadybeat.fan_outs f {REOPENED} WHERE f.run = :run")
WAITS_AGAIN = """
       SET state = 'waiting', reason = 'waits for tenants that have another try', finished_at = NULL,
           cancel_requested_at = NULL, cancel_reason = NULL"""
_WAITS_AGAIN = sql(f"""
    UPDATE steadybeat.runs whole {WAITS_AGAIN} WHERE whole.id = :run AND whole.finished_at IS NOT NULL
""")
_NOTE = sql("""
    INSERT INTO steadybeat.operations (who, what, target, reason, details)
    VALUES (:who, :what, :target, :reason, jsonb_build_object('tenant_count', CAST(:row_count AS integer)))
""")


class Reopening:
    """Has fan-outs go on."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def released(self, runs: Sequence[str]) -> list[str]:
        """Return those of some runs that have fanned out."""
        return [str(row.run) for row in self._database.execute(_RELEASED, {"run_ids": list(runs)})]

    def reopen(self, run: str, states: Sequence[str], *, who: str, what: str, reason: str) -> int:
        """Put tenants back in line; the fan-out is over again when they have ended.

        Retries count anew, and so do the failures that would abort it. It is noted in `operations`.

        Args:
            run: Whose fan-out it is.
            states: Tenants' runs in these states: ``dead``, ``cancelled``; those that a person has cancelled stay so.
            who: Who does it.
            what: The command.
            reason: Why.

        Returns:
            How many tenants; where there are none, nothing has changed.
        """
        count, batch = 0, BATCH
        words = f"requeued by {who}: {reason}"
        with self._database.transaction() as connection:
            if connection.execute(_LOCK, {"run": run}).first() is None:
                return 0
            while batch == BATCH:
                values = {"run": run, "states": list(states), "reason": words}
                batch = len(connection.execute(_REVIVE, values | {"row_count": BATCH}).all())
                count += batch
            if count:
                connection.execute(_REOPEN, {"run": run})
                connection.execute(_WAITS_AGAIN, {"run": run})
                noted = {"who": who, "what": what, "target": run, "reason": reason, "row_count": count}
                connection.execute(_NOTE, noted)
        return count
