"""Recent: what the last runs of tasks were like, in figures. Read by the audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from steadybeat.ledger.connection import Database, sql

OF_QUEUE = 1_000
OF_SCHEDULE = 30
"""So many of the last runs of each queue, and of each schedule, are looked at: indexes have them in this order."""

_RECENT = sql("""
    WITH recent AS (
        SELECT r.* FROM unnest(CAST(:queues AS text[])) AS named (queue)
         CROSS JOIN LATERAL (
               SELECT id, task, state, started_at, finished_at, correlation_id, instance
                 FROM steadybeat.runs o
                WHERE o.queue = named.queue AND o.started_at IS NOT NULL
                ORDER BY o.started_at DESC LIMIT CAST(:of_queue AS integer)) r
        UNION
        SELECT r.* FROM unnest(CAST(:schedules AS text[])) AS named (schedule)
         CROSS JOIN LATERAL (
               SELECT id, task, state, started_at, finished_at, correlation_id, instance
                 FROM steadybeat.runs o
                WHERE o.schedule = named.schedule AND o.started_at IS NOT NULL
                ORDER BY o.scheduled_for DESC LIMIT CAST(:of_schedule AS integer)) r
    ),
    lasting AS (
        SELECT *, CASE WHEN state = 'succeeded'
                       THEN CAST(extract(epoch FROM finished_at - started_at) AS double precision) END AS seconds
          FROM recent
    )
    SELECT task, count(*) AS run_count,
           count(*) FILTER (WHERE state = 'succeeded') AS succeeded_count,
           count(*) FILTER (WHERE state = 'dead') AS dead_count,
           count(correlation_id) AS correlated_count,
           count(*) FILTER (WHERE state = 'running' AND instance IS NULL) AS placeless_count,
           min(started_at) AS since,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS p50_seconds,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS p95_seconds
      FROM lasting GROUP BY task
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentRuns:
    """The last runs of one task that have started.

    Attributes:
        run_count: How many.
        succeeded_count: Of these, succeeded.
        dead_count: Of these, dead.
        correlated_count: Of these, with a correlation id.
        placeless_count: Of these, at work without anybody knowing where.
        since: When the first of them started.
        p50_seconds: Half of those that succeeded took no longer; None: none has.
        p95_seconds: So did 95 %.
    """

    task: str
    run_count: int
    succeeded_count: int
    dead_count: int
    correlated_count: int
    placeless_count: int
    since: datetime
    p50_seconds: float | None
    p95_seconds: float | None

    @property
    def failure_share(self) -> float:
        """Which share of those that have ended is dead."""
        ended = self.succeeded_count + self.dead_count
        return self.dead_count / ended if ended else 0.0


class Recent:
    """What the last runs of tasks were like."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def runs(self, queues: Sequence[str], schedules: Sequence[str]) -> dict[str, RecentRuns]:
        """Return what the last runs of each task were like, by its name; a task without runs is not there.

        Args:
            queues: Of whose last 1,000 runs.
            schedules: Of whose last 30 runs.
        """
        values = {"queues": list(queues), "schedules": list(schedules)}
        limits = {"of_queue": OF_QUEUE, "of_schedule": OF_SCHEDULE}
        rows = self._database.execute(_RECENT, values | limits)
        return {row.task: RecentRuns(**row._asdict()) for row in rows}
