"""Search: runs by what they have in common, the newest first, page by page.

A statement is made of what is asked for and of nothing else, so that Postgres can choose an index for it. A page goes
on behind the last run of the one before, by `enqueued_at` and `id`, however long ago that is.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import TextClause

from steadybeat.ledger.connection import Database, sql, storable

SAYS = "position(lower(CAST(:error AS text)) IN lower({text})) > 0"
"""Whether a text has another within it, in whatever case."""

_SAID = "concat_ws(' ', r.reason, r.error)"
_CONDITIONS = {
    "task": "r.task = :task",
    "service": "r.service = :service",
    "schedule": "r.schedule = :schedule",
    "state": "r.state = :state",
    "tenant": "r.tenant = :tenant",
    "fan_out": "r.fan_out = CAST(:fan_out AS uuid)",
    "key": "r.idempotency_key = :key",
    "since": "r.enqueued_at >= :since",
    "until": "r.enqueued_at <= :until",
    "error": f"(r.error IS NOT NULL OR r.reason IS NOT NULL) AND {SAYS.format(text=_SAID)}",
}
_BEHIND = """(r.enqueued_at, r.id) < (
    SELECT former.enqueued_at, former.id FROM steadybeat.runs former WHERE former.id = :after)"""
_FOUND = """
    SELECT r.id, r.task, r.service, r.state, r.reason, r.schedule, r.scheduled_for, r.tenant, r.fan_out AS of_fan_out,
           r.attempt_count, r.enqueued_at, r.started_at, r.finished_at, r.error
      FROM steadybeat.runs r
     WHERE {conditions}
     ORDER BY r.enqueued_at DESC, r.id DESC
     LIMIT CAST(:row_count AS integer)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which runs are meant; what is None does not matter.

    Attributes:
        task: Their task.
        service: The service of it.
        schedule: They are of its fires.
        state: Theirs.
        tenant: They are for it.
        fan_out: They are of this run's tenants.
        key: Their idempotency key.
        since: They were sent at this instant or later.
        until: They were sent at this instant or before.
        error: This stands in their reason, or in their last error with its stack, in whatever case.
    """

    task: str | None = None
    service: str | None = None
    schedule: str | None = None
    state: str | None = None
    tenant: str | None = None
    fan_out: str | None = None
    key: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    error: str | None = None

    @property
    def values(self) -> dict[str, Any]:
        """What is given, by name."""
        given = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        return {
            name: storable(value) if isinstance(value, str) else value
            for name, value in given.items()
            if value is not None
        }

    @property
    def conditions(self) -> str:
        """The same as conditions on runs that are called ``r``; their values are `values`."""
        return " AND ".join([_CONDITIONS[name] for name in self.values]) or "true"


class Search:
    """Finds runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def runs(self, wanted: Wanted, *, after: str | None = None, limit: int) -> list[dict[str, Any]]:
        """Return runs, those that were sent last first. Rows are plain mappings, for a table or for JSON.

        Args:
            wanted: Which.
            after: Only those behind this run, the last of the page before.
            limit: How many at the most.
        """
        where = f"{wanted.conditions} AND {_BEHIND}" if after is not None else wanted.conditions
        values = wanted.values | ({"after": after} if after is not None else {}) | {"row_count": limit}
        look = self._database.patiently if wanted.error is not None else self._database.execute
        return [dict(row._mapping) for row in look(_statement(where), values)]


@functools.lru_cache(maxsize=256)
def _statement(conditions: str) -> TextClause:
    return sql(_FOUND.format(conditions=conditions))
