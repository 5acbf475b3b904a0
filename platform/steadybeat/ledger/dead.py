"""Dead letters: runs that have given up, and messages that nobody could read. They wait for a person."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.reopening import AFRESH, Reopening
from steadybeat.ledger.search import SAYS

CAUSES = ("failed", "timed_out", "lost", "unstarted", "foreign")
"""Why something is dead: how the last attempt of a run ended; no attempt of it began; or it is no run."""

# How many are looked at in one statement, so that none takes longer than a statement may.
BATCH = 500

_CAUSE = """
    coalesce((SELECT a.outcome FROM steadybeat.attempts a
               WHERE a.run = r.id AND a.number = r.attempt_count AND a.outcome IN ('failed', 'timed_out', 'lost')),
             CASE WHEN r.attempt_count > 0 AND least(r.retry_until, r.deadline) <= r.finished_at THEN 'failed' END,
             'unstarted')"""
# Foreign messages whose run is on record are that run's.
_FOUND = f"""
    (SELECT CAST(r.id AS text) AS id, 'run' AS kind, r.task, r.service, r.queue, {_CAUSE} AS cause, r.reason,
           r.schedule, r.scheduled_for, r.tenant, CAST(r.fan_out AS text) AS of_fan_out,
           r.attempt_count, r.finished_at AS died_at, r.error
      FROM steadybeat.runs r
     WHERE r.state = 'dead'
       AND (CAST(:run_ids AS text[]) IS NULL OR r.id = ANY(CAST(:run_ids AS uuid[])))
       AND (CAST(:task AS text) IS NULL OR r.task = :task)
       AND (CAST(:service AS text) IS NULL OR r.service = :service)
       AND (CAST(:schedule AS text) IS NULL OR r.schedule = :schedule)
       AND (CAST(:tenant AS text) IS NULL OR r.tenant = :tenant)
       AND (CAST(:fan_out AS uuid) IS NULL OR r.fan_out = CAST(:fan_out AS uuid))
       AND (CAST(:since AS timestamptz) IS NULL OR r.finished_at >= :since)
       AND (CAST(:error AS text) IS NULL OR {SAYS.format(text="concat_ws(' ', r.reason, r.error)")})
       AND (CAST(:cause AS text) IS NULL OR {_CAUSE} = :cause)
     ORDER BY r.finished_at {{order}} LIMIT CAST(:row_count AS integer))
    UNION ALL
    (SELECT 'foreign:' || f.id, 'foreign', NULL, NULL, f.queue, 'foreign', f.reason, NULL, NULL, NULL, NULL, 0,
           f.seen_at, NULL
      FROM steadybeat.foreign_messages f
     WHERE NOT EXISTS (SELECT FROM steadybeat.runs r WHERE r.id = f.run AND r.state = 'dead')
       AND (CAST(:foreign_ids AS text[]) IS NULL OR f.id = ANY(CAST(:foreign_ids AS bigint[])))
       AND coalesce(:task, :schedule, :tenant, :fan_out) IS NULL
       AND (CAST(:service AS text) IS NULL OR f.queue = :service)
       AND (CAST(:since AS timestamptz) IS NULL OR f.seen_at >= :since)
       AND (CAST(:error AS text) IS NULL OR {SAYS.format(text="f.reason")})
       AND (CAST(:cause AS text) IS NULL OR :cause = 'foreign')
     ORDER BY f.seen_at {{order}} LIMIT CAST(:row_count AS integer))
    ORDER BY died_at {{order}}, id {{order}} LIMIT CAST(:row_count AS integer)"""
_NEWEST = sql(_FOUND.format(order="DESC"))
_OLDEST = sql(_FOUND.format(order="ASC"))
_FOREIGN = sql("""
    SELECT f.id, f.queue, f.raw, f.reason, f.seen_at, f.run, r.state AS run_state
      FROM steadybeat.foreign_messages f LEFT JOIN steadybeat.runs r ON r.id = f.run
     WHERE f.id = CAST(:message AS bigint)
""")
# What has happened since to the key of a dead run, or to a rerun of it.
_STANDING = sql("""
    SELECT r.id, r.state,
           CASE WHEN k.state = 'done' AND k.run <> r.id THEN k.changed_at END AS effect_at,
           CASE WHEN k.state = 'done' AND k.run <> r.id THEN k.run END AS effect_run,
           coalesce(holder.id, again.id) AS open_run, coalesce(holder.state, again.state) AS open_state,
           again.id IS NOT NULL AS was_rerun
      FROM steadybeat.runs r
      LEFT JOIN steadybeat.processed_keys k
             ON k.task = r.task AND k.key = r.idempotency_key AND k.step = ''
            AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())
      LEFT JOIN steadybeat.runs holder ON holder.id = k.run AND holder.id <> r.id AND holder.finished_at IS NULL
      LEFT JOIN LATERAL (
          SELECT o.id, o.state FROM steadybeat.runs o
           WHERE o.rerun_of = r.id AND o.finished_at IS NULL ORDER BY o.id LIMIT 1) again ON true
     WHERE r.id = ANY(CAST(:run_ids AS uuid[]))
""")

_NOTED = """
    noted AS (
        INSERT INTO steadybeat.operations (who, what, target, reason, details)
        SELECT :who, :what, CAST(run.id AS text), :reason, jsonb_build_object({details}) FROM run
    )"""
# A fire that no attempt was made of is one that a person has asked for now: neither late nor paused.
_REQUEUE = sql(f"""
    WITH former AS MATERIALIZED (
        SELECT r.id, r.reason FROM steadybeat.runs r
         WHERE r.id = ANY(CAST(:run_ids AS uuid[])) AND r.state = 'dead'
         ORDER BY r.id FOR UPDATE
    ),
    run AS (
        UPDATE steadybeat.runs r
           SET {AFRESH}, reason = 'requeued by ' || CAST(:who AS text) || ': ' || CAST(:reason AS text),
               not_before = CASE WHEN r.fan_out IS NOT NULL THEN clock_timestamp() END,
               in_line = r.fan_out IS NOT NULL
          FROM former WHERE r.id = former.id
        RETURNING r.id, r.task, r.delivery_no, r.attempt_count, r.schedule, r.scheduled_for, former.reason AS former,
                  r.fan_out, r.in_line
    ),
    later AS (
        INSERT INTO steadybeat.outbox (publish_at, run, delivery_no, reason)
        SELECT clock_timestamp(), id, delivery_no, 'rerun' FROM run WHERE NOT in_line
    ),
    fire AS (
        UPDATE steadybeat.fires f SET asked = coalesce(f.asked, 'trigger'), due_at = clock_timestamp()
          FROM run
         WHERE run.attempt_count = 0 AND f.schedule = run.schedule AND f.scheduled_for = run.scheduled_for
    ),
    kept AS (DELETE FROM steadybeat.foreign_messages f USING run WHERE f.run = run.id),
    {_NOTED.format(details="'task', run.task, 'was', run.former, 'delivery_no', run.delivery_no")}
    SELECT id, fan_out FROM run
""")
_DISCARD = sql(f"""
    WITH former AS MATERIALIZED (
        SELECT r.id, r.reason FROM steadybeat.runs r
         WHERE r.id = ANY(CAST(:run_ids AS uuid[])) AND r.state = 'dead'
         ORDER BY r.id FOR UPDATE
    ),
    run AS (
        UPDATE steadybeat.runs r
           SET state = 'cancelled', finished_at = clock_timestamp(),
               reason = 'discarded by ' || CAST(:who AS text) || ': ' || CAST(:reason AS text)
          FROM former WHERE r.id = former.id
        RETURNING r.id, r.task, former.reason AS former
    ),
    kept AS (DELETE FROM steadybeat.foreign_messages f USING run WHERE f.run = run.id),
    {_NOTED.format(details="'task', run.task, 'was', run.former")}
    SELECT id, CAST(NULL AS uuid) AS fan_out FROM run
""")
_TAKE = sql("""
    DELETE FROM steadybeat.foreign_messages WHERE id = CAST(:message AS bigint) RETURNING id, queue, raw, reason
""")
_NOTE = sql("""
    INSERT INTO steadybeat.operations (who, what, target, reason, details)
    VALUES (:who, :what, :target, :reason, CAST(:details AS jsonb))
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Which dead letters are meant; what is None does not matter.

    Attributes:
        runs: Ids of runs.
        messages: Ids of foreign messages.
        task: Their task; foreign messages have none.
        service: Their service; of a foreign message, the queue that it lay on.
        schedule: Runs of its fires.
        tenant: Runs for it.
        fan_out: Runs of this fan-out's tenants.
        since: They died at this instant or later.
        error: This stands in their reason, or in their last error with its stack, in whatever case.
        cause: One of `CAUSES`.
    """

    runs: Sequence[str] | None = None
    messages: Sequence[int] | None = None
    task: str | None = None
    service: str | None = None
    schedule: str | None = None
    tenant: str | None = None
    fan_out: str | None = None
    since: datetime | None = None
    error: str | None = None
    cause: str | None = None


class Dead:
    """What waits for a person."""

    def __init__(self, database: Database, reopening: Reopening) -> None:
        self._database = database
        self._reopening = reopening

    def find(self, which: Which, *, limit: int, oldest_first: bool = False) -> list[dict[str, Any]]:
        """Return dead letters, those that died last first.

        Args:
            which: Which are meant.
            limit: How many at the most.
            oldest_first: Those that died first come first.

        Returns:
            Of each its ``id``, its ``kind`` (``run``, or ``foreign`` for a message that is none), and what is known.
        """
        named = which.runs is not None or which.messages is not None
        values = {
            "run_ids": [*(which.runs or ())] if named else None,
            "foreign_ids": [*map(str, which.messages or ())] if named else None,
            "task": which.task,
            "service": which.service,
            "schedule": which.schedule,
            "tenant": which.tenant,
            "fan_out": which.fan_out,
            "since": which.since,
            "error": which.error,
            "cause": which.cause,
            "row_count": limit,
        }
        return self._mappings(_OLDEST if oldest_first else _NEWEST, values)

    def foreign(self, message: int) -> dict[str, Any] | None:
        """Return a foreign message with its ``raw`` bytes, and the run that it was for where that is on record."""
        found = self._mappings(_FOREIGN, {"message": str(message)})
        return found[0] if found else None

    def standing(self, runs: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return what has happened to the keys of some runs since they died, by the runs' ids.

        Returns:
            Of each its ``state``; when and in which run the effect has happened (``effect_at``, ``effect_run``); and
            a run for the same key that has not ended (``open_run``, ``open_state``), and whether that ``was_rerun``.
        """
        return {str(row["id"]): row for row in self._mappings(_STANDING, {"run_ids": list(runs)})}

    def requeue(
        self, runs: Sequence[str], *, who: str, reason: str, tell: Callable[[int], None] | None = None
    ) -> list[str]:
        """Have dead runs tried again, each under its own id and key; their attempts stay on record.

        Retries and deaths of workers count anew, and no deadline holds any more. A run that has fanned out goes on
        with the tenants that have not succeeded. Each is noted in `operations`.

        Args:
            runs: Their ids.
            who: Who does it.
            reason: Why.
            tell: Is called with how many have been looked at, batch by batch.

        Returns:
            Those that are; the others were not dead any more.
        """
        whole = self._reopening.released(runs)
        single = [run for run in runs if run not in whole]
        requeued = self._change(_REQUEUE, "dead requeue", single, who, reason, tell)
        for run in whole:
            self._reopening.reopen(run, ("dead", "cancelled"), who=who, what="dead requeue", reason=reason)
        return requeued + self._reopening.waiting(whole)

    def discard(
        self, runs: Sequence[str], *, who: str, reason: str, tell: Callable[[int], None] | None = None
    ) -> list[str]:
        """End dead runs for good: they are cancelled, with the reason. Each is noted in `operations`.

        Args:
            runs: Their ids.
            who: Who does it.
            reason: Why.
            tell: Is called with how many have been looked at, batch by batch.

        Returns:
            Those that are; the others were not dead any more.
        """
        return self._change(_DISCARD, "dead discard", runs, who, reason, tell)

    def give_back(self, message: int, send: Callable[[str, bytes], None], *, who: str, reason: str) -> bool:
        """Hand a foreign message to `send`, and forget it; of several who do so at once, one does.

        If `send` raises, it is kept. If the process dies right after it, the message is both on its queue and kept.

        Args:
            message: Its id.
            send: Is given the queue and the bytes.
            who: Who does it.
            reason: Why.

        Returns:
            False where it is not there any more.
        """
        return self._take(message, "dead requeue", send, who, reason)

    def throw_away(self, message: int, *, who: str, reason: str) -> bool:
        """Forget a foreign message; return False where it is not there any more."""
        return self._take(message, "dead discard", None, who, reason)

    def _take(self, message: int, what: str, send: Callable[[str, bytes], None] | None, who: str, reason: str) -> bool:
        with self._database.transaction() as connection:
            row = connection.execute(_TAKE, {"message": str(message)}).first()
            if row is None:
                return False
            details = {"queue": row.queue, "was": row.reason, "size_bytes": len(row.raw)}
            values = {"who": who, "what": what, "target": f"foreign:{message}", "reason": reason}
            connection.execute(_NOTE, values | {"details": json.dumps(details)})
            if send is not None:
                send(row.queue, bytes(row.raw))
        return True

    def _change(
        self,
        statement: Any,
        what: str,
        runs: Sequence[str],
        who: str,
        reason: str,
        tell: Callable[[int], None] | None,
    ) -> list[str]:
        changed: list[str] = []
        for start in range(0, len(runs), BATCH):
            values = {"run_ids": list(runs[start : start + BATCH]), "who": who, "what": what, "reason": reason}
            with self._database.transaction() as connection:
                self._reopening.hold_those_of(connection, values["run_ids"])
                rows = connection.execute(statement, values).all()
                self._reopening.go_on(connection, {str(row.fan_out) for row in rows if row.fan_out is not None})
                changed += [str(row.id) for row in rows]
            if tell is not None:
                tell(len(values["run_ids"]))
        return changed

    def _mappings(self, statement: Any, values: dict[str, Any]) -> list[dict[str, Any]]:
        return [dict(row._mapping) for row in self._database.execute(statement, values)]
