"""Books: the marketplace's tables of billing, and those of what is kept for a while and then removed."""

from __future__ import annotations

import sqlalchemy as sa

from tasks.columns import at, metadata, own_id, refers

# What is added to the price in a country. Who lives in one that is not here cannot be sent an invoice.
tax_rates = sa.Table(
    "tax_rates",
    metadata,
    sa.Column("country", sa.CHAR(2), primary_key=True),
    sa.Column("rate", sa.Numeric(5, 4), nullable=False),
    sa.CheckConstraint("rate >= 0 AND rate < 1", name="rate_range"),
)

# What an account bought in a month, such as 2026-01. A `draft`, begun by hand, is issued or thrown away. Whoever finds
# a mistake in an `issued` one makes it `void`, and the month may be billed again. No account has two that are valid.
invoices = sa.Table(
    "invoices",
    metadata,
    own_id(),
    refers("account_id", "accounts.id"),
    sa.Column("month", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("order_count", sa.Integer, nullable=False),
    sa.Column("net_cents", sa.BigInteger, nullable=False),
    sa.Column("tax_cents", sa.BigInteger, nullable=False),
    at("made_at"),
    at("issued_at", nullable=True),
    at("voided_at", nullable=True),
    sa.CheckConstraint("state IN ('draft', 'issued', 'void')", name="state_known"),
    sa.CheckConstraint("(state = 'draft') = (issued_at IS NULL)", name="issued_at_when_issued"),
    sa.CheckConstraint("(state = 'void') = (voided_at IS NOT NULL)", name="voided_at_when_void"),
    sa.CheckConstraint("order_count >= 0 AND net_cents >= 0 AND tax_cents >= 0", name="amount_range"),
    # The last word on "one invoice per account and month".
    sa.Index("uq_invoices_issued", "account_id", "month", unique=True, postgresql_where=sa.text("state = 'issued'")),
    # What the clean-up looks for: the few that are not valid.
    sa.Index("ix_invoices_not_valid", "id", postgresql_where=sa.text("state <> 'issued'")),
)

# One row per month that was billed: what became of it, told once all accounts are done.
billed_months = sa.Table(
    "billed_months",
    metadata,
    sa.Column("month", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("billed_count", sa.Integer, nullable=False),
    sa.Column("failed_count", sa.Integer, nullable=False),
    sa.Column("skipped_count", sa.Integer, nullable=False),
    sa.Column("invoice_count", sa.Integer, nullable=False),
    sa.Column("gross_cents", sa.BigInteger, nullable=False),
    at("closed_at"),
)

# Who did what. Rows are only ever added, so that ids and times rise together.
audit_log = sa.Table(
    "audit_log",
    metadata,
    own_id(),
    refers("account_id", "accounts.id"),
    sa.Column("action", sa.Text, nullable=False),
    at("happened_at"),
    sa.Index(None, "happened_at"),
)

# What an account is told on its page until a time.
announcements = sa.Table(
    "announcements",
    metadata,
    own_id(),
    refers("account_id", "accounts.id"),
    sa.Column("text", sa.Text, nullable=False),
    at("shown_at"),
    at("expires_at"),
    sa.CheckConstraint("expires_at > shown_at", name="expires_after_shown"),
    sa.Index(None, "account_id"),
    sa.Index(None, "expires_at"),
)
