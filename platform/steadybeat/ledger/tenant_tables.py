"""The ledger's tables of fan-outs, and of the tenants that they are for."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, Double, Index, Integer, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from steadybeat.ledger.tables import metadata, one_of

__all__ = ["RULE_KINDS", "SKIP_CAUSES", "fan_outs", "metadata", "skipped_tenants", "tenant_policies", "tenant_rules"]

SKIP_CAUSES = ("paused", "excluded", "rollout")
RULE_KINDS = ("enabled", "paused", "excluded")

_INSTANT = DateTime(timezone=True)
_NOW = text("clock_timestamp()")

fan_outs = Table(
    "fan_outs",
    metadata,
    Column("run", Uuid, primary_key=True),
    Column("task", Text, nullable=False, comment="what runs for each tenant"),
    Column("policy", Text),
    Column("seed", Text, nullable=False, comment="the order of tenants follows from it"),
    Column("concurrency", Integer, nullable=False, comment="so many of its runs are sent or at work at a time"),
    Column("spread_seconds", Double, nullable=False, server_default="0"),
    Column("abort_count", BigInteger),
    Column("abort_share", Double),
    Column("on_complete", JSONB, comment="Celery's signature of what is told the counts"),
    Column("begun_at", _INSTANT, nullable=False, server_default=_NOW),
    Column("written_at", _INSTANT, comment="all of its runs are on record, and may begin"),
    Column("total_count", BigInteger, comment="how many runs those are"),
    Column(
        "forgiven_count",
        BigInteger,
        nullable=False,
        server_default="0",
        comment="dead runs of before somebody had it go on",
    ),
    Column("aborted_at", _INSTANT),
    Column("abort_reason", Text),
    Column("ended_at", _INSTANT, comment="none of its runs is open, and its own run says so"),
    CheckConstraint("aborted_at IS NULL OR abort_reason IS NOT NULL", name="an_abort_has_a_reason"),
)
Index("fan_outs_open", fan_outs.c.begun_at, postgresql_where=text("ended_at IS NULL"))

skipped_tenants = Table(
    "skipped_tenants",
    metadata,
    Column("run", Uuid, primary_key=True, comment="of the fan-out"),
    Column("tenant", Text, primary_key=True),
    Column("cause", Text, nullable=False),
    Column("reason", Text, nullable=False),
    one_of("cause", SKIP_CAUSES),
)

tenant_policies = Table(
    "tenant_policies",
    metadata,
    Column("name", Text, primary_key=True),
    Column(
        "rollout_percent",
        Double,
        nullable=False,
        server_default="100",
        comment="share of the tenants that are in, always the same ones; more come in as it grows",
    ),
    Column("paused_at", _INSTANT),
    Column("paused_by", Text),
    Column("paused_reason", Text),
    Column("updated_at", _INSTANT, nullable=False, server_default=_NOW),
    CheckConstraint("rollout_percent BETWEEN 0 AND 100", name="rollout_is_a_share"),
    CheckConstraint(
        "paused_at IS NULL OR paused_reason IS NOT NULL AND paused_by IS NOT NULL", name="a_pause_has_a_reason"
    ),
)

tenant_rules = Table(
    "tenant_rules",
    metadata,
    Column("policy", Text, primary_key=True),
    Column("tenant", Text, primary_key=True),
    Column("kind", Text, nullable=False, comment="enabled: in, whatever the roll-out"),
    Column("who", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", _INSTANT, nullable=False, server_default=_NOW),
    Column("expires_at", _INSTANT),
    one_of("kind", RULE_KINDS),
)
