"""The ledger's tables of what people are told."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, Index, Integer, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from steadybeat.ledger.tables import metadata, one_of

_INSTANT = DateTime(timezone=True)
_NOW = text("clock_timestamp()")

alerts = Table(
    "alerts",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("rule", Text, nullable=False),
    Column(
        "subject", Text, nullable=False, comment="what it is about: a schedule, a task, a queue, an instance, a channel"
    ),
    Column("state", Text, nullable=False, server_default="open"),
    Column("severity", Text, nullable=False),
    Column("owner", Text),
    Column("service", Text),
    Column("task", Text),
    Column("schedule", Text),
    Column("run", Uuid, comment="the run in which it was seen last"),
    Column("summary", Text, nullable=False),
    Column(
        "facts", JSONB, nullable=False, server_default=text("'{}'"), comment="of the rule: counts, limits, instants"
    ),
    Column("error", Text, comment="the last one, in one line"),
    Column("last_good_run", Uuid),
    Column("cause_id", BigInteger, comment="the alert of which it is a consequence; people are told of that one"),
    Column("since", _INSTANT, comment="since when what it says is so, where that is known"),
    Column("opened_at", _INSTANT, nullable=False, server_default=_NOW),
    Column("reopened_at", _INSTANT, comment="when it came back last, soon after it was resolved"),
    Column("last_seen_at", _INSTANT, nullable=False, server_default=_NOW),
    Column(
        "seen_count",
        BigInteger,
        nullable=False,
        server_default="1",
        comment="passes of the watchdog, or events, in which it was so",
    ),
    Column(
        "reopened_count",
        Integer,
        nullable=False,
        server_default="0",
        comment="how often it came back soon after it was resolved",
    ),
    Column("acknowledged_at", _INSTANT),
    Column("acknowledged_by", Text),
    Column("acknowledged_reason", Text),
    Column("resolved_at", _INSTANT),
    Column("resolved_by", Text),
    Column("resolved_reason", Text),
    Column("told_at", _INSTANT, comment="when notices of it were last written; null: nobody was told"),
    Column("told_severity", Text, comment="what it was when people were told last"),
    Column("storm_id", BigInteger, comment="the alert in whose notice people were told of it, together with others"),
    Column(
        "escalation_step", Integer, nullable=False, server_default="0", comment="steps of its route that were taken"
    ),
    Column("escalate_at", _INSTANT, comment="when the next step is taken unless somebody acknowledges it"),
    one_of("state", ("open", "acknowledged", "resolved")),
    one_of("severity", ("info", "warning", "error", "critical")),
    CheckConstraint(
        "state <> 'acknowledged' OR acknowledged_at IS NOT NULL AND acknowledged_by IS NOT NULL",
        name="an_acknowledgement_has_a_name",
    ),
    CheckConstraint("(state = 'resolved') = (resolved_at IS NOT NULL)", name="a_resolution_has_an_instant"),
)
Index("alerts_open", alerts.c.rule, alerts.c.subject, unique=True, postgresql_where=text("state <> 'resolved'"))
Index("alerts_of_subject", alerts.c.rule, alerts.c.subject, alerts.c.id)
Index("alerts_recent", alerts.c.opened_at)
Index("alerts_resolved", alerts.c.resolved_at, postgresql_where=text("state = 'resolved'"))
Index("alerts_of_cause", alerts.c.cause_id, postgresql_where=text("cause_id IS NOT NULL"))

alert_events = Table(
    "alert_events",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("alert", BigInteger, nullable=False),
    Column("at", _INSTANT, nullable=False, server_default=_NOW),
    Column("what", Text, nullable=False),
    Column("who", Text, comment="a person; null: the platform itself"),
    Column("text", Text),
    one_of(
        "what", ("opened", "reopened", "worse", "acknowledged", "resolved", "escalated", "told", "not_told", "failed")
    ),
)
Index("alert_events_of_alert", alert_events.c.alert, alert_events.c.id)

notices = Table(
    "notices",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("alert", BigInteger),
    Column("kind", Text, nullable=False),
    Column("channel", Text, nullable=False, comment="its name in steadybeat_alert_channels; addresses are not stored"),
    Column(
        "fallbacks",
        JSONB,
        nullable=False,
        server_default=text("'[]'"),
        comment="channels that are tried in their order where this one fails",
    ),
    Column("severity", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("html", Text),
    Column("facts", JSONB, nullable=False, server_default=text("'{}'")),
    Column("created_at", _INSTANT, nullable=False, server_default=_NOW),
    Column(
        "publish_at",
        _INSTANT,
        nullable=False,
        server_default=_NOW,
        comment="not tried before this; in the future while somebody tries it",
    ),
    Column("try_count", Integer, nullable=False, server_default="0"),
    Column("tried_at", _INSTANT),
    Column("sent_at", _INSTANT),
    Column("given_up_at", _INSTANT),
    Column("error", Text),
    one_of("kind", ("opened", "reopened", "worse", "escalated", "acknowledged", "resolved", "report", "test")),
    comment="what people are to be told, and were: one row for each channel",
)
Index("notices_due", notices.c.publish_at, postgresql_where=text("sent_at IS NULL AND given_up_at IS NULL"))
Index("notices_of_channel", notices.c.channel, notices.c.tried_at)
Index("notices_of_alert", notices.c.alert, postgresql_where=text("alert IS NOT NULL"))

silences = Table(
    "silences",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("rule", Text, comment="a pattern with * and ?; null: any; so are subject, owner and service"),
    Column("subject", Text),
    Column("owner", Text),
    Column("service", Text),
    Column("begins_at", _INSTANT, nullable=False, server_default=_NOW),
    Column("ends_at", _INSTANT, nullable=False),
    Column("who", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("ended_at", _INSTANT, comment="when a person took it back"),
    Column("ended_by", Text),
    Column("created_at", _INSTANT, nullable=False, server_default=_NOW),
    CheckConstraint("ends_at > begins_at", name="it_ends_after_it_begins"),
    comment="while one holds, alerts that it matches are kept, and nobody is told",
)
