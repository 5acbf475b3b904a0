"""Survival: progress and checkpoints, results of steps, deadlines, duplicates, chords, turns, dead letters."""

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
    ADD COLUMN claim_id      uuid,
    ADD COLUMN retry_until   timestamptz,
    ADD COLUMN items_done    bigint,
    ADD COLUMN items_total   bigint,
    ADD COLUMN progressed_at timestamptz,
    ADD COLUMN checkpoint    jsonb,
    ADD COLUMN group_id      text,
    ADD COLUMN group_index   integer,
    ADD COLUMN replaced_at   timestamptz;
COMMENT ON COLUMN steadybeat.runs.terminate_at IS 'its worker ends an attempt that goes on after this';
COMMENT ON COLUMN steadybeat.runs.claim_id IS
    'who asks again under it, because the answer was lost, has the lease';
COMMENT ON COLUMN steadybeat.runs.retry_until IS
    'no attempt begins later: what retry_for made of the first one''s start';
COMMENT ON COLUMN steadybeat.runs.items_done IS 'progress';
COMMENT ON COLUMN steadybeat.runs.items_total IS 'where it is known';
COMMENT ON COLUMN steadybeat.runs.checkpoint IS 'where the next attempt goes on';
COMMENT ON COLUMN steadybeat.runs.group_id IS 'the chord that it is a part of';
COMMENT ON COLUMN steadybeat.runs.replaced_at IS 'a canvas took its place, whose last step goes on as this run';
CREATE INDEX runs_of_group ON steadybeat.runs (group_id) WHERE group_id IS NOT NULL;
CREATE INDEX runs_of_parent ON steadybeat.runs (parent_id) WHERE parent_id IS NOT NULL;

ALTER TABLE steadybeat.attempts
    ADD COLUMN reason text,
    ADD COLUMN peak_memory_bytes bigint,
    DROP CONSTRAINT outcome_is_known,
    ADD CONSTRAINT outcome_is_known CHECK (outcome IN (
        'succeeded', 'failed', 'retried', 'timed_out', 'lost', 'cancelled', 'interrupted', 'snoozed'));
COMMENT ON COLUMN steadybeat.attempts.reason IS 'of the outcome: what follows, and who says so';
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
    pending    integer NOT NULL,
    header     jsonb NOT NULL,
    body       jsonb NOT NULL,
    lineage    jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    failed_at  timestamptz,
    joined_at  timestamptz
);
COMMENT ON COLUMN steadybeat.chords.size IS 'runs that must have succeeded';
COMMENT ON COLUMN steadybeat.chords.pending IS 'of them, those that have not; reruns may take it below 0';
COMMENT ON COLUMN steadybeat.chords.header IS 'their ids, in lists within lists as the body gets their results';
COMMENT ON COLUMN steadybeat.chords.body IS 'Celery''s signature of what follows them';
COMMENT ON COLUMN steadybeat.chords.lineage IS 'root and parent of the body';
COMMENT ON COLUMN steadybeat.chords.failed_at IS 'when the error callbacks of the body were put into the outbox';
COMMENT ON COLUMN steadybeat.chords.joined_at IS 'when the body was put into the outbox, or can never be';
CREATE INDEX chords_ready ON steadybeat.chords (created_at) WHERE joined_at IS NULL AND pending <= 0;
"""

RESULTS = """
CREATE TABLE steadybeat.aftermaths (
    run        uuid PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN steadybeat.aftermaths.run IS 'it ended badly, and what follows from that is yet to be written';

CREATE TABLE steadybeat.results (
    id         text PRIMARY KEY,
    state      text NOT NULL,
    result     jsonb,
    traceback  text,
    run        uuid,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN steadybeat.results.id IS 'Celery''s task id, of what is no run or says more than its run';
COMMENT ON COLUMN steadybeat.results.state IS 'Celery''s, or one that a task has made up';
COMMENT ON COLUMN steadybeat.results.run IS
    'whose end decided it: it holds for as long as that is dead or cancelled';
CREATE INDEX results_recent ON steadybeat.results (changed_at);

CREATE TABLE steadybeat.groups (
    id         text PRIMARY KEY,
    result     jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN steadybeat.groups.result IS 'what GroupResult.save() keeps: ids in Celery''s form';
"""

TURNS = """
CREATE TABLE steadybeat.turns (
    name     text NOT NULL,
    place    integer NOT NULL,
    run      uuid NOT NULL,
    fence    bigint NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, place)
);
COMMENT ON COLUMN steadybeat.turns.name IS 'kind and name of a lock: lock:sale:7';
COMMENT ON COLUMN steadybeat.turns.place IS 'from 0; which of its places';
COMMENT ON COLUMN steadybeat.turns.run IS 'who took it last, whether or not it was given back since';
COMMENT ON COLUMN steadybeat.turns.fence IS 'of the attempt that took it; no other commits an effect';

ALTER TABLE steadybeat.outbox
    ADD COLUMN waits_for text,
    DROP CONSTRAINT reason_is_known,
    ADD CONSTRAINT reason_is_known
        CHECK (reason IN ('retry', 'rescue', 'delayed', 'rerun', 'transactional', 'callback', 'lock'));
COMMENT ON COLUMN steadybeat.outbox.waits_for IS 'kind and name of the lock that the run waits for';
CREATE INDEX outbox_waits_for ON steadybeat.outbox (waits_for) WHERE waits_for IS NOT NULL;
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
    op.execute(RESULTS)
    op.execute(TURNS)
    op.execute(DELIVERY)


def downgrade() -> None:
    raise RuntimeError("The ledger is only ever upgraded: an older release runs on a newer schema.")
