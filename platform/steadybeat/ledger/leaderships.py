"""Leaderships: which Beat has led and when, so that it is known without Redis that nobody does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from steadybeat.ledger.connection import Database, sql

_RENEW = sql("""
    INSERT INTO steadybeat.leaderships AS l (term, instance, host) VALUES (:term, :instance, :host)
    ON CONFLICT (term) DO UPDATE SET renewed_at = clock_timestamp()
""")
_END = sql("UPDATE steadybeat.leaderships SET ended_at = clock_timestamp() WHERE term = :term AND ended_at IS NULL")
_LATEST = sql("""
    SELECT term, CAST(instance AS text) AS instance, host, began_at, renewed_at, ended_at
      FROM steadybeat.leaderships ORDER BY term DESC LIMIT CAST(:row_count AS integer)
""")


@dataclass(frozen=True, slots=True)
class Leadership:
    """One term.

    Attributes:
        renewed_at: When its Beat last said that it leads, every ``steadybeat_keeper_seconds``.
        ended_at: When it said that it does not any more; a Beat that is killed says nothing.
    """

    term: int
    instance: str
    host: str
    began_at: datetime
    renewed_at: datetime
    ended_at: datetime | None


class Leaderships:
    """Which Beat has led."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def renew(self, term: int, *, instance: str, host: str) -> None:
        """Say that a Beat leads; the first time makes the row of its term."""
        self._database.execute(_RENEW, {"term": term, "instance": instance, "host": host})

    def end(self, term: int) -> None:
        """Say that a Beat leads no more."""
        self._database.execute(_END, {"term": term})

    def latest(self, limit: int = 1) -> list[Leadership]:
        """Return the latest terms, the newest first."""
        return [Leadership(*row) for row in self._database.execute(_LATEST, {"row_count": limit})]
