"""Watched schedules: which of them fail or are paused, how their last run ended, and what is usual for them.

What has ended is read in the order in which it ended, so that each pass of the watchdog meets what is new. What is
usual is asked for the few schedules of which it matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from steadybeat.ledger.connection import Database, sql

HISTORY = timedelta(days=28)
"""What is usual is what was so in the last four weeks,"""

HISTORY_COUNT = 200
"""and in so many runs at the most."""

_RECENT_COUNT = 20

_TROUBLED = sql("""
    SELECT s.name AS schedule, s.task, s.service, s.paused_at, s.paused_by, s.paused_reason, s.consecutive_failures,
           CAST(s.policies->>'failures_before_alert' AS integer) AS failures_before_alert,
           last.run, last.error, last.failed_at, good.run AS last_good_run, good.finished_at AS last_good_at
      FROM steadybeat.schedules s
      LEFT JOIN LATERAL (
           SELECT CAST(r.id AS text) AS run, coalesce(r.error, r.reason) AS error, r.finished_at AS failed_at
             FROM steadybeat.runs r
            WHERE r.schedule = s.name AND r.state = 'dead' AND s.consecutive_failures > 0
            ORDER BY r.scheduled_for DESC LIMIT 1) last ON true
      LEFT JOIN LATERAL (
           SELECT CAST(recent.id AS text) AS run, recent.finished_at
             FROM (SELECT r.id, r.state, r.scheduled_for, r.finished_at FROM steadybeat.runs r
                    WHERE r.schedule = s.name ORDER BY r.scheduled_for DESC LIMIT CAST(:row_count AS integer)) recent
            WHERE recent.state = 'succeeded' ORDER BY recent.scheduled_for DESC LIMIT 1) good ON true
     WHERE s.retired_at IS NULL AND (s.consecutive_failures > 0 OR s.paused_at IS NOT NULL)
""")
_ENDED = """
    s.name AS schedule, s.task, s.service, s.policies->>'expect' AS expect, s.policies->>'overlap' AS overlap,
    CAST(s.policies->>'late_after_seconds' AS double precision) AS late_after_seconds,
    CAST(r.id AS text) AS run, r.queue, r.scheduled_for, r.started_at, r.finished_at,
    coalesce(r.items_done, 0) AS items_count, r.rerun_of IS NOT NULL AS is_rerun, f.due_at, f.dispatched_at, f.asked,
    CASE WHEN r.attempt_count = 1 THEN r.started_at
         ELSE (SELECT a.started_at FROM steadybeat.attempts a WHERE a.run = r.id AND a.number = 1) END AS began_at"""
_RUN = """
    e.id, e.queue, e.schedule, e.scheduled_for, e.state, e.started_at, e.finished_at, e.items_done, e.rerun_of,
    e.attempt_count"""
_ENDED_SINCE = sql(f"""
    SELECT {_ENDED}
      FROM (SELECT DISTINCT ON (e.schedule) {_RUN} FROM steadybeat.runs e
             WHERE e.schedule IS NOT NULL AND e.finished_at IS NOT NULL AND e.finished_at >= :since
               AND e.state = 'succeeded'
             ORDER BY e.schedule, e.finished_at DESC) r
      JOIN steadybeat.schedules s ON s.name = r.schedule AND s.retired_at IS NULL
      LEFT JOIN steadybeat.fires f ON f.schedule = r.schedule AND f.scheduled_for = r.scheduled_for
""")
_PAGE = sql(f"""
    SELECT {_ENDED}
      FROM (SELECT * FROM steadybeat.schedules
             WHERE retired_at IS NULL AND name > :after_name ORDER BY name LIMIT CAST(:row_count AS integer)) s
      LEFT JOIN LATERAL (
           SELECT recent.*
             FROM (SELECT {_RUN} FROM steadybeat.runs e WHERE e.schedule = s.name
                    ORDER BY e.scheduled_for DESC LIMIT {_RECENT_COUNT}) recent
            WHERE recent.state = 'succeeded' AND recent.finished_at IS NOT NULL
            ORDER BY recent.finished_at DESC LIMIT 1) r ON true
      LEFT JOIN steadybeat.fires f ON f.schedule = r.schedule AND f.scheduled_for = r.scheduled_for
     ORDER BY s.name
""")
_HISTORIES = sql("""
    SELECT named.schedule, past.durations, past.items
      FROM unnest(:names, CAST(:run_ids AS uuid[])) AS named (schedule, run)
     CROSS JOIN LATERAL (
           SELECT array_agg(CAST(extract(epoch FROM r.finished_at - r.started_at) AS double precision)) AS durations,
                  array_agg(coalesce(r.items_done, 0)) AS items
             FROM (SELECT o.id, o.state, o.started_at, o.finished_at, o.items_done FROM steadybeat.runs o
                    WHERE o.schedule = named.schedule
                      AND o.scheduled_for > statement_timestamp() - make_interval(secs => :within_seconds)
                    ORDER BY o.scheduled_for DESC LIMIT CAST(:row_count AS integer)) r
            WHERE r.state = 'succeeded' AND r.started_at IS NOT NULL AND r.id <> named.run) past
""")
_DEFINED = sql("""
    SELECT name AS schedule, task, service, policies->>'expect' AS expect, policies->>'overlap' AS overlap,
           CAST(policies->>'late_after_seconds' AS double precision) AS late_after_seconds
      FROM steadybeat.schedules WHERE name = ANY(:names) AND retired_at IS NULL
""")


class WatchedSchedules:
    """How schedules do."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def troubled(self) -> list[Any]:
        """Return the schedules whose last runs are dead, and those that are paused.

        Returns:
            Rows with `schedule`, `task`, `service`; `consecutive_failures` and `failures_before_alert`; the `run` that
            died last, its `error` and `failed_at`; the `last_good_run`; who paused it, when and why.
        """
        return self._database.execute(_TROUBLED, {"row_count": HISTORY_COUNT})

    def ended_since(self, since: datetime) -> list[Any]:
        """Return of each schedule that has runs which succeeded since an instant the last of them.

        Returns:
            Rows with `schedule`, `task`, `service`, what it says of its runs (`expect`, `overlap`,
            `late_after_seconds`), `run`, `queue`, `scheduled_for`, `started_at` and `finished_at` of the last attempt,
            `began_at` of the first, `items_count`, `is_rerun`, and of the fire `due_at`, `dispatched_at` and `asked`.
        """
        return self._database.execute(_ENDED_SINCE, {"since": since})

    def last_ended(self, after: str, limit: int) -> list[Any]:
        """Return schedules by name, each with its last run that succeeded, as `ended_since` does, or with None.

        Args:
            after: Only those behind this name.
            limit: How many.
        """
        return self._database.execute(_PAGE, {"after_name": after, "row_count": limit})

    def histories(self, schedules: Sequence[str], without: Sequence[str]) -> dict[str, tuple[list[float], list[int]]]:
        """Return how many seconds the last runs of some schedules took that succeeded, and their counts of items.

        Args:
            schedules: Their names.
            without: Of each, in the same order, the run that does not count.
        """
        values = {"names": list(schedules), "run_ids": list(without), "within_seconds": HISTORY.total_seconds()}
        rows = self._database.execute(_HISTORIES, values | {"row_count": HISTORY_COUNT})
        return {row.schedule: (row.durations or [], row.items or []) for row in rows}

    def defined(self, schedules: Sequence[str]) -> dict[str, Any]:
        """Return those of some schedules that are not retired: `task`, `service`, and what they say of their runs."""
        return {row.schedule: row for row in self._database.execute(_DEFINED, {"names": list(schedules)})}
