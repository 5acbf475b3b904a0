"""Story: what people ask of the ledger. Lists, one run, and what became of a fire."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import insert

from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.run_search import RunSearch
from steadybeat.ledger.search import Wanted
from steadybeat.ledger.tables import operations

_RUN = sql("""
    SELECT id, task, service, queue, priority, idempotency_key, schedule, scheduled_for, parent_id,
           fan_out AS of_fan_out, tenant, in_line, rerun_of, state, reason, body, delivery_no,
           not_before, deadline, retry_until, attempt_count, retry_count, crash_count, rescue_count, items_done,
           items_total, progressed_at, checkpoint, cancel_requested_at, cancel_reason, result, error, correlation_id,
           enqueued_at, started_at, finished_at, message,
           EXISTS (SELECT FROM steadybeat.fan_outs f WHERE f.run = :run AND f.written_at IS NOT NULL) AS has_fanned_out
      FROM steadybeat.runs WHERE id = :run
""")
_ATTEMPTS = sql("""
    SELECT a.number, a.instance, i.host, i.pid, a.started_at, a.finished_at, a.outcome, a.reason, a.error,
           a.peak_memory_bytes
      FROM steadybeat.attempts a LEFT JOIN steadybeat.instances i ON i.id = a.instance
     WHERE a.run = :run ORDER BY a.number
""")
_RERUNS = sql("SELECT id, state FROM steadybeat.runs WHERE rerun_of = :run ORDER BY id")
_FIRE = sql("""
    SELECT schedule, scheduled_for, state, reason, cause, asked, run_id, revision, term, due_at, dispatched_at
      FROM steadybeat.fires WHERE schedule = :schedule AND scheduled_for = :scheduled_for
""")
_FIRE_BEFORE = sql("""
    SELECT max(scheduled_for) AS at FROM steadybeat.fires WHERE schedule = :schedule AND scheduled_for < :scheduled_for
""")
_SUCCESS_BEFORE = sql("""
    SELECT scheduled_for AS at FROM steadybeat.runs
     WHERE schedule = :schedule AND scheduled_for < :scheduled_for AND state = 'succeeded'
     ORDER BY scheduled_for DESC LIMIT 1
""")
_NEAREST = sql("""
    SELECT scheduled_for FROM steadybeat.fires WHERE schedule = :schedule
     ORDER BY abs(extract(epoch FROM scheduled_for - :scheduled_for)) LIMIT 3
""")
_AROUND = sql("""
    (SELECT scheduled_for FROM steadybeat.fires
      WHERE schedule = :schedule AND scheduled_for < :scheduled_for ORDER BY scheduled_for DESC LIMIT 1)
    UNION ALL
    (SELECT scheduled_for FROM steadybeat.fires
      WHERE schedule = :schedule AND scheduled_for > :scheduled_for ORDER BY scheduled_for LIMIT 1)
""")
_SCHEDULE = sql("""
    SELECT name, task, service, spec, policies, args, kwargs, options, source, code, revision, expected_until,
           retired_at, paused_at, paused_by, paused_reason, consecutive_failures, fire_count, created_at, updated_at
      FROM steadybeat.schedules WHERE name = :name
""")
_KEY = sql("""
    SELECT state, run, changed_at FROM steadybeat.processed_keys WHERE task = :task AND key = :key AND step = ''
""")
_LAST = sql("""
    SELECT DISTINCT ON (schedule) schedule, id, state, reason, scheduled_for, finished_at
      FROM steadybeat.runs WHERE schedule = ANY(:names)
     ORDER BY schedule, scheduled_for DESC, id DESC
""")


class Story:
    """What people ask of the ledger. Rows are plain mappings, for a table or for JSON."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._search = RunSearch(database)

    def runs(self, *, limit: int = 20, **wanted: Any) -> list[dict[str, Any]]:
        """Return the runs that match what is given, as `Wanted` names it, those that were sent last first."""
        return self._search.runs(Wanted(**wanted), limit=limit)

    def run(self, run: str) -> dict[str, Any] | None:
        """Return one run with its ``attempts`` and ``reruns``, or None."""
        found = self._mappings(_RUN, {"run": run})
        if not found:
            return None
        values = {"run": run}
        return found[0] | {
            "attempts": self._mappings(_ATTEMPTS, values),
            "reruns": self._mappings(_RERUNS, values),
        }

    def fire(self, schedule: str, scheduled_for: datetime) -> dict[str, Any] | None:
        """Return the fire of a schedule at exactly that instant, or None."""
        found = self._mappings(_FIRE, {"schedule": schedule, "scheduled_for": scheduled_for})
        return found[0] if found else None

    def fire_before(self, schedule: str, scheduled_for: datetime, *, succeeded: bool) -> datetime | None:
        """Return the nominal time of a schedule's fire before another, or None.

        Args:
            schedule: Its name.
            scheduled_for: Nominal time of the other.
            succeeded: Only fires whose runs succeeded count.
        """
        statement = _SUCCESS_BEFORE if succeeded else _FIRE_BEFORE
        found = self._mappings(statement, {"schedule": schedule, "scheduled_for": scheduled_for})
        return found[0]["at"] if found else None

    def nearest_fires(self, schedule: str, at: datetime) -> list[datetime]:
        """Return up to three fires on record nearest to an instant."""
        values = {"schedule": schedule, "scheduled_for": at}
        return [row["scheduled_for"] for row in self._mappings(_NEAREST, values)]

    def around(self, schedule: str, at: datetime) -> list[datetime]:
        """Return the fires on record next to an instant, at most one before and one after it."""
        values = {"schedule": schedule, "scheduled_for": at}
        return [row["scheduled_for"] for row in self._mappings(_AROUND, values)]

    def schedule(self, name: str) -> dict[str, Any] | None:
        """Return a schedule, retired ones included, or None."""
        found = self._mappings(_SCHEDULE, {"name": name})
        return found[0] if found else None

    def processed_key(self, task: str, key: str) -> dict[str, Any] | None:
        """Return who holds a key, or that its effect has happened and when, or None."""
        found = self._mappings(_KEY, {"task": task, "key": key})
        return found[0] if found else None

    def last_runs(self, schedules: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return the newest run of each schedule that has one, by the schedule's name."""
        return {row["schedule"]: row for row in self._mappings(_LAST, {"names": list(schedules)})}

    def note(self, who: str, what: str, target: str, reason: str, **details: Any) -> None:
        """Write down what a person did to what, and why."""
        row = {"who": who, "what": what, "target": target, "reason": reason, "details": details}
        self._database.execute(insert(operations).values(**row))

    def _mappings(self, statement: Any, values: dict[str, Any]) -> list[dict[str, Any]]:
        return [dict(row._mapping) for row in self._database.execute(statement, values)]
