"""Rehearsal: what `celery -A tasks audit --probe` tries each task with, and how what it does elsewhere is counted.

Each function makes a few rows in an empty marketplace, inside the caller's transaction, and returns the arguments of
the task. None of this ever runs in a live one.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from tasks import gateway
from tasks.books import announcements, audit_log, invoices, tax_rates
from tasks.market import (
    accounts,
    card_payments,
    cursors,
    engine,
    notifications,
    orders,
    royalties,
    sales,
    sessions,
    subscriptions,
    tickets,
    trials,
    wallets,
)

MONTH = "2024-01"
_IN_MONTH = datetime(2024, 1, 15, 12, tzinfo=UTC)
_MORE_THAN_A_BATCH = 1_200
_MAIL = Path(".steadybeat/mail")  # where `celery -A tasks mailbox` keeps it, seen from where that runs


def _new(db: sa.Connection, table: sa.Table, **values: Any) -> int:
    """Insert a row, and return its id."""
    return int(db.execute(sa.insert(table).values(values).returning(table.c.id)).scalar_one())


def _ago(**time: float) -> datetime:
    return datetime.now(UTC) - timedelta(**time)


def account(db: sa.Connection, name: str = "Ann") -> int:
    """Make an account in Germany; return its id."""
    values = {"display_name": name, "email": f"{name.lower()}@example.com", "country": "DE"}
    return _new(db, accounts, opened_at=_ago(days=900), **values)


def paid_order(db: sa.Connection, buyer_id: int, paid_at: datetime, amount_cents: int = 4_000) -> int:
    """Make an order that was paid; return its id."""
    placed_at = paid_at - timedelta(hours=1)
    values = {"buyer_id": buyer_id, "amount_cents": amount_cents, "placed_at": placed_at, "paid_at": paid_at}
    return _new(db, orders, state="paid", **values)


def seat(db: sa.Connection, artist_id: int, number: int, order_id: int | None = None) -> int:
    """Make a seat of an event, free or held by an order; return its id."""
    values = {"artist_id": artist_id, "seat": f"A{number}", "price_cents": 4_000, "order_id": order_id}
    return _new(db, tickets, event="Night Ferry, Berlin", **values)


def sale(db: sa.Connection, number: int = 1, buyer_id: int | None = None) -> tuple[int, int]:
    """Sell a seat of an artist with terms; return the ids of the sale and of the seat."""
    artist_id = account(db, f"Artist{number}")
    db.execute(sa.insert(royalties).values(artist_id=artist_id, share=0.8, agreed_at=_ago(days=800)))
    order_id = paid_order(db, buyer_id or account(db, f"Buyer{number}"), _ago(hours=2))
    ticket_id = seat(db, artist_id, number, order_id)
    values = {"order_id": order_id, "ticket_id": ticket_id, "artist_id": artist_id, "price_cents": 4_000}
    return _new(db, sales, sold_at=_ago(hours=2), **values), ticket_id


# accounts, orders, royalties, search


def ended_trials(db: sa.Connection) -> tuple[()]:
    """Make trials that are over; one of them bought something."""
    for name in ("Ann", "Bob", "Cem"):
        account_id = account(db, name)
        times = {"started_at": _ago(days=30), "ends_at": _ago(days=1)}
        db.execute(sa.insert(trials).values(account_id=account_id, **times))
        if name == "Ann":
            paid_order(db, account_id, _ago(days=10))
    return ()


def unpaid_orders(db: sa.Connection) -> tuple[()]:
    """Make orders that hold seats and were not paid in time, and one that still may be."""
    artist_id = account(db, "Artist")
    for number, hours in enumerate((72, 60, 1), start=1):
        buyer_id = account(db, f"Buyer{number}")
        order_id = _new(db, orders, buyer_id=buyer_id, amount_cents=4_000, placed_at=_ago(hours=hours))
        seat(db, artist_id, number, order_id)
    return ()


def unsettled_sale(db: sa.Connection) -> tuple[int]:
    """Make a sale that owes its artist a royalty."""
    return (sale(db)[0],)


def unsettled_sales(db: sa.Connection) -> tuple[()]:
    """Make some of them."""
    for number in (1, 2, 3):
        sale(db, number)
    return ()


def seats_on_sale(db: sa.Connection) -> tuple[()]:
    """Make an event that can be found."""
    artist_id = account(db, "Artist")
    for number in (1, 2):
        seat(db, artist_id, number)
    return ()


# billing


def buyer_of_month(db: sa.Connection) -> tuple[int, str]:
    """Make an account that bought something in a month which is over."""
    if not db.scalar(sa.select(sa.func.count()).select_from(tax_rates)):
        db.execute(sa.insert(tax_rates).values(country="DE", rate=0.19))
    buyer_id = account(db, f"Buyer{db.scalar(sa.select(sa.func.count()).select_from(accounts))}")
    paid_order(db, buyer_id, _IN_MONTH)
    return buyer_id, MONTH


def month_to_bill(db: sa.Connection) -> dict[str, str]:
    """Make some of them."""
    for _ in range(3):
        buyer_of_month(db)
    return {"month": MONTH}


def month_to_close(db: sa.Connection) -> dict[str, Any]:
    """Make the one invoice of a month."""
    amounts = {"order_count": 1, "net_cents": 4_000, "tax_cents": 760}
    times = {"made_at": _IN_MONTH, "issued_at": _IN_MONTH}
    _new(db, invoices, account_id=account(db), month=MONTH, state="issued", **amounts, **times)
    return {"counts": {"state": "succeeded", "succeeded": 1, "failed": 0, "skipped": 0}, "month": MONTH}


def unfinished_invoices(db: sa.Connection) -> tuple[()]:
    """Make more old drafts than go in one batch, and a new one."""
    account_id = account(db)
    amounts = {"order_count": 1, "net_cents": 4_000, "tax_cents": 760}
    draft = {"account_id": account_id, "month": MONTH, "state": "draft", **amounts}
    old = [{**draft, "made_at": _ago(days=120)} for _ in range(_MORE_THAN_A_BATCH)]
    db.execute(sa.insert(invoices), [*old, {**draft, "made_at": _ago(days=1)}])
    return ()


# cards, minting, sync


def failed_payment(db: sa.Connection) -> tuple[int, int]:
    """Make a card payment that failed, and is to be tried again now."""
    values = {"period": "2024-01", "amount_cents": 900, "card": "good-card", "reason": "insufficient_funds"}
    account_id = account(db)
    return _new(db, card_payments, account_id=account_id, failed_at=_ago(days=2), try_at=_ago(hours=1), **values), 1


def failed_payments(db: sa.Connection) -> tuple[()]:
    """Make one of them for the task that looks for all."""
    failed_payment(db)
    return ()


def seat_to_mint(db: sa.Connection) -> tuple[int]:
    """Sell a seat to somebody with a wallet."""
    buyer_id = account(db, "Holder")
    db.execute(sa.insert(wallets).values(account_id=buyer_id, address="0xholder", opened_at=_ago(days=100)))
    return (sale(db, buyer_id=buyer_id)[1],)


def seats_to_mint(db: sa.Connection) -> tuple[()]:
    """Sell one for the task that looks for all."""
    seat_to_mint(db)
    return ()


def charges_to_pull(db: sa.Connection) -> tuple[()]:
    """Have the provider make charges behind where our copy of them ends."""
    last = max((event["number"] for event in _events()), default=0)
    db.execute(sa.insert(cursors).values(stream="provider", position=last))
    for amount_cents in (500, 700):
        gateway.charge(str(uuid4()), reference="rehearsal", amount_cents=amount_cents, card="good-card")
    return ()


def provider_count() -> dict[str, int]:
    """Count what the provider has done: charges that moved money, and tokens."""
    kinds = [str(event["kind"]) for event in _events()]
    return {"charges": kinds.count("charge.paid"), "tokens": kinds.count("token.minted")}


def _events() -> Iterator[dict[str, Any]]:
    after, has_more = 0, True
    while has_more:
        events, has_more = gateway.events(after)
        yield from events
        after = events[-1]["number"] if events else after


# maintenance


def idle_sessions(db: sa.Connection) -> tuple[()]:
    """Make more idle sessions than go in one batch, and a live one."""
    account_id = account(db)
    ages = [*[60] * _MORE_THAN_A_BATCH, 0]
    db.execute(
        sa.insert(sessions),
        [
            {"id": uuid4(), "account_id": account_id, "started_at": _ago(days=90), "last_seen_at": _ago(days=age)}
            for age in ages
        ],
    )
    return ()


def old_audit_log(db: sa.Connection) -> tuple[()]:
    """Make more old rows than go in one batch, and a new one."""
    account_id = account(db)
    ages = [*[200] * _MORE_THAN_A_BATCH, 1]
    row = {"account_id": account_id, "action": "signed in"}
    db.execute(sa.insert(audit_log), [{**row, "happened_at": _ago(days=age)} for age in ages])
    return ()


def old_announcements(db: sa.Connection) -> tuple[()]:
    """Make announcements that expired long ago, and one that is shown."""
    row = {"account_id": account(db), "text": "Doors open at eight.", "shown_at": _ago(days=40)}
    expiries = [*[_ago(days=30)] * 3, _ago(days=-1)]
    db.execute(sa.insert(announcements), [{**row, "expires_at": expires_at} for expires_at in expiries])
    return ()


_OLD_RULES = sa.table(
    "tenant_rules", *map(sa.column, ("policy", "tenant", "kind", "who", "reason", "expires_at")), schema="steadybeat"
)


def old_ledger(db: sa.Connection) -> tuple[()]:
    """Make rows in the ledger that are older than what it keeps."""
    row = {"policy": "rehearsal", "kind": "excluded", "who": "rehearsal", "reason": "old", "expires_at": _ago(days=400)}
    db.execute(sa.insert(_OLD_RULES), [{**row, "tenant": str(number)} for number in range(3)])
    return ()


def old_ledger_count() -> int:
    """Count those that are left."""
    with engine().connect() as db:
        return int(db.scalar(sa.select(sa.func.count()).select_from(_OLD_RULES)) or 0)


# notifications


def subscriber(db: sa.Connection) -> int:
    """Make an account that wants the digest."""
    account_id = account(db)
    db.execute(sa.insert(subscriptions).values(account_id=account_id, kind="weekly-digest", started_at=_ago(days=50)))
    return account_id


def digest_to_send(db: sa.Connection) -> tuple[int, str, str]:
    """Make one for the task that sends to one."""
    return subscriber(db), "weekly-digest", "2024-W03"


def digests_to_send(db: sa.Connection) -> tuple[()]:
    """Make one for the task that looks for all."""
    subscriber(db)
    return ()


def ending_trials(db: sa.Connection) -> tuple[()]:
    """Make accounts whose trial ends soon."""
    for name in ("Ann", "Bob"):
        times = {"started_at": _ago(days=12), "ends_at": _ago(days=-2)}
        db.execute(sa.insert(trials).values(account_id=account(db, name), **times))
    return ()


def mail_count() -> int:
    """Count mails that were sent, and those of which the log says that nobody knows: each is accounted for once.

    A mail whose sender was killed is not sent again: a digest twice is worse than a digest missed.
    """
    sent = [str(message_from_bytes(file.read_bytes())["Message-ID"]) for file in _MAIL.glob("*.eml")]
    with engine().connect() as db:
        unknown = db.scalars(sa.select(notifications.c.message_id).where(notifications.c.state == "unknown"))
        return len(sent) + len({*unknown} - {*sent})
