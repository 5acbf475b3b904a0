"""The marketplace: its tables (schema `market`) and the way to them.

Artists offer tickets, which are seats of events. An order holds seats until it is paid or expires; every seat
of a paid order becomes a sale; every sale owes its artist one royalty. An account may be on trial, may
subscribe to mail, may pay a fan club by card, and may have a wallet, which gets a token of each seat that it buys.
Money is whole cents.
"""

from __future__ import annotations

import os
from datetime import timedelta

import sqlalchemy as sa
from celery import current_app
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR, UUID

from tasks import (
    books,  # noqa: F401 - its tables are made with those here
    columns,
)
from tasks.columns import at, own_id, refers

HOLD = timedelta(hours=48)
"""How long an order holds its seats without being paid."""

metadata = columns.metadata

# Everybody who buys or sells.
accounts = sa.Table(
    "accounts",
    metadata,
    own_id(),
    sa.Column("email", sa.Text, nullable=False, unique=True),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("country", sa.CHAR(2), nullable=False),
    at("opened_at"),
    sa.CheckConstraint("email = lower(email)", name="email_lower"),
)

# The terms agreed with an artist: the share of each sale that is theirs.
royalties = sa.Table(
    "royalties",
    metadata,
    sa.Column("artist_id", sa.BigInteger, sa.ForeignKey("market.accounts.id"), primary_key=True, autoincrement=False),
    sa.Column("share", sa.Numeric(5, 4), nullable=False),
    at("agreed_at"),
    sa.CheckConstraint("share > 0 AND share <= 1", name="share_range"),
)

# One purchase. `unpaid` becomes `paid` or `expired`, and stays so.
orders = sa.Table(
    "orders",
    metadata,
    own_id(),
    refers("buyer_id", "accounts.id"),
    sa.Column("state", sa.Text, nullable=False, server_default="unpaid"),
    sa.Column("amount_cents", sa.Integer, nullable=False),
    at("placed_at"),
    at("paid_at", nullable=True),
    at("expired_at", nullable=True),
    sa.CheckConstraint("state IN ('unpaid', 'paid', 'expired')", name="state_known"),
    sa.CheckConstraint("(state = 'paid') = (paid_at IS NOT NULL)", name="paid_at_when_paid"),
    sa.CheckConstraint("(state = 'expired') = (expired_at IS NOT NULL)", name="expired_at_when_expired"),
    sa.CheckConstraint("amount_cents >= 0", name="amount_range"),
    sa.Index(None, "buyer_id"),
    # What expiry looks for: small, however many orders there have ever been.
    sa.Index("ix_orders_unpaid", "placed_at", postgresql_where=sa.text("state = 'unpaid'")),
)

# One seat of one event. Free while no order holds it.
tickets = sa.Table(
    "tickets",
    metadata,
    own_id(),
    refers("artist_id", "accounts.id"),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("seat", sa.Text, nullable=False),
    sa.Column("price_cents", sa.Integer, nullable=False),
    refers("order_id", "orders.id", nullable=True),
    sa.UniqueConstraint("event", "seat"),
    sa.CheckConstraint("price_cents >= 0", name="price_range"),
    sa.Index(None, "order_id"),
    sa.Index(None, "artist_id"),
)

# One seat, sold. A seat is sold once; `settled_at` says when its royalty was paid.
sales = sa.Table(
    "sales",
    metadata,
    own_id(),
    refers("order_id", "orders.id"),
    sa.Column("ticket_id", sa.BigInteger, sa.ForeignKey("market.tickets.id"), nullable=False, unique=True),
    refers("artist_id", "accounts.id"),
    sa.Column("price_cents", sa.Integer, nullable=False),
    at("sold_at"),
    at("settled_at", nullable=True),
    sa.CheckConstraint("price_cents >= 0", name="price_range"),
    sa.Index(None, "order_id"),
    sa.Index(None, "artist_id"),
    sa.Index(None, "sold_at", postgresql_include=["price_cents"]),
    # What `settle` looks for: the few sales that still owe a royalty.
    sa.Index("ix_sales_unsettled", "id", postgresql_where=sa.text("settled_at IS NULL")),
)

# One royalty, paid. The unique sale is the last word on "one payment per sale".
payments = sa.Table(
    "payments",
    metadata,
    own_id(),
    sa.Column("sale_id", sa.BigInteger, sa.ForeignKey("market.sales.id"), nullable=False, unique=True),
    refers("artist_id", "accounts.id"),
    sa.Column("amount_cents", sa.Integer, nullable=False),
    at("paid_at"),
    sa.CheckConstraint("amount_cents >= 0", name="amount_range"),
    sa.Index(None, "artist_id"),
)

# Where somebody keeps tokens. Who has a wallet gets a token of each seat bought from then on.
wallets = sa.Table(
    "wallets",
    metadata,
    sa.Column("account_id", sa.BigInteger, sa.ForeignKey("market.accounts.id"), primary_key=True, autoincrement=False),
    sa.Column("address", sa.Text, nullable=False, unique=True),
    at("opened_at"),
)

# The token of one sold seat. `sending`: the provider may be minting it; after `valid_until` it no longer does.
# `minted`: it has. `refused`: it never will.
mints = sa.Table(
    "mints",
    metadata,
    sa.Column("ticket_id", sa.BigInteger, sa.ForeignKey("market.tickets.id"), primary_key=True, autoincrement=False),
    sa.Column("wallet", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="sending"),
    at("valid_until"),
    sa.Column("token", sa.Text, unique=True),
    sa.Column("reason", sa.Text),
    at("minted_at", nullable=True),
    sa.CheckConstraint("state IN ('sending', 'minted', 'refused')", name="state_known"),
    sa.CheckConstraint("(state = 'minted') = (token IS NOT NULL AND minted_at IS NOT NULL)", name="token_when_minted"),
    sa.CheckConstraint("(state = 'refused') = (reason IS NOT NULL)", name="reason_when_refused"),
)

# One month's fee of a fan club, taken by card; here from the moment at which the card has failed. `failed` becomes
# `paid` or `given_up`, and stays so. `try_at` is when the card is tried again, `try_count` how often it was.
card_payments = sa.Table(
    "card_payments",
    metadata,
    own_id(),
    refers("account_id", "accounts.id"),
    sa.Column("period", sa.Text, nullable=False),
    sa.Column("amount_cents", sa.Integer, nullable=False),
    sa.Column("card", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="failed"),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("try_count", sa.Integer, nullable=False, server_default="0"),
    at("failed_at"),
    at("try_at", nullable=True),
    sa.Column("charge_id", sa.Text, unique=True),
    at("paid_at", nullable=True),
    sa.UniqueConstraint("account_id", "period"),
    sa.CheckConstraint("state IN ('failed', 'paid', 'given_up')", name="state_known"),
    sa.CheckConstraint("(state = 'failed') = (try_at IS NOT NULL)", name="try_at_when_failed"),
    sa.CheckConstraint("(state = 'paid') = (charge_id IS NOT NULL AND paid_at IS NOT NULL)", name="charge_when_paid"),
    sa.CheckConstraint("amount_cents > 0", name="amount_range"),
    sa.CheckConstraint("try_count >= 0", name="try_count_range"),
    # What the retry looks for: the few that wait for their next try.
    sa.Index("ix_card_payments_failed", "try_at", postgresql_where=sa.text("state = 'failed'")),
)

# The provider's charges, as its events tell. A row shows the event `event_number`; an older one changes nothing.
provider_charges = sa.Table(
    "provider_charges",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("reference", sa.Text, nullable=False),
    sa.Column("amount_cents", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("event_number", sa.BigInteger, nullable=False),
    at("created_at"),
    at("changed_at"),
    sa.Index(None, "reference"),
)

# How far a stream of somebody else has been read: up to and including this number.
cursors = sa.Table(
    "cursors",
    metadata,
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
)

# Who is signed in, from when until last seen.
sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", UUID(as_uuid=True), primary_key=True),
    refers("account_id", "accounts.id"),
    at("started_at"),
    at("last_seen_at"),
    sa.CheckConstraint("last_seen_at >= started_at", name="seen_after_start"),
    sa.Index(None, "account_id"),
    sa.Index(None, "last_seen_at"),
)

# The trial of an account, one in its life. `trial` becomes `converted` or `expired`, and stays so.
trials = sa.Table(
    "trials",
    metadata,
    sa.Column("account_id", sa.BigInteger, sa.ForeignKey("market.accounts.id"), primary_key=True, autoincrement=False),
    sa.Column("state", sa.Text, nullable=False, server_default="trial"),
    at("started_at"),
    at("ends_at"),
    at("ended_at", nullable=True),
    sa.CheckConstraint("state IN ('trial', 'converted', 'expired')", name="state_known"),
    sa.CheckConstraint("(state = 'trial') = (ended_at IS NULL)", name="ended_at_when_over"),
    sa.CheckConstraint("ends_at > started_at", name="ends_after_start"),
    # What ending trials looks for: those that run.
    sa.Index("ix_trials_running", "ends_at", postgresql_where=sa.text("state = 'trial'")),
)

# Who wants which kind of mail, from when until when.
subscriptions = sa.Table(
    "subscriptions",
    metadata,
    sa.Column("account_id", sa.BigInteger, sa.ForeignKey("market.accounts.id"), primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Text, primary_key=True),
    at("started_at"),
    at("ended_at", nullable=True),
    sa.CheckConstraint("ended_at >= started_at", name="ended_after_start"),
)

# The notification log: one row per recipient, kind and period (such as 2026-W05), whatever became of it.
# `pending`: not with the mail server. `sending`: perhaps with it. `sent`: it took the message. `refused`: it never
# will. `unknown`: the sender died while `sending`, so nobody knows.
notifications = sa.Table(
    "notifications",
    metadata,
    own_id(),
    refers("account_id", "accounts.id"),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("period", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="pending"),
    sa.Column("reason", sa.Text),
    sa.Column("message_id", sa.Text),
    sa.Column("attempt_count", sa.Integer, nullable=False, server_default="0"),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
    at("sending_at", nullable=True),
    at("sent_at", nullable=True),
    sa.UniqueConstraint("account_id", "kind", "period"),
    sa.CheckConstraint("state IN ('pending', 'sending', 'sent', 'refused', 'unknown')", name="state_known"),
    sa.CheckConstraint("(state = 'sent') = (sent_at IS NOT NULL)", name="sent_at_when_sent"),
    sa.CheckConstraint("state NOT IN ('refused', 'unknown') OR reason IS NOT NULL", name="reason_when_not_sent"),
    sa.Index(None, "kind", "period"),
)

# Numbers the passes over what can be found, so that an older one never overwrites what a newer one wrote.
search_version = sa.Sequence("search_version", metadata=metadata)

# What can be found: one document per event on sale, known by an id that says what it is of (event:<name>).
search_documents = sa.Table(
    "search_documents",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("facts", JSONB, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("indexed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
    # Names of events and artists are not words of a language: `simple` neither stems nor drops any.
    sa.Column(
        "words",
        TSVECTOR,
        sa.Computed(
            "setweight(to_tsvector('simple', title), 'A') || setweight(to_tsvector('simple', body), 'B')",
            persisted=True,
        ),
        nullable=False,
    ),
    sa.Index(None, "words", postgresql_using="gin"),
)

# Business figures at each fire of a snapshot schedule. (name, scheduled_for) is deliberately not unique: the
# drill (`make demo`) counts these rows, and a doubled fire must show instead of being refused.
snapshots = sa.Table(
    "snapshots",
    metadata,
    own_id(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("service", sa.Text, nullable=False),
    at("scheduled_for", nullable=True),
    sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Column("figures", JSONB, nullable=False),
    sa.Column("run_id", sa.Text),  # none when the task is called as a function
    sa.Index(None, "name", "scheduled_for"),
)


def create(db: sa.Connection) -> None:
    """Create what is missing of the marketplace's schema, inside the caller's transaction.

    Args:
        db: A connection to the marketplace's database. Its transaction keeps an advisory lock, so that two
            processes that create or fill at once wait for each other.
    """
    db.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext("market"))))
    db.execute(sa.schema.CreateSchema("market", if_not_exists=True))
    metadata.create_all(db)


_engines: dict[str, sa.Engine] = {}


def engine(url: str | None = None) -> sa.Engine:
    """Return this process' engine of a database; the first call makes it.

    Args:
        url: `postgresql://…`; the database of the current Celery app's ledger unless given.
    """
    url = url or current_app.steadybeat.settings.database_url
    known = _engines.get(url)
    if known is None:
        known = _engines[url] = sa.create_engine(
            sa.make_url(url).set(drivername="postgresql+psycopg"),
            pool_size=1,  # a prefork worker's child works on one task at a time
            max_overflow=1,
            pool_pre_ping=True,
            connect_args={"connect_timeout": 5},
        )
    return known


def _leave_parents_connections() -> None:
    """Give up, without closing them, the connections that a forked child shares with its parent."""
    for each in _engines.values():
        each.dispose(close=False)
    _engines.clear()


os.register_at_fork(after_in_child=_leave_parents_connections)
