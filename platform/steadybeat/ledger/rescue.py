"""Rescue: what was lost on the way is sent again, under a higher delivery number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steadybeat.ledger.claim import ALIVE
from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.failing import FAILED
from steadybeat.settings import Settings

_BACKOFF = "least(:max_seconds, :base_seconds * (2 ^ least(rescue_count, 20)))"

_LOST = sql(f"""
    WITH gone AS (
        SELECT r.id, CASE WHEN r.cancel_requested_at IS NOT NULL THEN 'cancelled'
                          WHEN r.crash_count + 1 >= CAST(:crash_limit AS integer) THEN 'dead'
                          ELSE 'waiting' END AS becomes
          FROM steadybeat.runs r
         WHERE r.state = 'running' AND r.finished_at IS NULL AND NOT ({ALIVE.format(run="r")})
         ORDER BY r.enqueued_at
         LIMIT CAST(:row_count AS integer)
           FOR UPDATE SKIP LOCKED
    ),
    run AS (
        UPDATE steadybeat.runs r
           SET state = becomes,
               reason = CASE becomes WHEN 'dead' THEN 'workers died under it ' || r.crash_count + 1 || ' times'
                                     WHEN 'cancelled' THEN 'it was to be cancelled, and its worker was lost'
                                     ELSE 'its worker was lost' END,
               finished_at = CASE WHEN becomes <> 'waiting' THEN clock_timestamp() END,
               crash_count = r.crash_count + 1, rescue_count = r.rescue_count + 1,
               delivery_no = r.delivery_no + 1, instance = NULL, lease_until = NULL
          FROM gone WHERE r.id = gone.id
        RETURNING r.id, r.task, r.idempotency_key, r.attempt_count, r.delivery_no, r.rescue_count,
                  r.schedule, r.state, r.reason
    ),
    attempt AS (
        UPDATE steadybeat.attempts a SET outcome = 'lost', finished_at = clock_timestamp()
          FROM run WHERE a.run = run.id AND a.finished_at IS NULL
    ),
    later AS (
        INSERT INTO steadybeat.outbox (publish_at, run, delivery_no, reason)
        SELECT clock_timestamp() + CASE WHEN rescue_count <= 1 THEN interval '0'
                                        ELSE make_interval(secs => {_BACKOFF}) END, id, delivery_no, 'rescue'
          FROM run WHERE state = 'waiting'
    ),
    key AS (
        DELETE FROM steadybeat.processed_keys k USING run
         WHERE run.state <> 'waiting' AND k.task = run.task AND k.key = run.idempotency_key AND k.step = ''
           AND k.run = run.id AND k.state = 'held'
    ),
    {FAILED}
    SELECT id, task, state, reason FROM run
""")

_QUEUES = sql("""
    SELECT DISTINCT queue FROM steadybeat.runs
     WHERE state = 'enqueued' AND finished_at IS NULL
       AND enqueued_at < clock_timestamp() - make_interval(secs => :grace_seconds)
       AND coalesce(next_rescue_at, '-infinity') < clock_timestamp()
""")

# A queue is in order: where a younger run of the same priority has started, an older one has no message any more.
# How far it has come, the runs say that started last; to ask all of them for each that waits would take for ever.
_UNSTARTED = sql(f"""
    WITH come AS MATERIALIZED (
        SELECT q.queue, latest.priority, max(latest.enqueued_at) AS enqueued_at
          FROM unnest(:names) AS q (queue)
         CROSS JOIN LATERAL (
               SELECT s.priority, s.enqueued_at FROM steadybeat.runs s
                WHERE s.queue = q.queue AND s.started_at IS NOT NULL AND s.started_at >= s.enqueued_at
                  AND s.rescue_count = 0  -- which stood in front
                ORDER BY s.started_at DESC LIMIT 1000) latest
         GROUP BY q.queue, latest.priority
    ),
    gone AS (
        SELECT r.id FROM steadybeat.runs r
         WHERE r.state = 'enqueued' AND r.finished_at IS NULL
           AND r.enqueued_at < clock_timestamp() - make_interval(secs => :grace_seconds)
           AND coalesce(r.next_rescue_at, '-infinity') < clock_timestamp()
           AND (r.queue = ANY(:queues)
                OR EXISTS (SELECT FROM come
                            WHERE come.queue = r.queue AND come.priority IS NOT DISTINCT FROM r.priority
                              AND come.enqueued_at > r.enqueued_at + make_interval(secs => :grace_seconds)))
           AND NOT EXISTS (SELECT FROM steadybeat.outbox o WHERE o.run = r.id)
         ORDER BY r.enqueued_at
         LIMIT CAST(:row_count AS integer)
           FOR UPDATE SKIP LOCKED
    ),
    run AS (
        UPDATE steadybeat.runs r
           SET delivery_no = r.delivery_no + 1, rescue_count = r.rescue_count + 1, reason = 'its message was lost',
               state = 'waiting',
               next_rescue_at = clock_timestamp() + make_interval(secs => {_BACKOFF})
          FROM gone WHERE r.id = gone.id
        RETURNING r.id, r.task, r.delivery_no, r.reason
    ),
    later AS (
        INSERT INTO steadybeat.outbox (publish_at, run, delivery_no, reason)
        SELECT clock_timestamp(), id, delivery_no, 'rescue' FROM run
    )
    SELECT id, task, 'waiting' AS state, reason FROM run
""")


@dataclass(frozen=True, slots=True)
class Rescued:
    """A run that was found lost, and its state since.

    Attributes:
        state: ``waiting``: it is sent again. ``dead``: too many workers died under it. ``cancelled``: it was to be.
    """

    run: str
    task: str
    state: str
    reason: str


class Rescue:
    """Finds what was lost."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._values: dict[str, object] = {
            "row_count": settings.rescue_count,
            "crash_limit": settings.crash_count,
            "grace_seconds": settings.grace_seconds,
            "base_seconds": settings.grace_seconds,
            "max_seconds": settings.rescue_backoff_max_seconds,
        }

    def lost(self) -> list[Rescued]:
        """Put runs whose instance is gone, or whose lease has passed, into the outbox.

        Those that were to be cancelled end so, and those under which too many workers died are dead letters.
        """
        values = {name: self._values[name] for name in ("row_count", "crash_limit", "base_seconds", "max_seconds")}
        return self._rescued(self._database.execute(_LOST, values))

    def overdue_queues(self) -> list[str]:
        """Return the queues on which a message has waited longer than the grace time."""
        rows = self._database.execute(_QUEUES, {"grace_seconds": self._values["grace_seconds"]})
        return [row.queue for row in rows]

    def unstarted(self, overdue_queues: Sequence[str], empty_queues: Sequence[str]) -> list[Rescued]:
        """Put runs into the outbox whose message must have been lost.

        They were sent and not started in their grace time, while their queue is empty or runs that were enqueued a
        grace time later have started.

        Args:
            overdue_queues: Queues on which something waits for longer than that.
            empty_queues: Those of them that hold no message.
        """
        values = {name: value for name, value in self._values.items() if name != "crash_limit"}
        values |= {"names": list(overdue_queues), "queues": list(empty_queues)}
        return self._rescued(self._database.execute(_UNSTARTED, values))

    @staticmethod
    def _rescued(rows: list[tuple[object, str, str, str]]) -> list[Rescued]:
        return [Rescued(str(run), task, state, reason) for run, task, state, reason in rows]
