"""Tenants: runs that fan out into one for each of them, who may have one, and who was left out."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

RUNS = """
ALTER TABLE steadybeat.runs
    ADD COLUMN fan_out  uuid,
    ADD COLUMN tenant   text,
    ADD COLUMN in_line  boolean NOT NULL DEFAULT false,
    ADD COLUMN given_up boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN steadybeat.runs.fan_out IS 'the run that fanned out into this one and others';
COMMENT ON COLUMN steadybeat.runs.tenant IS 'the account for which it does its share';
COMMENT ON COLUMN steadybeat.runs.in_line IS 'it waits until its fan-out has room for it';
COMMENT ON COLUMN steadybeat.runs.given_up IS 'it was cancelled, or asked to end, with its fan-out';
CREATE INDEX runs_again ON steadybeat.runs (rerun_of) WHERE rerun_of IS NOT NULL;
CREATE INDEX runs_of_fan_out ON steadybeat.runs (fan_out, state) WHERE fan_out IS NOT NULL;
CREATE INDEX runs_at_work ON steadybeat.runs (fan_out)
    WHERE fan_out IS NOT NULL AND finished_at IS NULL AND NOT in_line;
CREATE INDEX runs_in_line ON steadybeat.runs (fan_out, id)
    WHERE in_line AND finished_at IS NULL AND attempt_count = 0;
CREATE INDEX runs_in_line_again ON steadybeat.runs (fan_out, not_before)
    WHERE in_line AND finished_at IS NULL AND attempt_count > 0;
"""

FAN_OUTS = """
CREATE TABLE steadybeat.fan_outs (
    run               uuid PRIMARY KEY,
    task              text NOT NULL,
    policy            text,
    seed              text NOT NULL,
    concurrency       integer NOT NULL,
    spread_seconds    double precision NOT NULL DEFAULT 0,
    abort_count       bigint,
    abort_share       double precision,
    on_complete       jsonb,
    begun_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    written_at        timestamptz,
    total_count       bigint,
    forgiven_count    bigint NOT NULL DEFAULT 0,
    aborted_at        timestamptz,
    abort_reason      text,
    ended_at          timestamptz,
    CONSTRAINT an_abort_has_a_reason CHECK (aborted_at IS NULL OR abort_reason IS NOT NULL)
);
COMMENT ON COLUMN steadybeat.fan_outs.task IS 'what runs for each tenant';
COMMENT ON COLUMN steadybeat.fan_outs.seed IS 'the order of tenants follows from it';
COMMENT ON COLUMN steadybeat.fan_outs.concurrency IS 'so many of its runs are sent or at work at a time';
COMMENT ON COLUMN steadybeat.fan_outs.on_complete IS 'Celery''s signature of what is told the counts';
COMMENT ON COLUMN steadybeat.fan_outs.written_at IS 'all of its runs are on record, and may begin';
COMMENT ON COLUMN steadybeat.fan_outs.total_count IS 'how many runs those are';
COMMENT ON COLUMN steadybeat.fan_outs.forgiven_count IS 'dead runs of before somebody had it go on';
COMMENT ON COLUMN steadybeat.fan_outs.ended_at IS 'none of its runs is open, and its own run says so';
CREATE INDEX fan_outs_open ON steadybeat.fan_outs (begun_at) WHERE ended_at IS NULL;

CREATE TABLE steadybeat.skipped_tenants (
    run    uuid NOT NULL,
    tenant text NOT NULL,
    cause  text NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (run, tenant),
    CONSTRAINT cause_is_known CHECK (cause IN ('paused', 'excluded', 'rollout'))
);
COMMENT ON COLUMN steadybeat.skipped_tenants.run IS 'of the fan-out';
"""

POLICIES = """
CREATE TABLE steadybeat.tenant_policies (
    name            text PRIMARY KEY,
    rollout_percent double precision NOT NULL DEFAULT 100,
    paused_at       timestamptz,
    paused_by       text,
    paused_reason   text,
    updated_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT rollout_is_a_share CHECK (rollout_percent BETWEEN 0 AND 100),
    CONSTRAINT a_pause_has_a_reason
        CHECK (paused_at IS NULL OR paused_reason IS NOT NULL AND paused_by IS NOT NULL)
);
COMMENT ON COLUMN steadybeat.tenant_policies.rollout_percent IS
    'share of the tenants that are in, always the same ones; more come in as it grows';

CREATE TABLE steadybeat.tenant_rules (
    policy     text NOT NULL,
    tenant     text NOT NULL,
    kind       text NOT NULL,
    who        text NOT NULL,
    reason     text NOT NULL,
    since      timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    PRIMARY KEY (policy, tenant),
    CONSTRAINT kind_is_known CHECK (kind IN ('enabled', 'paused', 'excluded'))
);
COMMENT ON COLUMN steadybeat.tenant_rules.kind IS 'enabled: in, whatever the roll-out';
"""


def upgrade() -> None:
    op.execute(RUNS)
    op.execute(FAN_OUTS)
    op.execute(POLICIES)


def downgrade() -> None:
    raise RuntimeError("The ledger is only ever upgraded: an older release runs on a newer schema.")
