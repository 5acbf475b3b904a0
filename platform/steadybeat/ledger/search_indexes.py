"""The indexes by which people find runs, and what others did to them. No run pays for more than it has to.

A run is in `runs_of_task` once it has ended: written once, not with each of its changes; those that have not ended are
found by `runs_open`. In `runs_of_key` are keys that say nothing by themselves: not those of fires and of tenants. In
`runs_dead_of_schedule` and `fires_without_run` are only those that went another way than they should.
"""

from __future__ import annotations

from sqlalchemy import Index, text

from steadybeat.ledger.tables import fires, metadata, operations, runs

__all__ = ["metadata"]

Index("runs_of_task", runs.c.task, runs.c.enqueued_at, runs.c.id, postgresql_where=text("finished_at IS NOT NULL"))
_BADLY = text("state IN ('dead', 'cancelled')")
Index("runs_ended_badly", runs.c.enqueued_at, runs.c.id, postgresql_where=_BADLY)
Index("runs_of_task_ended_badly", runs.c.task, runs.c.enqueued_at, runs.c.id, postgresql_where=_BADLY)
Index("runs_of_tenant", runs.c.tenant, runs.c.enqueued_at, runs.c.id, postgresql_where=text("tenant IS NOT NULL"))
Index(
    "runs_of_key",
    runs.c.idempotency_key,
    postgresql_where=text("schedule IS NULL AND fan_out IS NULL AND idempotency_key <> CAST(id AS text)"),
)
Index(
    "runs_wrong",
    text(
        "to_tsvector('simple'::regconfig, translate((COALESCE(reason, ''::text) || ' '::text)"
        " || COALESCE(\"right\"(error, 4000), ''::text), './-+@<>&_~'::text, '          '::text))"
    ),
    postgresql_using="gin",
    postgresql_where=_BADLY,
    _table=runs,
)
Index(
    "runs_dead_of_schedule",
    runs.c.schedule,
    runs.c.scheduled_for,
    postgresql_where=text("state = 'dead' AND schedule IS NOT NULL"),
)
Index(
    "fires_without_run",
    fires.c.schedule,
    fires.c.scheduled_for,
    postgresql_where=text("state IN ('skipped', 'missed', 'coalesced', 'superseded')"),
)
Index("operations_of_target", operations.c.target, operations.c.id)
