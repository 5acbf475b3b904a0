"""Foreign messages: what lay on a queue and could not be read, kept as the bytes it was."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import insert

from steadybeat.ledger.connection import Database, storable
from steadybeat.ledger.tables import foreign_messages


class ForeignMessages:
    """What could not be read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, queue: str, raw: bytes, reason: str, run: str | None = None) -> None:
        """Keep a message that cannot be delivered.

        Args:
            queue: Where it lay.
            raw: All of it.
            reason: Why it cannot be delivered.
            run: The run that has become a dead letter with it, where it was for one.
        """
        values = {"queue": storable(queue), "reason": storable(reason), "run": run and UUID(run)}
        self._database.execute(insert(foreign_messages).values(raw=raw, **values))
