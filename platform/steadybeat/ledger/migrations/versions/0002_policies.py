"""Policies: pauses, failures in a row, turns, what a person asked for, and reading only what changed."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SCHEDULES = """
ALTER TABLE steadybeat.schedules
    ADD COLUMN code                 jsonb,
    ADD COLUMN paused_at            timestamptz,
    ADD COLUMN paused_by            text,
    ADD COLUMN paused_reason        text,
    ADD COLUMN consecutive_failures integer NOT NULL DEFAULT 0,
    ADD COLUMN fire_count           bigint NOT NULL DEFAULT 0,
    ADD COLUMN turn_run             uuid,
    ADD COLUMN changed_in           bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT a_pause_has_a_reason CHECK (
        paused_at IS NULL OR paused_reason IS NOT NULL AND paused_by IS NOT NULL);
COMMENT ON COLUMN steadybeat.schedules.policies IS 'what is not at its default, and what always was here';
COMMENT ON COLUMN steadybeat.schedules.code IS 'what the code defined last, where it does';
COMMENT ON COLUMN steadybeat.schedules.paused_at IS 'fires due later are skipped';
COMMENT ON COLUMN steadybeat.schedules.consecutive_failures IS 'dead runs since the last that succeeded';
COMMENT ON COLUMN steadybeat.schedules.fire_count IS 'fires dispatched under a fire_limit';
COMMENT ON COLUMN steadybeat.schedules.turn_run IS 'the run that started last, where runs may not overlap';
COMMENT ON COLUMN steadybeat.schedules.changed_in IS 'the transaction that gave it its revision';
UPDATE steadybeat.schedules SET code = jsonb_build_object('task', task, 'service', service, 'spec', spec,
    'policies', policies, 'args', args, 'kwargs', kwargs, 'options', options) WHERE source = 'code';
CREATE INDEX schedules_changed_in ON steadybeat.schedules (changed_in);
DROP INDEX steadybeat.schedules_revision;

CREATE FUNCTION steadybeat.note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_in := pg_current_xact_id()::text::bigint;
    RETURN NEW;
END $$;
CREATE TRIGGER schedules_note_change BEFORE INSERT OR UPDATE OF revision ON steadybeat.schedules
    FOR EACH ROW EXECUTE FUNCTION steadybeat.note_change();
"""

FIRES = """
ALTER TABLE steadybeat.fires
    ADD COLUMN cause text,
    ADD COLUMN asked text,
    ADD CONSTRAINT asked_is_known CHECK (asked IN ('trigger', 'backfill', 'resume'));
COMMENT ON COLUMN steadybeat.fires.cause IS 'the reason as one of few words, for counting';
COMMENT ON COLUMN steadybeat.fires.asked IS 'trigger, backfill or resume, where a person asked for it';
DROP INDEX steadybeat.fires_due;
CREATE INDEX fires_due ON steadybeat.fires (due_at) WHERE state = 'expected';
CREATE INDEX fires_waiting ON steadybeat.fires (schedule, scheduled_for) WHERE state = 'waiting';
"""

RUNS = """
CREATE INDEX runs_open_of_schedule ON steadybeat.runs (schedule) WHERE finished_at IS NULL AND schedule IS NOT NULL;
"""


def upgrade() -> None:
    op.execute(SCHEDULES)
    op.execute(FIRES)
    op.execute(RUNS)


def downgrade() -> None:
    raise RuntimeError("The ledger is only ever upgraded: an older release runs on a newer schema.")
