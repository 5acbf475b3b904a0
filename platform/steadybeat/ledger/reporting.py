"""Reporting: what one day was like for what one owner answers for.

A day's fires and runs are asked for schedule by schedule, in pages of names: the keys and indexes that are led by the
schedule answer that, however many other fires and runs there are. Runs of no schedule have no such index; they are
asked for by the time they were sent at, an hour at a time, and for every owner at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from steadybeat.ledger.connection import Database, sql

PAGE = 200
"""Schedules of one statement. Of one that is due each minute a day is 1,440 fires."""

HISTORY = timedelta(days=28)
"""A median is taken of the successes of so long before the day,"""

HISTORY_COUNT = 1_000
"""of so many at the most, the latest."""

_OWNERS = sql("SELECT DISTINCT owner FROM steadybeat.tasks WHERE owner IS NOT NULL ORDER BY owner")
_SCHEDULES = sql("""
    SELECT s.name, s.task, coalesce(t.severity, 'error') AS severity, CAST(s.spec AS text) AS spec,
           s.paused_at, s.paused_by, s.paused_reason, s.retired_at
      FROM steadybeat.schedules s LEFT JOIN steadybeat.tasks t ON t.name = s.task
     WHERE t.owner IS NOT DISTINCT FROM :owner AND (s.retired_at IS NULL OR s.retired_at >= :since)
     ORDER BY s.name
""")
_FIRES = sql("""
    SELECT f.schedule, f.state, f.cause, count(*) AS fire_count, min(f.scheduled_for) AS first_at,
           max(f.scheduled_for) AS last_at, (array_agg(f.reason ORDER BY f.scheduled_for DESC))[1] AS reason
      FROM steadybeat.fires f
     WHERE f.schedule = ANY(:names) AND f.scheduled_for >= :since AND f.scheduled_for < :until
       AND f.state <> 'superseded'
     GROUP BY f.schedule, f.state, f.cause
     ORDER BY f.schedule, f.state, f.cause
""")
# A person who asks for a fire of the past does not want it to be called late.
_LATE = sql("""
    SELECT f.schedule, count(*) AS fire_count, max(late.seconds) AS late_seconds,
           (array_agg(f.scheduled_for ORDER BY late.seconds DESC))[1] AS latest_at
      FROM steadybeat.fires f
      JOIN steadybeat.schedules s ON s.name = f.schedule
      LEFT JOIN steadybeat.attempts a ON a.run = f.run_id AND a.number = 1
     CROSS JOIN LATERAL (
           SELECT extract(epoch FROM coalesce(a.started_at, f.dispatched_at) - f.due_at) AS seconds) late
     WHERE f.schedule = ANY(:names) AND f.scheduled_for >= :since AND f.scheduled_for < :until
       AND f.state = 'dispatched' AND f.asked IS NULL
       AND late.seconds > coalesce(CAST(s.policies->>'late_after_seconds' AS double precision), :late_seconds)
     GROUP BY f.schedule
     ORDER BY f.schedule
""")
# The runs of a fire are its own and the reruns of it: one that succeeded makes up for those that did not.
_RUNS = sql("""
    WITH of_day AS MATERIALIZED (
        SELECT r.schedule, r.scheduled_for, r.id, r.state, r.reason, r.error, r.attempt_count, r.retry_count,
               r.items_done, r.finished_at, extract(epoch FROM r.finished_at - r.started_at) AS seconds,
               r.state = 'dead' AND NOT bool_or(r.state = 'succeeded') OVER (PARTITION BY r.schedule, r.scheduled_for)
                   AS gave_up
          FROM steadybeat.runs r
         WHERE r.schedule = ANY(:names) AND r.scheduled_for >= :since AND r.scheduled_for < :until
    ),
    of_fire AS (
        SELECT schedule, bool_or(state = 'succeeded') AS succeeded, bool_or(finished_at IS NULL) AS is_open,
               bool_or(state = 'dead') AS dead
          FROM of_day GROUP BY schedule, scheduled_for
    ),
    fate AS (
        SELECT schedule, count(*) FILTER (WHERE succeeded) AS succeeded_count,
               count(*) FILTER (WHERE is_open AND NOT succeeded) AS open_count,
               count(*) FILTER (WHERE dead AND NOT is_open AND NOT succeeded) AS dead_count,
               count(*) FILTER (WHERE NOT (dead OR is_open OR succeeded)) AS cancelled_count
          FROM of_fire GROUP BY schedule
    )
    SELECT schedule, fate.succeeded_count, fate.open_count, fate.dead_count, fate.cancelled_count,
           sum(attempt_count) AS attempt_count, sum(retry_count) AS retry_count, sum(items_done) AS item_count,
           max(seconds) AS longest_seconds,
           CAST((array_agg(id ORDER BY seconds DESC NULLS LAST))[1] AS text) AS longest_run,
           CAST((array_agg(id ORDER BY finished_at DESC) FILTER (WHERE gave_up))[1] AS text) AS dead_run,
           (array_agg(reason ORDER BY finished_at DESC) FILTER (WHERE gave_up))[1] AS dead_reason,
           (array_agg(error ORDER BY finished_at DESC) FILTER (WHERE gave_up))[1] AS error
      FROM of_day JOIN fate USING (schedule)
     GROUP BY schedule, fate.succeeded_count, fate.open_count, fate.dead_count, fate.cancelled_count
     ORDER BY schedule
""")
_MEDIANS = sql("""
    SELECT named.name AS schedule, usual.seconds, usual.run_count
      FROM unnest(CAST(:names AS text[])) AS named (name)
     CROSS JOIN LATERAL (
           SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY recent.seconds) AS seconds, count(*) AS run_count
             FROM (SELECT extract(epoch FROM r.finished_at - r.started_at) AS seconds
                     FROM steadybeat.runs r
                    WHERE r.schedule = named.name AND r.scheduled_for >= :since AND r.scheduled_for < :until
                      AND r.state = 'succeeded' AND r.started_at IS NOT NULL
                    ORDER BY r.scheduled_for DESC LIMIT CAST(:row_count AS integer)) recent) usual
""")
_LETTERS = sql("""
    SELECT r.task, r.schedule, count(*) AS waiting_count,
           count(*) FILTER (WHERE r.finished_at >= :since) AS new_count, min(r.finished_at) AS oldest_at,
           max(r.finished_at) AS newest_at, (array_agg(r.reason ORDER BY r.finished_at DESC))[1] AS reason
      FROM steadybeat.runs r LEFT JOIN steadybeat.tasks t ON t.name = r.task
     WHERE r.state = 'dead' AND r.finished_at < :until AND t.owner IS NOT DISTINCT FROM :owner
     GROUP BY r.task, r.schedule
     ORDER BY new_count DESC, waiting_count DESC, r.task, r.schedule
""")
_OTHERS = sql("""
    SELECT t.owner, r.task, count(*) AS run_count,
           count(*) FILTER (WHERE r.state = 'succeeded') AS succeeded_count,
           count(*) FILTER (WHERE r.state = 'dead') AS dead_count,
           count(*) FILTER (WHERE r.state = 'cancelled') AS cancelled_count,
           count(*) FILTER (WHERE r.finished_at IS NULL) AS open_count,
           sum(r.retry_count) AS retry_count, sum(r.items_done) AS item_count,
           max(extract(epoch FROM r.finished_at - r.started_at)) AS longest_seconds
      FROM steadybeat.runs r LEFT JOIN steadybeat.tasks t ON t.name = r.task
     WHERE r.enqueued_at >= :since AND r.enqueued_at < :until AND r.schedule IS NULL
     GROUP BY t.owner, r.task
""")
_ALERTS = sql("""
    SELECT id, rule, subject, severity, summary, opened_at, acknowledged_at, acknowledged_by, resolved_at,
           seen_count, reopened_count
      FROM steadybeat.alerts
     WHERE owner IS NOT DISTINCT FROM :owner AND opened_at < :until AND (resolved_at IS NULL OR resolved_at >= :since)
       AND cause_id IS NULL
     ORDER BY resolved_at IS NOT NULL, opened_at, id
     LIMIT CAST(:row_count AS integer)
""")
_TOLD = sql("SELECT key FROM steadybeat.notices WHERE key = ANY(:names)")
_TELL = sql("""
    INSERT INTO steadybeat.notices (kind, key, channel, severity, title, body, html, facts)
    VALUES ('report', :key, :channel, :severity, :title, :body, :html, CAST(:facts AS jsonb))
    ON CONFLICT (key) DO NOTHING
    RETURNING id
""")


class Reporting:
    """Tells what a day was like. Rows are plain mappings; instants include `since` and exclude `until`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def owners(self) -> list[str]:
        """Return everybody who answers for a task, by name."""
        return [row.owner for row in self._database.execute(_OWNERS)]

    def schedules(self, owner: str | None, since: datetime) -> list[dict[str, Any]]:
        """Return the schedules of an owner that were there at `since` or later, by name, with their ``spec``.

        Args:
            owner: None: those for whose task nobody answers.
            since: Those that were retired earlier are left out.
        """
        rows = self._mappings(_SCHEDULES, {"owner": owner, "since": since})
        return [{**row, "spec": json.loads(row["spec"])} for row in rows]

    def fires(self, names: Sequence[str], since: datetime, until: datetime) -> list[dict[str, Any]]:
        """Return the fires of some schedules by their nominal time, counted by state and cause, with a reason."""
        return self._of_schedules(_FIRES, names, {"since": since, "until": until})

    def late(
        self, names: Sequence[str], since: datetime, until: datetime, late_after: timedelta
    ) -> list[dict[str, Any]]:
        """Return of some schedules how many fires began late, by how much the latest, and which that was.

        Args:
            names: Of the schedules.
            since: Of the nominal time.
            until: Of the nominal time.
            late_after: Of those that do not say it themselves.
        """
        values = {"since": since, "until": until, "late_seconds": late_after.total_seconds()}
        return self._of_schedules(_LATE, names, values)

    def runs(self, names: Sequence[str], since: datetime, until: datetime) -> list[dict[str, Any]]:
        """Return what became of the fires of some schedules that have runs, reruns included.

        Returns:
            Of each schedule in how many of its fires a run has succeeded, goes on, or is dead or cancelled for good;
            attempts, retries and items; the longest run; and of the run that died last why.
        """
        return self._of_schedules(_RUNS, names, {"since": since, "until": until})

    def medians(self, names: Sequence[str], before: datetime) -> dict[str, tuple[timedelta, int]]:
        """Return how long runs of some schedules that succeeded took before a day, and of how many that is said."""
        values = {"since": before - HISTORY, "until": before, "row_count": HISTORY_COUNT}
        rows = self._of_schedules(_MEDIANS, names, values)
        return {
            row["schedule"]: (timedelta(seconds=float(row["seconds"])), row["run_count"])
            for row in rows
            if row["run_count"]
        }

    def letters(self, owner: str | None, since: datetime, until: datetime) -> list[dict[str, Any]]:
        """Return the dead letters that died before `until` and wait still, by task and schedule."""
        return self._mappings(_LETTERS, {"owner": owner, "since": since, "until": until})

    def others(self, since: datetime, until: datetime) -> Iterator[dict[str, Any]]:
        """Yield the runs of no schedule that were sent in a time, by task: several rows of one, with its ``owner``."""
        start = since
        while start < until:
            end = min(start + timedelta(hours=1), until)
            yield from self._mappings(_OTHERS, {"since": start, "until": end})
            start = end

    def alerts(self, owner: str | None, since: datetime, until: datetime, limit: int) -> list[dict[str, Any]]:
        """Return the alerts that were there in a time, those that are open first; consequences of others are not."""
        return self._mappings(_ALERTS, {"owner": owner, "since": since, "until": until, "row_count": limit})

    def told(self, keys: Sequence[str]) -> set[str]:
        """Return those of some keys under which a notice is written."""
        return {row.key for row in self._database.execute(_TOLD, {"names": list(keys)})}

    def tell(self, key: str | None, channel: str, notice: Mapping[str, Any]) -> bool:
        """Write a report that people are to be sent; return False where it is written already.

        Args:
            key: What there is one of; None: as many as are asked for.
            channel: Where it goes.
            notice: ``severity``, ``title``, ``body``, ``html`` and ``facts``.
        """
        values = {**notice, "facts": json.dumps(notice["facts"]), "key": key, "channel": channel}
        return bool(self._database.execute(_TELL, values))

    def _of_schedules(self, statement: Any, names: Sequence[str], values: Mapping[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for start in range(0, len(names), PAGE):
            found += self._mappings(statement, {**values, "names": list(names[start : start + PAGE])})
        return found

    def _mappings(self, statement: Any, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [dict(row._mapping) for row in self._database.execute(statement, values)]
