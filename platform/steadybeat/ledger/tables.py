"""The ledger's tables, as SQLAlchemy sees them.

Schema ``steadybeat``; instants are ``timestamptz`` taken from Postgres' ``clock_timestamp()``. The migrations make
these tables; a test compares the two. Where a column's meaning is not its name, it is said here. Those of fan-outs and
of tenants stand in `tenant_tables`, those of what is watched in `watch_tables`, those of alerts in `alert_tables`;
`all_tables` knows every one.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

SCHEMA = "steadybeat"

FIRE_STATES = ("expected", "waiting", "dispatched", "skipped", "missed", "coalesced", "superseded")
RUN_STATES = ("enqueued", "running", "waiting", "succeeded", "dead", "cancelled")
OPEN_STATES = ("enqueued", "running", "waiting")
KEY_STATES = ("held", "done", "pending", "sent", "unknown", "confirmed")
OUTCOMES = ("succeeded", "failed", "retried", "timed_out", "lost", "cancelled", "interrupted", "snoozed")

metadata = MetaData(schema=SCHEMA)
_INSTANT = DateTime(timezone=True)
_NOW = text("clock_timestamp()")


def one_of(column: str, words: tuple[str, ...]) -> CheckConstraint:
    """Return the constraint that a column holds one of some words."""
    listed = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_is_known")


schedules = Table(
    "schedules",
    metadata,
    Column("name", Text, primary_key=True),
    Column("task", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("spec", JSONB, nullable=False, comment="the rule of time, as schedule.from_json() reads it"),
    Column(
        "policies",
        JSONB,
        nullable=False,
        comment="what is not at its default, and what always was here",
    ),
    Column("args", JSONB, nullable=False, server_default=text("'[]'")),
    Column("kwargs", JSONB, nullable=False, server_default=text("'{}'")),
    Column("options", JSONB, nullable=False, server_default=text("'{}'"), comment="options of apply_async"),
    Column("source", Text, nullable=False, comment="code or operator: who defined it last"),
    Column(
        "revision",
        BigInteger,
        nullable=False,
        comment="from the sequence revisions; any change takes the next",
    ),
    Column("generation", BigInteger, nullable=False, comment="the service's apply that defined it last"),
    Column(
        "expected_until",
        _INSTANT,
        nullable=False,
        comment="fires up to and including this instant are written",
    ),
    Column("retired_at", _INSTANT, comment="the code no longer has it"),
    Column("code", JSONB, comment="what the code defined last, where it does"),
    Column("paused_at", _INSTANT, comment="fires due later are skipped"),
    Column("paused_by", Text),
    Column("paused_reason", Text),
    Column(
        "consecutive_failures",
        Integer,
        nullable=False,
        server_default="0",
        comment="dead runs since the last that succeeded",
    ),
    Column("fire_count", BigInteger, nullable=False, server_default="0", comment="fires dispatched under a fire_limit"),
    Column("turn_run", Uuid, comment="the run that started last, where runs may not overlap"),
    Column(
        "changed_in",
        BigInteger,
        nullable=False,
        server_default="0",
        comment="the transaction that gave it its revision",
    ),
    Column("created_at", _INSTANT, nullable=False, server_default=_NOW),
    Column("updated_at", _INSTANT, nullable=False, server_default=_NOW),
    one_of("source", ("code", "operator")),
    CheckConstraint(
        "paused_at IS NULL OR paused_reason IS NOT NULL AND paused_by IS NOT NULL", name="a_pause_has_a_reason"
    ),
)
Index("schedules_changed_in", schedules.c.changed_in)
Index(
    "schedules_troubled",
    schedules.c.name,
    postgresql_where=text("consecutive_failures > 0 OR paused_at IS NOT NULL"),
)

fires = Table(
    "fires",
    metadata,
    Column("schedule", Text, primary_key=True),
    Column("scheduled_for", _INSTANT, primary_key=True),
    Column("state", Text, nullable=False, server_default="expected"),
    Column("reason", Text),
    Column("run_id", Uuid),
    Column("revision", BigInteger, nullable=False),
    Column("term", BigInteger, comment="the leadership that dispatched it"),
    Column("due_at", _INSTANT, nullable=False, comment="scheduled_for and its jitter"),
    Column("dispatched_at", _INSTANT),
    Column("cause", Text, comment="the reason as one of few words, for counting"),
    Column("asked", Text, comment="trigger, backfill or resume, where a person asked for it"),
    one_of("state", FIRE_STATES),
    one_of("asked", ("trigger", "backfill", "resume")),
    CheckConstraint("state IN ('expected', 'dispatched') OR reason IS NOT NULL", name="a_reason_is_given"),
)
Index("fires_due", fires.c.due_at, postgresql_where=text("state = 'expected'"))
Index("fires_missed", fires.c.due_at, postgresql_where=text("state = 'missed'"))
Index("fires_waiting", fires.c.schedule, fires.c.scheduled_for, postgresql_where=text("state = 'waiting'"))

runs = Table(
    "runs",
    metadata,
    Column("id", Uuid, primary_key=True, comment="Celery's task id; its first 48 bits are a time"),
    Column("task", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("priority", SmallInteger),
    Column("idempotency_key", Text, nullable=False),
    Column("schedule", Text),
    Column("scheduled_for", _INSTANT),
    Column("parent_id", Uuid),
    Column("rerun_of", Uuid),
    Column("state", Text, nullable=False, server_default="enqueued"),
    Column("reason", Text),
    Column("message", JSONB, nullable=False, comment="headers and properties of the message"),
    Column("body", Text, nullable=False, comment="JSON: args, kwargs, and what follows (callbacks, chain, chord)"),
    Column("delivery_no", Integer, nullable=False, server_default="1", comment="older deliveries are ignored"),
    Column("not_before", _INSTANT),
    Column("deadline", _INSTANT),
    Column("instance", Uuid),
    Column("fence", BigInteger),
    Column("claim_id", Uuid, comment="who asks again under it, because the answer was lost, has the lease"),
    Column("lease_until", _INSTANT),
    Column("attempt_count", Integer, nullable=False, server_default="0"),
    Column("retry_count", Integer, nullable=False, server_default="0"),
    Column("crash_count", Integer, nullable=False, server_default="0"),
    Column("rescue_count", Integer, nullable=False, server_default="0"),
    Column("next_rescue_at", _INSTANT),
    Column("cancel_requested_at", _INSTANT),
    Column("cancel_reason", Text),
    Column("terminate_at", _INSTANT, comment="its worker ends an attempt that goes on after this"),
    Column("retry_until", _INSTANT, comment="no attempt begins later: what retry_for made of the first one's start"),
    Column("items_done", BigInteger, comment="progress"),
    Column("items_total", BigInteger, comment="where it is known"),
    Column("progressed_at", _INSTANT),
    Column("checkpoint", JSONB, comment="where the next attempt goes on"),
    Column("group_id", Text, comment="the chord that it is a part of"),
    Column("group_index", Integer),
    Column("replaced_at", _INSTANT, comment="a canvas took its place, whose last step goes on as this run"),
    Column("fan_out", Uuid, comment="the run that fanned out into this one and others"),
    Column("tenant", Text, comment="the account for which it does its share"),
    Column(
        "in_line",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="it waits until its fan-out has room for it",
    ),
    Column(
        "given_up",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="it was cancelled, or asked to end, with its fan-out",
    ),
    Column("result", JSONB),
    Column("error", Text),
    Column("correlation_id", Text),
    Column("enqueued_at", _INSTANT, nullable=False, server_default=_NOW),
    Column("started_at", _INSTANT),
    Column("finished_at", _INSTANT),
    one_of("state", RUN_STATES),
    CheckConstraint("state NOT IN ('dead', 'cancelled') OR reason IS NOT NULL", name="a_reason_is_given"),
)
Index("runs_open", runs.c.state, runs.c.enqueued_at, postgresql_where=text("finished_at IS NULL"))
Index("runs_recent", runs.c.enqueued_at)
Index("runs_of_schedule", runs.c.schedule, runs.c.scheduled_for, postgresql_where=text("schedule IS NOT NULL"))
Index(
    "runs_open_of_schedule",
    runs.c.schedule,
    postgresql_where=text("finished_at IS NULL AND schedule IS NOT NULL"),
)
Index(
    "runs_ended_of_schedule",
    runs.c.finished_at,
    postgresql_where=text("schedule IS NOT NULL AND finished_at IS NOT NULL"),
)
Index("runs_rescued", runs.c.enqueued_at, postgresql_where=text("rescue_count > 0"))
Index("runs_started", runs.c.queue, runs.c.started_at, postgresql_where=text("started_at IS NOT NULL"))
Index("runs_of_group", runs.c.group_id, postgresql_where=text("group_id IS NOT NULL"))
Index("runs_of_parent", runs.c.parent_id, postgresql_where=text("parent_id IS NOT NULL"))
Index("runs_dead", runs.c.finished_at, postgresql_where=text("state = 'dead'"))
Index("runs_again", runs.c.rerun_of, postgresql_where=text("rerun_of IS NOT NULL"))
Index("runs_of_fan_out", runs.c.fan_out, runs.c.state, postgresql_where=text("fan_out IS NOT NULL"))
Index(
    "runs_at_work",
    runs.c.fan_out,
    postgresql_where=text("fan_out IS NOT NULL AND finished_at IS NULL AND NOT in_line"),
)
Index(
    "runs_in_line",
    runs.c.fan_out,
    runs.c.id,
    postgresql_where=text("in_line AND finished_at IS NULL AND attempt_count = 0"),
)
Index(
    "runs_in_line_again",
    runs.c.fan_out,
    runs.c.not_before,
    postgresql_where=text("in_line AND finished_at IS NULL AND attempt_count > 0"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("run", Uuid, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("instance", Uuid, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("started_at", _INSTANT, nullable=False, server_default=_NOW),
    Column("finished_at", _INSTANT),
    Column("outcome", Text),
    Column("reason", Text, comment="of the outcome: what follows, and who says so"),
    Column("error", Text, comment="the exception with its stack"),
    Column("peak_memory_bytes", BigInteger, comment="of its process, since that began to work on it"),
    one_of("outcome", OUTCOMES),
)
Index("attempts_lost", attempts.c.finished_at, postgresql_where=text("outcome = 'lost'"))

processed_keys = Table(
    "processed_keys",
    metadata,
    Column("task", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("step", Text, primary_key=True, server_default=""),
    Column("run", Uuid, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column(
        "state",
        Text,
        nullable=False,
        comment="held: somebody may make the effect; done: it has happened; of an external step pending to confirmed",
    ),
    Column("result", JSONB, comment="what the effect gave back, for the attempts that find it done"),
    Column("changed_at", _INSTANT, nullable=False, server_default=_NOW),
    Column("expires_at", _INSTANT),
    one_of("state", KEY_STATES),
)

duplicates = Table(
    "duplicates",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("run", Uuid, nullable=False),
    Column("task", Text, nullable=False),
    Column("schedule", Text),
    Column("cause", Text, nullable=False, comment="why there was a second delivery, or a second run for one key"),
    Column("detail", Text, nullable=False),
    Column("instance", Uuid, comment="the worker that it came to"),
    Column("seen_at", _INSTANT, nullable=False, server_default=_NOW),
)
Index("duplicates_of_run", duplicates.c.run)
Index("duplicates_recent", duplicates.c.seen_at)

chords = Table(
    "chords",
    metadata,
    Column("group_id", Text, primary_key=True),
    Column("size", Integer, nullable=False, comment="runs that must have succeeded"),
    Column("pending", Integer, nullable=False, comment="of them, those that have not; reruns may take it below 0"),
    Column("header", JSONB, nullable=False, comment="their ids, in lists within lists as the body gets their results"),
    Column("body", JSONB, nullable=False, comment="Celery's signature of what follows them"),
    Column("lineage", JSONB, nullable=False, server_default=text("'{}'"), comment="root and parent of the body"),
    Column("created_at", _INSTANT, nullable=False, server_default=_NOW),
    Column("failed_at", _INSTANT, comment="when the error callbacks of the body were put into the outbox"),
    Column("joined_at", _INSTANT, comment="when the body was put into the outbox, or can never be"),
)
Index("chords_ready", chords.c.created_at, postgresql_where=text("joined_at IS NULL AND pending <= 0"))

aftermaths = Table(
    "aftermaths",
    metadata,
    Column("run", Uuid, primary_key=True, comment="it ended badly, and what follows from that is yet to be written"),
    Column("created_at", _INSTANT, nullable=False, server_default=_NOW),
)

results = Table(
    "results",
    metadata,
    Column("id", Text, primary_key=True, comment="Celery's task id, of what is no run or says more than its run"),
    Column("state", Text, nullable=False, comment="Celery's, or one that a task has made up"),
    Column("result", JSONB),
    Column("traceback", Text),
    Column("run", Uuid, comment="whose end decided it: it holds for as long as that is dead or cancelled"),
    Column("changed_at", _INSTANT, nullable=False, server_default=_NOW),
)
Index("results_recent", results.c.changed_at)

groups = Table(
    "groups",
    metadata,
    Column("id", Text, primary_key=True),
    Column("result", JSONB, nullable=False, comment="what GroupResult.save() keeps: ids in Celery's form"),
    Column("created_at", _INSTANT, nullable=False, server_default=_NOW),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("publish_at", _INSTANT, nullable=False),
    Column("run", Uuid, nullable=False),
    Column("delivery_no", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("waits_for", Text, comment="kind and name of the lock that the run waits for"),
    one_of("reason", ("retry", "rescue", "delayed", "rerun", "transactional", "callback", "lock")),
    UniqueConstraint("run", "delivery_no", name="outbox_delivery"),
)
Index("outbox_publish_at", outbox.c.publish_at)
Index("outbox_waits_for", outbox.c.waits_for, postgresql_where=text("waits_for IS NOT NULL"))

turns = Table(
    "turns",
    metadata,
    Column("name", Text, primary_key=True, comment="kind and name of a lock: lock:sale:7"),
    Column("place", Integer, primary_key=True, comment="from 0; which of its places"),
    Column("run", Uuid, nullable=False, comment="who took it last, whether or not it was given back since"),
    Column("fence", BigInteger, nullable=False, comment="of the attempt that took it; no other commits an effect"),
    Column("taken_at", _INSTANT, nullable=False, server_default=_NOW),
)

instances = Table(
    "instances",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("role", Text, nullable=False, comment="worker, beat or watchdog"),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("release", Text, nullable=False),
    Column("started_at", _INSTANT, nullable=False, server_default=_NOW),
    Column("expires_at", _INSTANT, nullable=False),
    Column("clock_offset_seconds", Double, comment="its clock less Postgres' at the last sign of life"),
    Column("node", Text, comment="what a worker is called in Celery"),
    Column("queues", ARRAY(Text), comment="what a worker consumes from"),
    Column("schema_version", Text, comment="the newest migration that its release needs"),
)

foreign_messages = Table(
    "foreign_messages",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("queue", Text, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),
    Column("seen_at", _INSTANT, nullable=False, server_default=_NOW),
    Column("run", Uuid, comment="the run that has become a dead letter with it"),
)
Index("foreign_messages_of_run", foreign_messages.c.run, postgresql_where=text("run IS NOT NULL"))

operations = Table(
    "operations",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("at", _INSTANT, nullable=False, server_default=_NOW),
    Column("who", Text, nullable=False),
    Column("what", Text, nullable=False, comment="a command and its verb, such as runs rerun"),
    Column("target", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("details", JSONB, nullable=False, server_default=text("'{}'")),
)
