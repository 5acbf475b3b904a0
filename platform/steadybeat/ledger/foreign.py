"""Foreign messages: what lay on a queue and could not be read, kept as the bytes it was."""

from __future__ import annotations

from sqlalchemy import insert

from steadybeat.ledger.connection import Database
from steadybeat.ledger.tables import foreign_messages


class ForeignMessages:
    """What could not be read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, queue: str, raw: bytes, reason: str) -> None:
        """Keep a message that cannot be delivered.

        Args:
            queue: Where it lay.
            raw: All of it.
            reason: Why it cannot be delivered.
        """
        values = {"queue": _storable(queue), "reason": _storable(reason)}
        self._database.execute(insert(foreign_messages).values(raw=raw, **values))


def _storable(text: str) -> str:
    """Return a text without what Postgres' type `text` refuses: NUL, and halves of surrogate pairs."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()
