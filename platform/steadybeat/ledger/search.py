"""Search: which runs are meant, by what they have in common, as `RunSearch` and others take it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from steadybeat.ledger.connection import storable

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
