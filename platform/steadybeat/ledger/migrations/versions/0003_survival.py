"""Survival: progress and checkpoints, results of steps, deadlines of retries, duplicates, chords, dead letters."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

RUNS = """
ALTER TABLE steadybeat.runs
    ADD COLUMN cancel_reason text,
    ADD COLUMN terminate_at  timestamptz,
    ADD COLUMN retry_until   timestamptz,
    ADD COLUMN items_done    bigint,
    ADD COLUMN items_total   bigint,
    ADD COLUMN progressed_at timestamptz,
    ADD COLUMN checkpoint    jsonb,
    ADD COLUMN group_id      text,
    ADD COLUMN group_index   integer;
COMMENT ON COLUMN steadybeat.runs.terminate_at IS 'its worker ends an attempt that goes on after this';
COMMENT ON COLUMN steadybeat.runs.retry_until IS
    'no attempt begins later: what retry_for made of the first one''s start';
COMMENT ON COLUMN steadybeat.runs.items_done IS 'progress';
COMMENT ON COLUMN steadybeat.runs.items_total IS 'where it is known';
COMMENT ON COLUMN steadybeat.runs.checkpoint IS 'where the next attempt goes on';
COMMENT ON COLUMN steadybeat.runs.group_id IS 'Celery''s group';
CREATE INDEX runs_of_group ON steadybeat.runs (group_id) WHERE group_id IS NOT NULL;

ALTER TABLE steadybeat.attempts ADD COLUMN peak_memory_bytes bigint;
COMMENT ON COLUMN steadybeat.attempts.peak_memory_bytes IS 'of its process, since that began to work on it';
"""

KEYS = """
ALTER TABLE steadybeat.processed_keys
    ADD COLUMN result jsonb,
    DROP CONSTRAINT state_is_known,
    ADD CONSTRAINT state_is_known CHECK (state IN ('held', 'done', 'pending', 'sent', 'unknown', 'confirmed'));
COMMENT ON COLUMN steadybeat.processed_keys.state IS
    'held: somebody may make the effect; done: it has happened; of an external step pending to confirmed';
COMMENT ON COLUMN steadybeat.processed_keys.result IS
    'what the effect gave back, for the attempts that find it done';

CREATE TABLE steadybeat.duplicates (
    id       bigserial PRIMARY KEY,
    run      uuid NOT NULL,
    task     text NOT NULL,
    schedule text,
    cause    text NOT NULL,
    detail   text NOT NULL,
    instance uuid,
    seen_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN steadybeat.duplicates.cause IS 'why there was a second delivery, or a second run for one key';
COMMENT ON COLUMN steadybeat.duplicates.instance IS 'the worker that it came to';
CREATE INDEX duplicates_of_run ON steadybeat.duplicates (run);
CREATE INDEX duplicates_recent ON steadybeat.duplicates (seen_at);
"""

CHORDS = """
CREATE TABLE steadybeat.chords (
    group_id   text PRIMARY KEY,
    size       integer NOT NULL,
    body       jsonb NOT NULL,
    lineage    jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    joined_at  timestamptz
);
COMMENT ON COLUMN steadybeat.chords.size IS 'runs that must have succeeded';
COMMENT ON COLUMN steadybeat.chords.body IS 'Celery''s signature of what follows them';
COMMENT ON COLUMN steadybeat.chords.lineage IS 'root and parent of the body';
COMMENT ON COLUMN steadybeat.chords.joined_at IS 'when the body, or its error callbacks, were put into the outbox';
CREATE INDEX chords_open ON steadybeat.chords (created_at) WHERE joined_at IS NULL;
"""

# A million rows that wait are no reason to leave ten thousand dead ones before them.
DELIVERY = """
ALTER TABLE steadybeat.outbox SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 10000
);

ALTER TABLE steadybeat.foreign_messages ADD COLUMN run uuid;
COMMENT ON COLUMN steadybeat.foreign_messages.run IS 'the run that has become a dead letter with it';
CREATE INDEX foreign_messages_of_run ON steadybeat.foreign_messages (run) WHERE run IS NOT NULL;
"""


def upgrade() -> None:
    op.execute(RUNS)
    op.execute(KEYS)
    op.execute(CHORDS)
    op.execute(DELIVERY)


def downgrade() -> None:
    raise RuntimeError("The ledger is only ever upgraded: an older release runs on a newer schema.")
