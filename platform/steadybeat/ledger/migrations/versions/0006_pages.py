"""Pages: runs are found by task, tenant, key and what went wrong, fires by their state, however many there are."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

LEDGER = """
CREATE INDEX runs_of_task ON steadybeat.runs (task, enqueued_at, id) WHERE finished_at IS NOT NULL;
CREATE INDEX runs_ended_badly ON steadybeat.runs (enqueued_at, id) WHERE state IN ('dead', 'cancelled');
CREATE INDEX runs_of_task_ended_badly ON steadybeat.runs (task, enqueued_at, id)
    WHERE state IN ('dead', 'cancelled');
CREATE INDEX runs_of_tenant ON steadybeat.runs (tenant, enqueued_at, id) WHERE tenant IS NOT NULL;
CREATE INDEX runs_of_key ON steadybeat.runs (idempotency_key)
    WHERE schedule IS NULL AND fan_out IS NULL AND idempotency_key <> CAST(id AS text);
CREATE INDEX runs_wrong ON steadybeat.runs USING gin (
    to_tsvector('simple', translate(coalesce(reason, '') || ' ' || coalesce("right"(error, 4000), ''),
        './-+@<>&_~', '          ')))
    WHERE state IN ('dead', 'cancelled');

CREATE INDEX runs_dead_of_schedule ON steadybeat.runs (schedule, scheduled_for)
    WHERE state = 'dead' AND schedule IS NOT NULL;
CREATE INDEX fires_without_run ON steadybeat.fires (schedule, scheduled_for)
    WHERE state IN ('skipped', 'missed', 'coalesced', 'superseded');
CREATE INDEX operations_of_target ON steadybeat.operations (target, id);
"""


def upgrade() -> None:
    op.execute(LEDGER)


def downgrade() -> None:
    raise RuntimeError("The ledger is only ever upgraded: an older release runs on a newer schema.")
