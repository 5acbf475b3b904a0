"""Duplicates: deliveries and runs that were turned away, each with its cause."""

from __future__ import annotations

from typing import Any

from steadybeat.ledger.connection import Database, sql

_NOTE = sql("""
    INSERT INTO steadybeat.duplicates (run, task, schedule, cause, detail, instance)
    VALUES (:run, :task, :schedule, :cause, :detail, :instance)
""")
_OF_RUN = sql("""
    SELECT cause, detail, instance, seen_at FROM steadybeat.duplicates WHERE run = :run ORDER BY id
""")


class Duplicates:
    """What had no effect because another had it, or was to have it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, run: str, *, task: str, schedule: str | None, cause: str, detail: str, instance: str) -> None:
        """Count a duplicate.

        Args:
            run: The one that was delivered.
            task: Its task.
            schedule: Of a fire.
            cause: ``visibility_timeout``: Redis delivered it again, since it was not acknowledged in time.
                ``second_scheduler``: a second Beat sent the fire, or one sent it again before it could say so.
                ``sent_twice``: another program did. ``rescue``: it was sent again, and then turned up. ``rerun``: a
                person asked for what has happened. ``callers_key``: another run has its idempotency key.
            detail: What stood in the way.
            instance: The process that it came to.
        """
        facts = {"run": run, "task": task, "schedule": schedule, "cause": cause, "detail": detail}
        self._database.execute(_NOTE, facts | {"instance": instance})

    def of(self, run: str) -> list[dict[str, Any]]:
        """Return the duplicates of a run, the first one first."""
        return [dict(row._mapping) for row in self._database.execute(_OF_RUN, {"run": run})]
