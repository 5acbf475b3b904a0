"""Watched fires: what is missing of what schedules expect, and what begins late. Read by the watchdog.

However many fires there are, each question meets only those that an index has for it, and no more than `MOST`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from steadybeat.ledger.connection import Database, sql

MOST = 20_000
"""So many fires, or runs, are looked at for one question: beyond that it makes no difference to whoever is told."""

# A fire that was decided to be missed is made good by the next one that is dispatched.
_MISSED = sql("""
    WITH gone AS MATERIALIZED (
        (SELECT schedule, scheduled_for, due_at, NULL AS reason FROM steadybeat.fires
          WHERE state = 'expected' AND due_at < statement_timestamp() - make_interval(secs => :grace_seconds)
          ORDER BY due_at LIMIT CAST(:row_count AS integer))
        UNION ALL
        (SELECT f.schedule, f.scheduled_for, f.due_at, f.reason FROM steadybeat.fires f
          WHERE f.state = 'missed' AND f.cause IS DISTINCT FROM 'retired'
            AND f.due_at > statement_timestamp() - make_interval(secs => :within_seconds)
            AND NOT EXISTS (SELECT FROM steadybeat.fires later
                             WHERE later.schedule = f.schedule AND later.scheduled_for > f.scheduled_for
                               AND later.state = 'dispatched')
          ORDER BY f.due_at DESC LIMIT CAST(:row_count AS integer))
    )
    SELECT gone.schedule, s.task, s.service, count(*) AS fire_count, min(gone.scheduled_for) AS first_for,
           max(gone.scheduled_for) AS last_for, min(gone.due_at) AS since,
           (array_agg(gone.reason ORDER BY gone.due_at DESC) FILTER (WHERE gone.reason IS NOT NULL))[1] AS reason
      FROM gone JOIN steadybeat.schedules s ON s.name = gone.schedule
     WHERE s.retired_at IS NULL AND (s.paused_at IS NULL OR gone.due_at <= s.paused_at)
     GROUP BY gone.schedule, s.task, s.service
""")
_OPEN = sql("""
    SELECT r.schedule, s.task, s.service, r.queue, CAST(r.id AS text) AS run, r.scheduled_for, f.due_at,
           f.dispatched_at, f.asked, s.policies->>'overlap' AS overlap,
           CAST(s.policies->>'late_after_seconds' AS double precision) AS late_after_seconds,
           CASE WHEN r.attempt_count > 1
                THEN (SELECT a.started_at FROM steadybeat.attempts a WHERE a.run = r.id AND a.number = 1)
                WHEN r.attempt_count = 1 THEN r.started_at END AS began_at
      FROM steadybeat.runs r
      JOIN steadybeat.schedules s ON s.name = r.schedule
      JOIN steadybeat.fires f ON f.schedule = r.schedule AND f.scheduled_for = r.scheduled_for
     WHERE r.schedule IS NOT NULL AND r.finished_at IS NULL AND r.rerun_of IS NULL AND f.state = 'dispatched'
       AND f.due_at < statement_timestamp() - make_interval(secs => least(
           :late_seconds, CAST(s.policies->>'late_after_seconds' AS double precision)))
     ORDER BY r.schedule
     LIMIT CAST(:row_count AS integer)
""")
_WAITING = sql("""
    SELECT f.schedule, s.task, s.service, count(*) AS fire_count, min(f.scheduled_for) AS scheduled_for,
           min(f.due_at) AS due_at, CAST(s.policies->>'late_after_seconds' AS double precision) AS late_after_seconds
      FROM steadybeat.fires f JOIN steadybeat.schedules s ON s.name = f.schedule
     WHERE f.state = 'waiting' AND f.asked IS NULL AND s.retired_at IS NULL AND s.paused_at IS NULL
     GROUP BY f.schedule, s.task, s.service, s.policies->>'late_after_seconds'
""")


class WatchedFires:
    """What is missing, and what begins late. Rows have the schedule with its task and service."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def missed(self, grace: timedelta, within: timedelta) -> list[Any]:
        """Return the schedules that have fires which nobody dispatched.

        Args:
            grace: So long after it was due a fire that nothing has become of is missed.
            within: Fires that were decided to be missed count for so long, unless a later one was dispatched.

        Returns:
            Rows with `fire_count`, `first_for` and `last_for` (nominal times), `since` and `reason`.
        """
        values = {"grace_seconds": grace.total_seconds(), "within_seconds": within.total_seconds()}
        return self._database.execute(_MISSED, values | {"row_count": MOST})

    def open_runs(self, late: timedelta) -> list[Any]:
        """Return the runs of dispatched fires that have not ended and may be late.

        Args:
            late: A fire is late that has not begun so long after it was due, where its schedule says nothing else.

        Returns:
            Rows with `run`, `queue`, `scheduled_for`, `due_at`, `dispatched_at`, `asked`, `overlap`,
            `late_after_seconds`, and `began_at`: of the first attempt, None where none has begun.
        """
        return self._database.execute(_OPEN, {"late_seconds": late.total_seconds(), "row_count": MOST})

    def waiting(self) -> list[Any]:
        """Return the schedules whose fires wait for their turn: `fire_count`, and of the first its times."""
        return self._database.execute(_WAITING)
