"""The few statements that every run passes, sent to Postgres with little in between.

Through SQLAlchemy such a statement costs this process four times what it costs here, most of what a worker does for
a short run. They go over a connection of their own, on which everything stays prepared. It belongs to one thread at
a time: whoever finds it in use takes the engine's way, where the same statement does the same.
"""

from __future__ import annotations

import re
import threading
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import psycopg
from sqlalchemy import Engine, TextClause
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

_dialect_of_psycopg: Any = make_url("postgresql+psycopg://").get_dialect()
_DIALECT = _dialect_of_psycopg(paramstyle="numeric_dollar")


_namedtuple: Any = namedtuple  # of names that only Postgres knows


class Prepared:
    """One statement that returns rows and commits by itself, for `Database.execute`.

    Args:
        clause: The statement with typed values, as `sql` makes it; its comments end with their lines.

    Attributes:
        text: What Postgres is sent.
        names: Of its values, in the order of their numbers.
    """

    def __init__(self, clause: TextClause) -> None:
        self.clause = clause
        compiled = clause.compile(dialect=_DIALECT)
        # Numbered values: psycopg would take a text with named ones apart again each time that it is sent.
        self.text: Any = " ".join(re.sub(r"--[^\n]*", "", str(compiled)).split())
        self.names: list[str] = compiled.positiontup or []
        self._row: Callable[[Iterable[Any]], Any] | None = None

    def numbered(self, values: Mapping[str, Any]) -> list[Any]:
        """Return the values in the order of their numbers."""
        return [values[name] for name in self.names]

    def rows(self, cursor: psycopg.RawCursor[Any]) -> list[Any]:
        """Return what it answered, with columns as attributes. Their names are read once: they are always the same."""
        found = cursor.fetchall()
        if found and self._row is None:
            row: Any = _namedtuple("Row", [column.name for column in cursor.description or ()])
            self._row = row._make
        return [self._row(row) for row in found] if self._row else []


class Express:
    """The connection for prepared statements: opened when it is first needed, used by one thread at a time."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._cursor: psycopg.RawCursor[Any] | None = None

    def run(self, engine: Engine, statement: Prepared, values: Mapping[str, Any]) -> list[Any] | None:
        """Return the rows of a statement, with columns as attributes; None where another thread has the connection.

        A connection on which anything went wrong is closed, and the next statement opens another.

        Args:
            engine: Whose pool opens the connection, and then gives it away.
            statement: What to run.
            values: By name.

        Raises:
            DBAPIError: As the engine would have raised it.
        """
        if not self._turn.acquire(blocking=False):
            return None
        try:
            if self._cursor is None:
                self._cursor = _opened(engine)
            return statement.rows(self._cursor.execute(statement.text, statement.numbered(values), prepare=True))
        except psycopg.Error as error:
            gone = self._cursor is not None and self._cursor.connection.closed
            self.close()
            if gone:
                engine.dispose()  # those in the pool broke with it
            raise _as_raised_by(engine, statement, error, gone) from error
        except BaseException:
            self.close()  # the answer may come yet, and is not the next one's
            raise
        finally:
            self._turn.release()

    def close(self) -> None:
        """Close the connection; the next statement opens another."""
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            cursor.connection.close()


def _opened(engine: Engine) -> psycopg.RawCursor[Any]:
    pooled = engine.raw_connection()
    connection: Any = pooled.driver_connection
    pooled.detach()
    connection.autocommit = True
    return psycopg.RawCursor(connection)


def _as_raised_by(engine: Engine, statement: Prepared, error: psycopg.Error, gone: bool) -> BaseException:
    return DBAPIError.instance(
        statement.text, None, error, psycopg.Error, connection_invalidated=gone, dialect=engine.dialect
    )
