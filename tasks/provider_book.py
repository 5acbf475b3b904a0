"""The provider's book: every charge and every token, in a SQLite file that only the provider writes.

What an answer says is in the file, and on the disk, before the answer is given; so a killed provider comes back with
everything that it has said, and perhaps with a little more.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

_TABLES = """
CREATE TABLE IF NOT EXISTS charges (
    id           text PRIMARY KEY,
    key          text NOT NULL UNIQUE, -- the idempotency key that it came with
    reference    text NOT NULL,        -- what the customer calls it
    amount_cents integer NOT NULL,
    card         text NOT NULL,
    state        text NOT NULL,        -- paid, declined or refunded
    reason       text,                 -- why it was declined
    created_at   text NOT NULL
);
-- Deliberately not unique: a chain mints whatever it is sent, and a doubled token must show.
CREATE TABLE IF NOT EXISTS tokens (
    token     text PRIMARY KEY,
    ticket_id integer NOT NULL,
    wallet    text NOT NULL,
    minted_at text NOT NULL
);
CREATE INDEX IF NOT EXISTS tokens_of_ticket ON tokens (ticket_id);
CREATE TABLE IF NOT EXISTS events (
    number integer PRIMARY KEY AUTOINCREMENT,
    kind   text NOT NULL,
    at     text NOT NULL,
    object text NOT NULL               -- JSON: what it is about, as it was then
);
"""

# What a card's first part says becomes of a charge; any other card pays.
DECLINES = {"empty": "insufficient_funds", "expired": "expired_card", "stolen": "stolen_card"}


class KeyTaken(Exception):
    """This idempotency key has come before, with other parameters."""


class TooLate(Exception):
    """The mint came after its `valid_until`; nothing was minted."""


class Book:
    """What the provider has done.

    Args:
        file: Made when it is not there.
    """

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_TABLES)

    def close(self) -> None:
        """Close the file, when nobody is writing."""
        with self._lock:
            self._db.close()

    def charge(self, key: str, *, reference: str, amount_cents: int, card: str) -> dict[str, Any]:
        """Charge a card once for each key; the same key gets the same charge, paid or declined.

        Raises:
            KeyTaken: The key has come before, with other parameters.
        """
        with self._writing() as db:
            if (known := self._charge_of(db, key)) is not None:
                if (known["reference"], known["amount_cents"], known["card"]) != (reference, amount_cents, card):
                    raise KeyTaken(f"idempotency key {key!r} was used for other parameters")
                return known
            reason = DECLINES.get(card.partition("-")[0])
            state, name = "declined" if reason else "paid", f"ch_{uuid4().hex[:16]}"
            row = (name, key, reference, amount_cents, card, state, reason, _now())
            db.execute("INSERT INTO charges VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            charged = self._charge_of(db, key)
            assert charged is not None
            _note(db, f"charge.{state}", charged)
            return charged

    def charge_of(self, key: str) -> dict[str, Any] | None:
        """Return the charge that came with a key, or None where none has."""
        with self._lock:
            return self._charge_of(self._db, key)

    def refund(self, charge_id: str) -> dict[str, Any] | None:
        """Give a paid charge back, once; return the charge, or None where there is no such charge."""
        with self._writing() as db:
            with closing(db.execute("SELECT key, state FROM charges WHERE id = ?", (charge_id,))) as found:
                row = found.fetchone()
            if row is None:
                return None
            if row["state"] == "paid":
                db.execute("UPDATE charges SET state = 'refunded' WHERE id = ?", (charge_id,))
            charge = self._charge_of(db, row["key"])
            assert charge is not None
            if row["state"] == "paid":
                _note(db, "charge.refunded", charge)
            return charge

    def mint(self, *, ticket_id: int, wallet: str, valid_until: datetime) -> dict[str, Any]:
        """Mint a token: another one each time.

        Raises:
            TooLate: It is past `valid_until`.
        """
        with self._writing() as db:
            if datetime.now(UTC) > valid_until:
                raise TooLate(f"valid until {valid_until.isoformat()}: that is over")
            minted = {"token": f"tok_{uuid4().hex[:16]}", "ticket_id": ticket_id, "wallet": wallet, "minted_at": _now()}
            db.execute("INSERT INTO tokens VALUES (:token, :ticket_id, :wallet, :minted_at)", minted)
            _note(db, "token.minted", minted)
            return minted

    def tokens_of(self, ticket_id: int) -> list[dict[str, Any]]:
        """Return every token of a ticket, oldest first."""
        with self._lock:
            return [
                dict(row)
                for row in self._db.execute("SELECT * FROM tokens WHERE ticket_id = ? ORDER BY minted_at", (ticket_id,))
            ]

    def events(self, *, after: int, limit: int) -> list[dict[str, Any]]:
        """Return the first events after a number, in their order."""
        with self._lock:
            rows = self._db.execute("SELECT * FROM events WHERE number > ? ORDER BY number LIMIT ?", (after, limit))
            return [{**dict(row), "object": json.loads(row["object"])} for row in rows]

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Yield the only connection in a transaction, which is on the disk when the block has ended well."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _charge_of(self, db: sqlite3.Connection, key: str) -> dict[str, Any] | None:
        with closing(db.execute("SELECT * FROM charges WHERE key = ?", (key,))) as found:
            row = found.fetchone()
        return None if row is None else dict(row)


def _note(db: sqlite3.Connection, kind: str, about: dict[str, Any]) -> None:
    db.execute("INSERT INTO events (kind, at, object) VALUES (?, ?, ?)", (kind, _now(), json.dumps(about)))


def _now() -> str:
    return datetime.now(UTC).isoformat()
