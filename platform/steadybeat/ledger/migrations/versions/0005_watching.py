"""Watching: who leads, what tasks are, what is missing, what people are told of it, and the lines of runs."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

LEDGER = """
ALTER TABLE steadybeat.instances
    ADD COLUMN node           text,
    ADD COLUMN queues         text[],
    ADD COLUMN schema_version text;
COMMENT ON COLUMN steadybeat.instances.role IS 'worker, beat or watchdog';
COMMENT ON COLUMN steadybeat.instances.node IS 'what a worker is called in Celery';
COMMENT ON COLUMN steadybeat.instances.queues IS 'what a worker consumes from';
COMMENT ON COLUMN steadybeat.instances.schema_version IS 'the newest migration that its release needs';

CREATE INDEX runs_ended_of_schedule ON steadybeat.runs (finished_at)
    WHERE schedule IS NOT NULL AND finished_at IS NOT NULL;
CREATE INDEX runs_rescued ON steadybeat.runs (enqueued_at) WHERE rescue_count > 0;
CREATE INDEX attempts_lost ON steadybeat.attempts (finished_at) WHERE outcome = 'lost';
CREATE INDEX schedules_troubled ON steadybeat.schedules (name)
    WHERE consecutive_failures > 0 OR paused_at IS NOT NULL;
CREATE INDEX fires_missed ON steadybeat.fires (due_at) WHERE state = 'missed';
"""

TASKS = """
CREATE TABLE steadybeat.tasks (
    name                    text PRIMARY KEY,
    service                 text NOT NULL,
    owner                   text,
    severity                text NOT NULL,
    purpose                 text,
    soft_time_limit_seconds double precision,
    time_limit_seconds      double precision,
    depends_on              jsonb NOT NULL DEFAULT '[]',
    updated_at              timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN steadybeat.tasks.owner IS 'who answers for it';
COMMENT ON COLUMN steadybeat.tasks.severity IS 'how bad it is when it does not run';
COMMENT ON COLUMN steadybeat.tasks.purpose IS 'the first sentence of its docstring';
"""

WATCHING = """
CREATE TABLE steadybeat.leaderships (
    term       bigint PRIMARY KEY,
    instance   uuid NOT NULL,
    host       text NOT NULL,
    began_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    renewed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at   timestamptz
);
COMMENT ON COLUMN steadybeat.leaderships.renewed_at IS 'when its Beat last said that it leads';
COMMENT ON COLUMN steadybeat.leaderships.ended_at IS
    'when it said that it does not any more; one that is killed says nothing';

CREATE TABLE steadybeat.duties (
    name     text PRIMARY KEY,
    instance uuid NOT NULL,
    until    timestamptz NOT NULL,
    done_at  timestamptz
);
COMMENT ON TABLE steadybeat.duties IS 'what one process at a time does, of however many could';
COMMENT ON COLUMN steadybeat.duties.until IS 'nobody else takes it over before this';
COMMENT ON COLUMN steadybeat.duties.done_at IS 'when it was done last, where it is done now and then';

CREATE TABLE steadybeat.canaries (
    queue            text PRIMARY KEY,
    number           bigint NOT NULL DEFAULT 1,
    sent_at          timestamptz,
    unanswered_since timestamptz,
    answered_at      timestamptz,
    answered_no      bigint,
    answered_by      uuid
);
COMMENT ON TABLE steadybeat.canaries IS 'of each queue the last message that asks whether somebody consumes from it';
COMMENT ON COLUMN steadybeat.canaries.unanswered_since IS
    'when the first was sent after the last answer; null: the last one came';
COMMENT ON COLUMN steadybeat.canaries.answered_no IS 'the number of the message that was answered last';

CREATE TABLE steadybeat.monitors (
    name          text PRIMARY KEY,
    kind          text NOT NULL,
    sent_at       timestamptz,
    failing_since timestamptz,
    failure_count bigint NOT NULL DEFAULT 0,
    error         text,
    synced        jsonb,
    synced_at     timestamptz
);
COMMENT ON TABLE steadybeat.monitors IS 'monitors elsewhere that heartbeats go to: of a schedule, or of the platform';
COMMENT ON COLUMN steadybeat.monitors.name IS 'the schedule; platform';
COMMENT ON COLUMN steadybeat.monitors.failing_since IS 'no heartbeat was taken since; null: the last one was';
COMMENT ON COLUMN steadybeat.monitors.synced IS 'what the monitor was told of the schedule last';

CREATE TABLE steadybeat.run_lines (
    id     bigserial PRIMARY KEY,
    run    uuid NOT NULL,
    at     timestamptz NOT NULL,
    level  text NOT NULL,
    event  text NOT NULL,
    fields jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX run_lines_of_run ON steadybeat.run_lines (run, id);
CREATE INDEX run_lines_recent ON steadybeat.run_lines (at);
"""

ALERTS = """
CREATE TABLE steadybeat.alerts (
    id                  bigserial PRIMARY KEY,
    rule                text NOT NULL,
    subject             text NOT NULL,
    state               text NOT NULL DEFAULT 'open',
    severity            text NOT NULL,
    owner               text,
    service             text,
    task                text,
    schedule            text,
    run                 uuid,
    summary             text NOT NULL,
    facts               jsonb NOT NULL DEFAULT '{}',
    error               text,
    last_good_run       uuid,
    cause_id            bigint,
    since               timestamptz,
    opened_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    reopened_at         timestamptz,
    last_seen_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_count          bigint NOT NULL DEFAULT 1,
    reopened_count      integer NOT NULL DEFAULT 0,
    acknowledged_at     timestamptz,
    acknowledged_by     text,
    acknowledged_reason text,
    resolved_at         timestamptz,
    resolved_by         text,
    resolved_reason     text,
    told_at             timestamptz,
    told_severity       text,
    storm_id            bigint,
    escalation_step     integer NOT NULL DEFAULT 0,
    escalate_at         timestamptz,
    CONSTRAINT state_is_known CHECK (state IN ('open', 'acknowledged', 'resolved')),
    CONSTRAINT severity_is_known CHECK (severity IN ('info', 'warning', 'error', 'critical')),
    CONSTRAINT an_acknowledgement_has_a_name
        CHECK (state <> 'acknowledged' OR acknowledged_at IS NOT NULL AND acknowledged_by IS NOT NULL),
    CONSTRAINT a_resolution_has_an_instant CHECK ((state = 'resolved') = (resolved_at IS NOT NULL))
);
COMMENT ON COLUMN steadybeat.alerts.subject IS 'what it is about: a schedule, a task, a queue, an instance, a channel';
COMMENT ON COLUMN steadybeat.alerts.run IS 'the run in which it was seen last';
COMMENT ON COLUMN steadybeat.alerts.facts IS 'of the rule: counts, limits, instants';
COMMENT ON COLUMN steadybeat.alerts.cause_id IS 'the alert of which it is a consequence; people are told of that one';
COMMENT ON COLUMN steadybeat.alerts.since IS 'since when what it says is so, where that is known';
COMMENT ON COLUMN steadybeat.alerts.seen_count IS 'passes of the watchdog, or events, in which it was so';
COMMENT ON COLUMN steadybeat.alerts.reopened_count IS 'how often it came back soon after it was resolved';
COMMENT ON COLUMN steadybeat.alerts.told_at IS 'when notices of it were last written; null: nobody was told';
COMMENT ON COLUMN steadybeat.alerts.reopened_at IS 'when it came back last, soon after it was resolved';
COMMENT ON COLUMN steadybeat.alerts.error IS 'the last one, in one line';
COMMENT ON COLUMN steadybeat.alerts.told_severity IS 'what it was when people were told last';
COMMENT ON COLUMN steadybeat.alerts.storm_id IS
    'the alert in whose notice people were told of it, together with others';
COMMENT ON COLUMN steadybeat.alerts.escalation_step IS 'steps of its route that were taken';
COMMENT ON COLUMN steadybeat.alerts.escalate_at IS 'when the next step is taken unless somebody acknowledges it';
CREATE UNIQUE INDEX alerts_open ON steadybeat.alerts (rule, subject) WHERE state <> 'resolved';
CREATE INDEX alerts_of_subject ON steadybeat.alerts (rule, subject, id);
CREATE INDEX alerts_recent ON steadybeat.alerts (opened_at);
CREATE INDEX alerts_resolved ON steadybeat.alerts (resolved_at) WHERE state = 'resolved';
CREATE INDEX alerts_of_cause ON steadybeat.alerts (cause_id) WHERE cause_id IS NOT NULL;

CREATE TABLE steadybeat.alert_events (
    id    bigserial PRIMARY KEY,
    alert bigint NOT NULL,
    at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    what  text NOT NULL,
    who   text,
    text  text,
    CONSTRAINT what_is_known CHECK (what IN (
        'opened', 'reopened', 'worse', 'acknowledged', 'resolved', 'escalated', 'told', 'not_told', 'failed'))
);
COMMENT ON COLUMN steadybeat.alert_events.who IS 'a person; null: the platform itself';
CREATE INDEX alert_events_of_alert ON steadybeat.alert_events (alert, id);

CREATE TABLE steadybeat.notices (
    id          bigserial PRIMARY KEY,
    alert       bigint,
    kind        text NOT NULL,
    channel     text NOT NULL,
    fallbacks   jsonb NOT NULL DEFAULT '[]',
    severity    text NOT NULL,
    title       text NOT NULL,
    body        text NOT NULL,
    html        text,
    facts       jsonb NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    publish_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    try_count   integer NOT NULL DEFAULT 0,
    tried_at    timestamptz,
    sent_at     timestamptz,
    given_up_at timestamptz,
    error       text,
    CONSTRAINT kind_is_known CHECK (kind IN (
        'opened', 'reopened', 'worse', 'escalated', 'acknowledged', 'resolved', 'report', 'test'))
);
COMMENT ON TABLE steadybeat.notices IS 'what people are to be told, and were: one row for each channel';
COMMENT ON COLUMN steadybeat.notices.channel IS 'its name in steadybeat_alert_channels; addresses are not stored';
COMMENT ON COLUMN steadybeat.notices.fallbacks IS 'channels that are tried in their order where this one fails';
COMMENT ON COLUMN steadybeat.notices.publish_at IS 'not tried before this; in the future while somebody tries it';
CREATE INDEX notices_due ON steadybeat.notices (publish_at) WHERE sent_at IS NULL AND given_up_at IS NULL;
CREATE INDEX notices_of_channel ON steadybeat.notices (channel, tried_at);
CREATE INDEX notices_of_alert ON steadybeat.notices (alert) WHERE alert IS NOT NULL;

CREATE TABLE steadybeat.silences (
    id         bigserial PRIMARY KEY,
    rule       text,
    subject    text,
    owner      text,
    service    text,
    begins_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    ends_at    timestamptz NOT NULL,
    who        text NOT NULL,
    reason     text NOT NULL,
    ended_at   timestamptz,
    ended_by   text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT it_ends_after_it_begins CHECK (ends_at > begins_at)
);
COMMENT ON TABLE steadybeat.silences IS 'while one holds, alerts that it matches are kept, and nobody is told';
COMMENT ON COLUMN steadybeat.silences.rule IS 'a pattern with * and ?; null: any; so are subject, owner and service';
COMMENT ON COLUMN steadybeat.silences.ended_at IS 'when a person took it back';
"""


def upgrade() -> None:
    op.execute(LEDGER)
    op.execute(TASKS)
    op.execute(WATCHING)
    op.execute(ALERTS)


def downgrade() -> None:
    raise RuntimeError("The ledger is only ever upgraded: an older release runs on a newer schema.")
