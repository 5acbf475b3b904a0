"""The ledger: schedules, fires, runs, attempts, keys, outbox, instances, and what people did."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SEQUENCES = """
CREATE SEQUENCE steadybeat.fences;
CREATE SEQUENCE steadybeat.terms;
CREATE SEQUENCE steadybeat.revisions;
CREATE SEQUENCE steadybeat.generations;
"""

SCHEDULES = """
CREATE TABLE steadybeat.schedules (
    name            text PRIMARY KEY,
    task            text NOT NULL,
    service         text NOT NULL,
    spec            jsonb NOT NULL,
    policies        jsonb NOT NULL,
    args            jsonb NOT NULL DEFAULT '[]',
    kwargs          jsonb NOT NULL DEFAULT '{}',
    options         jsonb NOT NULL DEFAULT '{}',
    source          text NOT NULL,
    revision        bigint NOT NULL,
    generation      bigint NOT NULL,
    expected_until  timestamptz NOT NULL,
    retired_at      timestamptz,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT source_is_known CHECK (source IN ('code', 'operator'))
);
CREATE INDEX schedules_revision ON steadybeat.schedules (revision);
COMMENT ON COLUMN steadybeat.schedules.spec IS 'the rule of time, as schedule.from_json() reads it';
COMMENT ON COLUMN steadybeat.schedules.policies IS 'jitter_seconds, catch_up, catch_up_window_seconds, overlap';
COMMENT ON COLUMN steadybeat.schedules.options IS 'options of apply_async';
COMMENT ON COLUMN steadybeat.schedules.source IS 'code or operator: who defined it last';
COMMENT ON COLUMN steadybeat.schedules.revision IS 'from the sequence revisions; any change takes the next';
COMMENT ON COLUMN steadybeat.schedules.generation IS 'the service''s apply that defined it last';
COMMENT ON COLUMN steadybeat.schedules.expected_until IS 'fires up to and including this instant are written';
COMMENT ON COLUMN steadybeat.schedules.retired_at IS 'the code no longer has it';

CREATE TABLE steadybeat.fires (
    schedule        text NOT NULL,
    scheduled_for   timestamptz NOT NULL,
    state           text NOT NULL DEFAULT 'expected',
    reason          text,
    run_id          uuid,
    revision        bigint NOT NULL,
    term            bigint,
    due_at          timestamptz NOT NULL,
    dispatched_at   timestamptz,
    PRIMARY KEY (schedule, scheduled_for),
    CONSTRAINT state_is_known CHECK (state IN (
        'expected', 'waiting', 'dispatched', 'skipped', 'missed', 'coalesced', 'superseded')),
    CONSTRAINT a_reason_is_given CHECK (state IN ('expected', 'dispatched') OR reason IS NOT NULL)
);
CREATE INDEX fires_due ON steadybeat.fires (due_at) WHERE state IN ('expected', 'waiting');
COMMENT ON COLUMN steadybeat.fires.term IS 'the leadership that dispatched it';
COMMENT ON COLUMN steadybeat.fires.due_at IS 'scheduled_for and its jitter';
"""

RUNS = """
CREATE TABLE steadybeat.runs (
    id                  uuid PRIMARY KEY,
    task                text NOT NULL,
    service             text NOT NULL,
    queue               text NOT NULL,
    priority            smallint,
    idempotency_key     text NOT NULL,
    schedule            text,
    scheduled_for       timestamptz,
    parent_id           uuid,
    rerun_of            uuid,
    state               text NOT NULL DEFAULT 'enqueued',
    reason              text,
    message             jsonb NOT NULL,
    body                text NOT NULL,
    delivery_no         integer NOT NULL DEFAULT 1,
    not_before          timestamptz,
    deadline            timestamptz,
    instance            uuid,
    fence               bigint,
    lease_until         timestamptz,
    attempt_count       integer NOT NULL DEFAULT 0,
    retry_count         integer NOT NULL DEFAULT 0,
    crash_count         integer NOT NULL DEFAULT 0,
    rescue_count        integer NOT NULL DEFAULT 0,
    next_rescue_at      timestamptz,
    cancel_requested_at timestamptz,
    result              jsonb,
    error               text,
    correlation_id      text,
    enqueued_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at          timestamptz,
    finished_at         timestamptz,
    CONSTRAINT state_is_known CHECK (state IN (
        'enqueued', 'running', 'waiting', 'succeeded', 'dead', 'cancelled')),
    CONSTRAINT a_reason_is_given CHECK (state NOT IN ('dead', 'cancelled') OR reason IS NOT NULL)
) WITH (fillfactor = 80);
CREATE INDEX runs_open ON steadybeat.runs (state, enqueued_at) WHERE finished_at IS NULL;
CREATE INDEX runs_recent ON steadybeat.runs (enqueued_at);
CREATE INDEX runs_of_schedule ON steadybeat.runs (schedule, scheduled_for) WHERE schedule IS NOT NULL;
CREATE INDEX runs_started ON steadybeat.runs (queue, started_at) WHERE started_at IS NOT NULL;
CREATE INDEX runs_dead ON steadybeat.runs (finished_at) WHERE state = 'dead';
COMMENT ON COLUMN steadybeat.runs.id IS 'Celery''s task id; its first 48 bits are a time';
COMMENT ON COLUMN steadybeat.runs.message IS 'headers and properties of the message';
COMMENT ON COLUMN steadybeat.runs.body IS 'JSON: args, kwargs, and what follows (callbacks, chain, chord)';
COMMENT ON COLUMN steadybeat.runs.delivery_no IS 'older deliveries are ignored';

CREATE TABLE steadybeat.attempts (
    run         uuid NOT NULL,
    number      integer NOT NULL,
    instance    uuid NOT NULL,
    fence       bigint NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    outcome     text,
    error       text,
    PRIMARY KEY (run, number),
    CONSTRAINT outcome_is_known CHECK (outcome IN (
        'succeeded', 'failed', 'retried', 'timed_out', 'lost', 'cancelled', 'interrupted'))
) WITH (fillfactor = 80);
COMMENT ON COLUMN steadybeat.attempts.error IS 'the exception with its stack';

CREATE TABLE steadybeat.processed_keys (
    task        text NOT NULL,
    key         text NOT NULL,
    step        text NOT NULL DEFAULT '',
    run         uuid NOT NULL,
    fence       bigint NOT NULL,
    state       text NOT NULL,
    changed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at  timestamptz,
    PRIMARY KEY (task, key, step),
    CONSTRAINT state_is_known CHECK (state IN ('held', 'done'))
) WITH (fillfactor = 80);
COMMENT ON COLUMN steadybeat.processed_keys.state IS
    'held: somebody may make the effect; done: it has happened';

CREATE TABLE steadybeat.outbox (
    id          bigserial PRIMARY KEY,
    publish_at  timestamptz NOT NULL,
    run         uuid NOT NULL,
    delivery_no integer NOT NULL,
    reason      text NOT NULL,
    CONSTRAINT outbox_delivery UNIQUE (run, delivery_no),
    CONSTRAINT reason_is_known CHECK (reason IN (
        'retry', 'rescue', 'delayed', 'rerun', 'transactional', 'callback'))
);
CREATE INDEX outbox_publish_at ON steadybeat.outbox (publish_at);
"""

REST = """
CREATE TABLE steadybeat.instances (
    id                   uuid PRIMARY KEY,
    role                 text NOT NULL,
    host                 text NOT NULL,
    pid                  integer NOT NULL,
    release              text NOT NULL,
    started_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at           timestamptz NOT NULL,
    clock_offset_seconds double precision
) WITH (fillfactor = 50);
COMMENT ON COLUMN steadybeat.instances.role IS 'worker or beat';
COMMENT ON COLUMN steadybeat.instances.clock_offset_seconds IS
    'its clock less Postgres'' at the last sign of life';

CREATE TABLE steadybeat.foreign_messages (
    id       bigserial PRIMARY KEY,
    queue    text NOT NULL,
    raw      bytea NOT NULL,
    reason   text NOT NULL,
    seen_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE steadybeat.operations (
    id       bigserial PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    who      text NOT NULL,
    what     text NOT NULL,
    target   text NOT NULL,
    reason   text NOT NULL,
    details  jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON COLUMN steadybeat.operations.what IS 'a command and its verb, such as runs rerun';
"""


def upgrade() -> None:
    for part in (SEQUENCES, SCHEDULES, RUNS, REST):
        op.execute(part)


def downgrade() -> None:
    raise RuntimeError("The ledger is only ever upgraded: an older release runs on a newer schema.")
