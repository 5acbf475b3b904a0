"""A marketplace for one test: its schema in an empty database, and rows by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from tasks import market

NOW = datetime.now(UTC)


@contextmanager
def marketplace(url: str) -> Iterator[sa.Engine]:
    """Yield the catalogue's engine of a database, in which the marketplace's tables are."""
    engine = market.engine(url)
    with engine.begin() as db:
        market.create(db)
    yield engine
    engine.dispose()


def add(db: sa.Connection, table: sa.Table, **values: Any) -> int:
    """Insert a row and return its id."""
    return int(db.execute(sa.insert(table).values(values).returning(table.c.id)).scalar_one())


def add_account(db_engine: sa.Engine, email: str = "a@x.example", name: str = "A") -> int:
    """Open an account and return its id."""
    with db_engine.begin() as db:
        return add(db, market.accounts, email=email, display_name=name, country="DE", opened_at=NOW)


def add_order(
    db_engine: sa.Engine,
    artist: int,
    *,
    state: str,
    at: datetime = NOW,
    age: timedelta = timedelta(),
    seats: int = 1,
    event: str | None = None,
) -> int:
    """Place an order by an artist for seats of the artist's own event, with its sales where it is paid.

    Args:
        db_engine: The marketplace's database.
        artist: Who sells and buys.
        state: `paid` or `unpaid`.
        at: When it is placed, and paid.
        age: How long before that.
        seats: How many.
        event: One of its own, unless given.

    Returns:
        The order's id.
    """
    at -= age
    with db_engine.begin() as db:
        values: dict[str, Any] = {"state": state, "paid_at": at if state == "paid" else None}
        order_id = add(db, market.orders, buyer_id=artist, amount_cents=1_000, placed_at=at, **values)
        for seat in range(seats):
            values = {"artist_id": artist, "event": event or f"event {order_id}", "seat": str(seat)}
            ticket_id = add(db, market.tickets, price_cents=1_005, order_id=order_id, **values)
            if state == "paid":
                values = {"order_id": order_id, "ticket_id": ticket_id, "artist_id": artist}
                add(db, market.sales, price_cents=1_005, sold_at=at, **values)
    return order_id


def add_free_seat(db_engine: sa.Engine, artist: int, event: str, seat: str = "F1", price_cents: int = 2_000) -> int:
    """Offer one seat of an event and return its id."""
    with db_engine.begin() as db:
        return add(db, market.tickets, artist_id=artist, event=event, seat=seat, price_cents=price_cents)
