"""The ledger's tables of what is watched: tasks, who leads, who acts, canaries, monitors, the lines of runs."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, DateTime, Double, Index, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from steadybeat.ledger.tables import metadata

_INSTANT = DateTime(timezone=True)
_NOW = text("clock_timestamp()")

tasks = Table(
    "tasks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("service", Text, nullable=False),
    Column("owner", Text, comment="who answers for it"),
    Column("severity", Text, nullable=False, comment="how bad it is when it does not run"),
    Column("purpose", Text, comment="the first sentence of its docstring"),
    Column("soft_time_limit_seconds", Double),
    Column("time_limit_seconds", Double),
    Column("depends_on", JSONB, nullable=False, server_default=text("'[]'")),
    Column("updated_at", _INSTANT, nullable=False, server_default=_NOW),
)

leaderships = Table(
    "leaderships",
    metadata,
    Column("term", BigInteger, primary_key=True),
    Column("instance", Uuid, nullable=False),
    Column("host", Text, nullable=False),
    Column("began_at", _INSTANT, nullable=False, server_default=_NOW),
    Column(
        "renewed_at", _INSTANT, nullable=False, server_default=_NOW, comment="when its Beat last said that it leads"
    ),
    Column("ended_at", _INSTANT, comment="when it said that it does not any more; one that is killed says nothing"),
)

duties = Table(
    "duties",
    metadata,
    Column("name", Text, primary_key=True),
    Column("instance", Uuid, nullable=False),
    Column("until", _INSTANT, nullable=False, comment="nobody else takes it over before this"),
    Column("done_at", _INSTANT, comment="when it was done last, where it is done now and then"),
    comment="what one process at a time does, of however many could",
)

canaries = Table(
    "canaries",
    metadata,
    Column("queue", Text, primary_key=True),
    Column("number", BigInteger, nullable=False, server_default="1"),
    Column("sent_at", _INSTANT),
    Column(
        "unanswered_since", _INSTANT, comment="when the first was sent after the last answer; null: the last one came"
    ),
    Column("answered_at", _INSTANT),
    Column("answered_no", BigInteger, comment="the number of the message that was answered last"),
    Column("answered_by", Uuid),
    comment="of each queue the last message that asks whether somebody consumes from it",
)

monitors = Table(
    "monitors",
    metadata,
    Column("name", Text, primary_key=True, comment="the schedule; platform"),
    Column("kind", Text, nullable=False),
    Column("sent_at", _INSTANT),
    Column("failing_since", _INSTANT, comment="no heartbeat was taken since; null: the last one was"),
    Column("failure_count", BigInteger, nullable=False, server_default="0"),
    Column("error", Text),
    Column("synced", JSONB, comment="what the monitor was told of the schedule last"),
    Column("synced_at", _INSTANT),
    comment="monitors elsewhere that heartbeats go to: of a schedule, or of the platform",
)

run_lines = Table(
    "run_lines",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("run", Uuid, nullable=False),
    Column("at", _INSTANT, nullable=False),
    Column("level", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("fields", JSONB, nullable=False, server_default=text("'{}'")),
)
Index("run_lines_of_run", run_lines.c.run, run_lines.c.id)
Index("run_lines_recent", run_lines.c.at)
