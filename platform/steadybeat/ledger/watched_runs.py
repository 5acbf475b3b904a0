"""Watched runs: what is being worked on, what was lost, and what has given up. Read by the watchdog."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.watched_fires import MOST
from steadybeat.ledger.watched_schedules import HISTORY

PAST_COUNT = 1_000
"""What is usual for a task without schedules is taken from so many runs of its queue at the most."""

_RUNNING = sql("""
    SELECT CAST(r.id AS text) AS run, r.task, r.service, r.queue, r.schedule, r.tenant, r.started_at, r.items_done,
           r.items_total, r.progressed_at, CAST(r.instance AS text) AS instance, r.attempt_count,
           CASE WHEN jsonb_typeof(r.message->'headers'->'timelimit'->0) = 'number'
                THEN CAST(r.message->'headers'->'timelimit'->>0 AS double precision) END AS time_limit_seconds
      FROM steadybeat.runs r
     WHERE r.state = 'running' AND r.finished_at IS NULL
     LIMIT CAST(:row_count AS integer)
""")
_PAST = sql("""
    SELECT past.task, array_agg(past.seconds) AS durations
      FROM unnest(:queues) AS named (queue)
     CROSS JOIN LATERAL (
           SELECT r.task, r.state, CAST(extract(epoch FROM r.finished_at - r.started_at) AS double precision) AS seconds
             FROM steadybeat.runs r
            WHERE r.queue = named.queue AND r.started_at IS NOT NULL
              AND r.started_at > statement_timestamp() - make_interval(secs => :within_seconds)
            ORDER BY r.started_at DESC LIMIT CAST(:row_count AS integer)) past
     WHERE past.state = 'succeeded' AND past.seconds IS NOT NULL AND past.task = ANY(:names)
     GROUP BY past.task
""")
# What a whole died of, or its schedule, is told of it; its tenants are not told one by one.
_DEAD = sql("""
    SELECT r.task, r.service, count(*) AS run_count, min(r.finished_at) AS since,
           (array_agg(CAST(r.id AS text) ORDER BY r.finished_at DESC))[1] AS run,
           (array_agg(coalesce(r.error, r.reason) ORDER BY r.finished_at DESC))[1] AS error
      FROM (SELECT d.id, d.task, d.service, d.finished_at, d.error, d.reason, d.fan_out, d.schedule
              FROM steadybeat.runs d WHERE d.state = 'dead'
             ORDER BY d.finished_at DESC LIMIT CAST(:row_count AS integer)) r
     WHERE r.schedule IS NULL
       AND NOT EXISTS (SELECT FROM steadybeat.runs whole WHERE whole.id = r.fan_out AND whole.state = 'dead')
     GROUP BY r.task, r.service
""")
# The run of a fire is written before its message is sent: while nobody has dispatched it, there was none to be lost.
_LOST = sql("""
    WITH gone AS (
        SELECT a.run, a.finished_at AS lost_at, CAST(a.instance AS text) AS instance, 'worker' AS what
          FROM steadybeat.attempts a
         WHERE a.outcome = 'lost' AND a.finished_at > statement_timestamp() - make_interval(secs => :within_seconds)
        UNION ALL
        SELECT r.id, r.enqueued_at, NULL, 'message' FROM steadybeat.runs r
         WHERE r.rescue_count > 0 AND r.enqueued_at > statement_timestamp() - make_interval(secs => :within_seconds)
           AND r.next_rescue_at IS NOT NULL AND r.finished_at IS NULL AND r.attempt_count = 0
           AND NOT EXISTS (SELECT FROM steadybeat.fires f
                            WHERE f.schedule = r.schedule AND f.scheduled_for = r.scheduled_for
                              AND f.state = 'expected')
         LIMIT CAST(:row_count AS integer)
    )
    SELECT r.task, r.service, count(DISTINCT r.id) AS run_count, min(gone.lost_at) AS since,
           (array_agg(CAST(r.id AS text) ORDER BY gone.lost_at DESC))[1] AS run,
           count(DISTINCT r.id) FILTER (WHERE gone.what = 'worker') AS by_worker_count,
           count(DISTINCT r.id) FILTER (WHERE gone.what = 'message') AS by_message_count,
           array_agg(DISTINCT gone.instance) FILTER (WHERE gone.instance IS NOT NULL) AS instances,
           array_agg(DISTINCT r.queue) AS queues
      FROM gone JOIN steadybeat.runs r ON r.id = gone.run
     WHERE gone.lost_at > statement_timestamp() - make_interval(secs => :told_seconds)
        OR r.finished_at IS NULL AND r.state <> 'running'
     GROUP BY r.task, r.service
""")


class WatchedRuns:
    """What is being worked on, what was lost, and what has given up."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def running(self) -> list[Any]:
        """Return the runs of which an attempt goes on.

        Returns:
            Rows with `run`, `task`, `service`, `queue`, `schedule`, `tenant`, `started_at` of the attempt, how far it
            is (`items_done`, `items_total`, `progressed_at`), and the hard time limit that its message names.
        """
        return self._database.execute(_RUNNING, {"row_count": MOST})

    def past(self, tasks: Sequence[str], queues: Sequence[str]) -> dict[str, list[float]]:
        """Return how many seconds the last runs of some tasks took that succeeded.

        Args:
            tasks: Their names.
            queues: Where they run.
        """
        values = {"names": list(tasks), "queues": list(queues), "within_seconds": HISTORY.total_seconds()}
        rows = self._database.execute(_PAST, values | {"row_count": PAST_COUNT})
        return {row.task: row.durations for row in rows}

    def dead(self) -> list[Any]:
        """Return the tasks that have dead letters of no schedule: `run_count`, `since`, the last `run`, its `error`."""
        return self._database.execute(_DEAD, {"row_count": MOST})

    def lost(self, within: timedelta, told: timedelta) -> list[Any]:
        """Return the tasks of which runs were lost.

        Args:
            within: Since so long ago.
            told: One that has begun again, or ended, counts for so long.

        Returns:
            Rows with `run_count`, of these `by_worker_count` and `by_message_count`, `since`, the last `run`, the
            `instances` that had them, and their `queues`.
        """
        values = {"within_seconds": within.total_seconds(), "told_seconds": told.total_seconds()}
        return self._database.execute(_LOST, values | {"row_count": MOST})
