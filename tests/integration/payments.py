"""A real provider of payments and tokens in this process: it misbehaves as it is told, and its book can be read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tasks import cards, gateway
from tasks.provider_book import Book
from tasks.provider_mischief import Mischief
from tasks.provider_server import Provider


def plan(provider: Provider, *words: str, stall_seconds: float = 1.0, repeat: bool = False) -> None:
    """Tell a provider what to do with its next requests."""
    provider.mischief = Mischief(words, stall_seconds=stall_seconds, repeat=repeat)


@contextmanager
def provider_with(file: Path) -> Iterator[Provider]:
    """Yield a running provider whose book is this file."""
    book = Book(file)
    try:
        with Provider("127.0.0.1", 0, book, Mischief()).running() as provider:
            yield provider
    finally:
        book.close()


def rows_of(file: Path, table: str) -> list[dict[str, Any]]:
    """Return what a provider's book says, read from the file as it is on the disk."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(f"SELECT * FROM {table} ORDER BY rowid")]


ONE = cards.Payment(1, 900, "visa-1")


def charge(payment: cards.Payment, key: str = "key") -> dict[str, Any]:
    """Charge a payment's card under a key."""
    return gateway.charge(key, reference=payment.reference, amount_cents=payment.amount_cents, card=payment.card)


def row_of(db_engine: sa.Engine, table: sa.Table) -> Any:
    """Return the only row of a table."""
    with db_engine.connect() as db:
        return db.execute(sa.select(table)).one()
