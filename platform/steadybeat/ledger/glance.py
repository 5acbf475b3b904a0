"""A glance: is everything all right? What the overview of the pages asks, each answer in one short statement.

Each follows a partial index that holds only what is open, due, dead or missed, or reads the few rows that there are of
each process, queue and schedule. Where there can be very many, so many as `MOST` are looked at, and the answer has one
more: whoever shows it says "1,000 and more".
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import TextClause

from steadybeat.ledger.connection import Database, sql

MOST = 1_000
"""So many rows of one kind are counted at the most."""

MOST_WAITING = 10_000
"""So many waiting runs are counted at the most, those that wait for the longest time."""

_DAY = "statement_timestamp() - interval '1 day'"
# By `fires_due`.
_OVERDUE = sql(f"""
    SELECT count(*) AS n, min(due_at) AS since, count(DISTINCT schedule) AS schedule_count, min(schedule) AS example
      FROM (SELECT schedule, due_at FROM steadybeat.fires
             WHERE state = 'expected' AND due_at < statement_timestamp() - make_interval(secs => :missed_seconds)
             ORDER BY due_at LIMIT {MOST + 1}) due
""")
# By `fires_missed`, from its end.
_MISSED = sql(f"""
    SELECT schedule, count(*) AS n, max(scheduled_for) AS last_for,
           (array_agg(reason ORDER BY due_at DESC))[1] AS reason
      FROM (SELECT schedule, scheduled_for, due_at, reason FROM steadybeat.fires
             WHERE state = 'missed' AND due_at > {_DAY} AND due_at <= statement_timestamp()
               AND cause IS DISTINCT FROM 'retired'
             ORDER BY due_at DESC LIMIT {MOST + 1}) missed
     GROUP BY schedule ORDER BY n DESC, schedule
""")
# By `runs_open_of_schedule`: what has not begun of what was dispatched.
_LATE = sql(f"""
    SELECT r.schedule, count(*) AS n, min(f.due_at) AS since
      FROM (SELECT id, schedule, scheduled_for FROM steadybeat.runs
             WHERE schedule IS NOT NULL AND finished_at IS NULL AND attempt_count = 0 AND rerun_of IS NULL
             LIMIT {MOST + 1}) r
      JOIN steadybeat.fires f ON f.schedule = r.schedule AND f.scheduled_for = r.scheduled_for
      JOIN steadybeat.schedules s ON s.name = r.schedule
     WHERE f.state = 'dispatched'
       AND f.due_at < statement_timestamp() - make_interval(
               secs => coalesce(CAST(s.policies->>'late_after_seconds' AS double precision), :late_seconds))
     GROUP BY r.schedule ORDER BY n DESC, r.schedule
""")
# By `runs_dead`, from its end.
_DEAD = sql(f"""
    SELECT task, count(*) AS n, count(*) FILTER (WHERE finished_at > {_DAY}) AS of_day, max(finished_at) AS last_at
      FROM (SELECT task, finished_at FROM steadybeat.runs
             WHERE state = 'dead' ORDER BY finished_at DESC LIMIT {MOST + 1}) dead
     GROUP BY task ORDER BY of_day DESC, n DESC, task
""")
# By `schedules_troubled`, a row for each.
_FAILING = sql("""
    SELECT name, task, consecutive_failures AS n, paused_at FROM steadybeat.schedules
     WHERE retired_at IS NULL AND consecutive_failures > 0 ORDER BY n DESC, name
""")
_SCHEDULES = sql("""
    SELECT count(*) AS n, count(paused_at) AS paused_count FROM steadybeat.schedules WHERE retired_at IS NULL
""")
# By `runs_open`, from its beginning; runs of a herd are on record before they are sent.
_WAITING = sql(f"""
    SELECT queue, count(*) AS n, min(enqueued_at) AS since FROM (
        SELECT queue, enqueued_at FROM steadybeat.runs
         WHERE state = 'enqueued' AND finished_at IS NULL AND enqueued_at <= statement_timestamp()
         ORDER BY enqueued_at LIMIT {MOST_WAITING + 1}) waiting
     GROUP BY queue
""")
# A row for each of them.
_CANARIES = sql("""
    SELECT queue, sent_at, answered_at, unanswered_since FROM steadybeat.canaries ORDER BY queue
""")
_OUTBOX = sql(f"""
    SELECT count(*) AS n, min(publish_at) AS since
      FROM (SELECT publish_at FROM steadybeat.outbox WHERE publish_at <= statement_timestamp()
             ORDER BY publish_at LIMIT {MOST + 1}) due
""")
_ALERTS = sql("""
    SELECT id, rule, subject, state, severity, summary, coalesce(reopened_at, opened_at) AS began_at,
           acknowledged_by, count(*) OVER () AS n
      FROM steadybeat.alerts WHERE state <> 'resolved'
     ORDER BY state = 'acknowledged', array_position(ARRAY['critical', 'error', 'warning', 'info'], severity), id DESC
     LIMIT CAST(:row_count AS integer)
""")
_ACTING = sql("""
    SELECT CAST(instance AS text) AS instance FROM steadybeat.duties
     WHERE name = 'watch' AND until > statement_timestamp()
""")
# Many schedules have one rule: each rule is asked once.
_RULES = sql("""
    SELECT spec, service, coalesce(CAST(policies->>'jitter_seconds' AS double precision), 0) AS jitter_seconds,
           count(*) AS n, min(name) AS example
      FROM steadybeat.schedules WHERE retired_at IS NULL AND paused_at IS NULL
     GROUP BY spec, service, jitter_seconds
""")


class Glance:
    """How it stands, in a few figures. Rows are plain mappings."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def overdue(self, missed_seconds: float) -> dict[str, Any]:
        """Return of the fires that nobody has dispatched so long after they were due `n`, since when, and of how many
        schedules, with the name of one (``example``).
        """
        return self._mappings(_OVERDUE, {"missed_seconds": missed_seconds})[0]

    def missed(self) -> list[dict[str, Any]]:
        """Return the schedules that have missed fires of the last day: `n`, the last one and its reason."""
        return self._mappings(_MISSED)

    def late(self, late_seconds: float) -> list[dict[str, Any]]:
        """Return the schedules of which dispatched fires have not begun in time: `n`, and since when one was due.

        Args:
            late_seconds: In time is so long after it was due, where the schedule says nothing else.
        """
        return self._mappings(_LATE, {"late_seconds": late_seconds})

    def dead(self) -> list[dict[str, Any]]:
        """Return the tasks that have dead letters: how many, how many of the last day (`of_day`), and the last one."""
        return self._mappings(_DEAD)

    def failing(self) -> list[dict[str, Any]]:
        """Return the schedules whose last runs are dead, with how many in a row, most first."""
        return self._mappings(_FAILING)

    def schedules(self) -> tuple[int, int]:
        """Return how many schedules there are that are not retired, and how many of them are paused."""
        row = self._mappings(_SCHEDULES)[0]
        return row["n"], row["paused_count"]

    def waiting(self) -> dict[str, dict[str, Any]]:
        """Return by queue how many runs wait to be started, and since when the first of them does."""
        return {row["queue"]: row for row in self._mappings(_WAITING)}

    def canaries(self) -> dict[str, dict[str, Any]]:
        """Return by queue when it was asked last whether somebody consumes from it, and when that was answered."""
        return {row["queue"]: row for row in self._mappings(_CANARIES)}

    def outbox(self) -> dict[str, Any]:
        """Return how many messages are due to be sent, and since when the first is."""
        return self._mappings(_OUTBOX)[0]

    def alerts(self, limit: int) -> list[dict[str, Any]]:
        """Return alerts that are not resolved, the worst first, each with how many there are (``n``).

        Args:
            limit: So many at the most.
        """
        return self._mappings(_ALERTS, {"row_count": limit})

    def acting_watchdog(self) -> str | None:
        """Return the instance of the watchdog that acts, of however many there are; None where none does."""
        found = self._mappings(_ACTING)
        return found[0]["instance"] if found else None

    def rules(self) -> list[dict[str, Any]]:
        """Return the rules by which schedules are due that are not paused, each with how many have it."""
        return self._mappings(_RULES)

    def _mappings(self, statement: TextClause, values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        return [dict(row._mapping) for row in self._database.execute(statement, values or {})]
