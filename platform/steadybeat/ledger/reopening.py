"""Reopening: a fan-out that goes on with tenants that had ended without success, because a person asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection

from steadybeat.ledger.connection import Database, sql

AFRESH = """
           state = 'waiting', finished_at = NULL, deadline = NULL, delivery_no = r.delivery_no + 1, retry_count = 0,
           crash_count = 0, rescue_count = 0, next_rescue_at = NULL, retry_until = NULL, replaced_at = NULL,
           cancel_requested_at = NULL, cancel_reason = NULL, given_up = false, terminate_at = NULL, instance = NULL,
           lease_until = NULL"""
"""A run that had ended has another try."""

# An ended fan-out is taken too: `admitting` leaves those alone.
_LOCK = sql("SELECT run FROM steadybeat.fan_outs WHERE run = :run AND written_at IS NOT NULL FOR UPDATE")
_RELEASED = sql("""
    SELECT run FROM steadybeat.fan_outs WHERE run = ANY(CAST(:run_ids AS uuid[])) AND written_at IS NOT NULL
""")
# What a person has cancelled by itself stays so.
_MEANT = "fan_out = :run AND state = ANY(:states) AND (state <> 'cancelled' OR given_up)"
_WOULD_BE = sql(f"SELECT count(*) AS count FROM steadybeat.runs WHERE {_MEANT}")
_REVIVE = sql(f"""
    WITH former AS MATERIALIZED (
        SELECT id FROM steadybeat.runs
         WHERE {_MEANT}
           FOR UPDATE
    ),
    revived AS (
        UPDATE steadybeat.runs r SET {AFRESH}, in_line = true, reason = :reason, not_before = clock_timestamp()
          FROM former WHERE r.id = former.id
        RETURNING r.id
    )
    SELECT count(*) AS count FROM revived
""")
# One that is being wound down is not stopped by a single tenant that is to have another try.
_REOPEN = sql("""
    UPDATE steadybeat.fan_outs f
       SET ended_at = NULL,
           aborted_at = CASE WHEN ended_at IS NULL AND NOT :entirely THEN aborted_at END,
           abort_reason = CASE WHEN ended_at IS NULL AND NOT :entirely THEN abort_reason END,
           forgiven_count = CASE WHEN ended_at IS NULL AND NOT :entirely
                                 THEN least(forgiven_count, dead.count) ELSE dead.count END
      FROM (SELECT count(*) FROM steadybeat.runs d WHERE d.fan_out = :run AND d.state = 'dead') dead
     WHERE f.run = :run
""")
# What a person has cancelled stays so, unless those who were cancelled with it go on as well.
_WAITS_AGAIN = sql("""
    UPDATE steadybeat.runs whole
       SET state = 'waiting', reason = 'waits for tenants that have another try', finished_at = NULL,
           cancel_requested_at = CASE WHEN NOT :entirely THEN cancel_requested_at END,
           cancel_reason = CASE WHEN NOT :entirely THEN cancel_reason END
     WHERE whole.id = :run AND whole.finished_at IS NOT NULL
""")
_LOCK_THOSE_OF = sql("""
    SELECT run FROM steadybeat.fan_outs
     WHERE run IN (SELECT fan_out FROM steadybeat.runs WHERE id = ANY(CAST(:run_ids AS uuid[])))
     ORDER BY run FOR UPDATE
""")
_WAITING = sql("SELECT id FROM steadybeat.runs WHERE id = ANY(CAST(:run_ids AS uuid[])) AND state = 'waiting'")
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
        with self._database.transaction() as connection:
            if connection.execute(_LOCK, {"run": run}).first() is None:
                return 0
            values = {"run": run, "states": list(states), "reason": f"requeued by {who}: {reason}"}
            count = int(self._database.count(_REVIVE, values, connection).count)
            if count:
                self._goes_on(connection, run, entirely="cancelled" in states)
                noted = {"who": who, "what": what, "target": run, "reason": reason, "row_count": count}
                connection.execute(_NOTE, noted)
        return count

    def would_be(self, run: str, states: Sequence[str]) -> int:
        """Return how many tenants `reopen` would put back in line now."""
        return int(self._database.count(_WOULD_BE, {"run": run, "states": list(states)}).count)

    @staticmethod
    def hold_those_of(connection: Connection, runs: Sequence[str]) -> None:
        """Hold the fan-outs that some runs are shares of, so that none of them ends meanwhile."""
        connection.execute(_LOCK_THOSE_OF, {"run_ids": list(runs)})

    def go_on(self, connection: Connection, fan_outs: Iterable[str]) -> None:
        """Have fan-outs wait for single runs of theirs that have another try; whoever was given up stays so."""
        for run in fan_outs:
            self._goes_on(connection, run, entirely=False)

    def waiting(self, runs: Sequence[str]) -> list[str]:
        """Return those of some runs that wait for something."""
        return [str(row.id) for row in self._database.execute(_WAITING, {"run_ids": list(runs)})]

    @staticmethod
    def _goes_on(connection: Connection, run: str, *, entirely: bool) -> None:
        values = {"run": run, "entirely": entirely}
        connection.execute(_REOPEN, values)
        connection.execute(_WAITS_AGAIN, values)
