"""Silences: while one holds, alerts that it matches are kept, and nobody is told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from steadybeat.ledger.connection import Database, sql

_COLUMNS = "id, rule, subject, owner, service, begins_at, ends_at, who, reason, ended_at, ended_by, created_at"
HELD_NOW = sql(f"""
    SELECT {_COLUMNS} FROM steadybeat.silences
     WHERE ended_at IS NULL AND begins_at <= clock_timestamp() AND ends_at > clock_timestamp() ORDER BY id
""")
_ALL = sql(f"""
    SELECT {_COLUMNS} FROM steadybeat.silences
     WHERE :everything OR (ended_at IS NULL AND ends_at > clock_timestamp()) ORDER BY id DESC LIMIT 1000
""")
_ADD = sql(f"""
    INSERT INTO steadybeat.silences (rule, subject, owner, service, begins_at, ends_at, who, reason)
    VALUES (:rule, :subject, :owner, :service, :begins_at, :ends_at, :who, :reason) RETURNING {_COLUMNS}
""")
_END = sql(f"""
    UPDATE steadybeat.silences SET ended_at = clock_timestamp(), ended_by = :who
     WHERE id = :silence AND ended_at IS NULL AND ends_at > clock_timestamp() RETURNING {_COLUMNS}
""")
_NOTE = sql("""
    INSERT INTO steadybeat.operations (who, what, target, reason) VALUES (:who, :what, :target, :reason)
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """What nobody is to be told of, and until when.

    Attributes:
        rule: A pattern with ``*`` and ``?``; None: any. So are subject, owner and service.
        ended_at: When a person took it back.
    """

    id: int
    rule: str | None
    subject: str | None
    owner: str | None
    service: str | None
    begins_at: datetime
    ends_at: datetime
    who: str
    reason: str
    ended_at: datetime | None = None
    ended_by: str | None = None
    created_at: datetime | None = None


class Silences:
    """Keeps the silences. Whatever changes one is noted in `operations`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, *, everything: bool = False) -> list[Silence]:
        """Return those that hold or will hold, the newest first; with ``everything`` also those that are over."""
        rows = self._database.execute(_ALL, {"everything": everything})
        return [Silence(**row._mapping) for row in rows]

    def add(
        self, matches: dict[str, str | None], *, begins_at: datetime, ends_at: datetime, who: str, reason: str
    ) -> Silence:
        """Have nobody told of alerts for a while.

        Args:
            matches: Patterns for ``rule``, ``subject``, ``owner`` and ``service``.
            begins_at: From when on, aware.
            ends_at: Until when, aware.
            who: Who wants it.
            reason: Why.
        """
        values: dict[str, Any] = {"begins_at": begins_at, "ends_at": ends_at, "who": who, "reason": reason, **matches}
        with self._database.transaction() as connection:
            row = connection.execute(_ADD, values).one()
            target = str(row.id)
            connection.execute(_NOTE, {"who": who, "what": "alerts silence", "target": target, "reason": reason})
        return Silence(**row._mapping)

    def end(self, silence: int, *, who: str, reason: str) -> Silence | None:
        """Take a silence back; return it, or None where none of this number holds or will hold."""
        with self._database.transaction() as connection:
            row = connection.execute(_END, {"silence": silence, "who": who}).one_or_none()
            if row is None:
                return None
            target = str(silence)
            connection.execute(_NOTE, {"who": who, "what": "alerts unsilence", "target": target, "reason": reason})
        return Silence(**row._mapping)
