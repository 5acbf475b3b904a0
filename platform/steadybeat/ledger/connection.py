"""One engine per process, and telling "refused" from "does not answer"."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    CursorResult,
    DateTime,
    Double,
    Engine,
    Executable,
    Integer,
    Text,
    TextClause,
    Uuid,
    bindparam,
    create_engine,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from steadybeat.errors import ConfigurationError, LedgerUnavailable
from steadybeat.ledger.prepared import Express, Prepared

# SQLSTATE classes and codes that speak of the server's state, not of the statement: PostgreSQL, appendix A.
_AWAY = ("08", "53", "57P", "58", "25006", "57014", "55P03")
_GAVE_WAY = ("40001", "40P01")  # serialization_failure, deadlock_detected

# A value's name says its type, so that Postgres never has to guess the type of a NULL or of a text.
_TYPES: dict[str, Any] = {
    **dict.fromkeys(("run", "instance", "claim_id", "run_id", "rerun_of", "former_run", "after"), Uuid(as_uuid=False)),
    **dict.fromkeys(
        ("fence", "term", "revision", "generation", "before_id", "since_transaction", "number"), BigInteger()
    ),
    **dict.fromkeys(("items_done", "items_total", "peak_memory_bytes", "total_count", "abort_count"), BigInteger()),
    **dict.fromkeys(("delivery_no", "retry_count", "crashes", "crash_limit", "row_count", "pid", "place"), Integer()),
    **dict.fromkeys(("places", "priority", "examined_count"), Integer()),
    **dict.fromkeys(
        ("not_before", "deadline", "scheduled_for", "since", "until", "instant", "after_fire"), DateTime(timezone=True)
    ),
    **dict.fromkeys(("begins_at", "ends_at"), DateTime(timezone=True)),
    **dict.fromkeys(("abort_share", "percent"), Double()),
    **dict.fromkeys(("bodies", "shown"), ARRAY(Text())),
    "delays": ARRAY(Double()),
    "through_outbox": Boolean(),
    **dict.fromkeys(("is_told", "entirely", "everything"), Boolean()),
    **dict.fromkeys(("alert", "notice", "silence"), BigInteger()),
    **dict.fromkeys(("alert_ids", "notice_ids"), ARRAY(BigInteger())),
    **dict.fromkeys(("names", "channels"), ARRAY(Text())),
    "queues": ARRAY(Text()),
    "services": ARRAY(Text()),
    "states": ARRAY(Text()),
    "run_ids": ARRAY(Text()),
    "foreign_ids": ARRAY(Text()),
}


_PATIENTLY = text("SET LOCAL statement_timeout = '60s'")


def sql(statement: str) -> TextClause:
    """Return a statement whose ``:name`` values have the types that their names say."""
    clause = text(statement)
    typed = []
    for name in clause._bindparams:
        fallback = Double() if name.endswith("_seconds") else Text()
        typed.append(bindparam(name, type_=_TYPES.get(name, fallback)))
    return clause.bindparams(*typed)


def storable(value: str) -> str:
    """Return a text without what Postgres' type `text` refuses: NUL, and halves of surrogate pairs."""
    return value.replace("\0", "\ufffd").encode(errors="replace").decode()


_databases: weakref.WeakSet[Database] = weakref.WeakSet()


class Database:
    """The Postgres of the ledger.

    Args:
        url: ``postgresql://…``; the driver is always psycopg 3.
        timeout_seconds: How long a statement may take.
        pool_count: Connections this process may hold.

    Raises:
        ConfigurationError: `url` is not a URL of Postgres.
    """

    def __init__(self, url: str, timeout_seconds: float, pool_count: int) -> None:
        self.shown_url = _shown(url)
        milliseconds = int(timeout_seconds * 1000)
        self._open: Callable[[], Engine] = lambda: create_engine(
            make_url(url).set(drivername="postgresql+psycopg"),
            pool_size=max(1, pool_count - 1),  # and the one for prepared statements
            max_overflow=0,
            pool_timeout=timeout_seconds,
            pool_use_lifo=True,
            connect_args={
                "connect_timeout": max(2, round(timeout_seconds)),
                "application_name": "steadybeat",
                "tcp_user_timeout": milliseconds,
                "options": (
                    f"-c statement_timeout={milliseconds} -c timezone=UTC"
                    f" -c idle_in_transaction_session_timeout={milliseconds}"
                ),
            },
        )
        self._engines: tuple[Engine, Engine] | None = None
        self._opening = threading.Lock()
        self._express = Express()
        _databases.add(self)

    @property
    def engine(self) -> Engine:
        """The engine of this process, opened when it is first asked for."""
        return self._opened()[0]

    def _opened(self) -> tuple[Engine, Engine]:
        """Return the engine, and the same one for statements that commit by themselves."""
        with self._opening:
            if self._engines is None:
                engine = self._open()
                self._engines = engine, engine.execution_options(isolation_level="AUTOCOMMIT")
            return self._engines

    def forget_after_fork(self) -> None:
        """Leave the parent's connections to the parent."""
        if self._engines is not None:
            self._engines[0].dispose(close=False)
            self._engines = None
        self._opening = threading.Lock()
        self._express = Express()

    def close(self) -> None:
        """Close every connection; the next statement opens a new one."""
        if self._engines is not None:
            self._engines[0].dispose()
        self._express.close()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Turn errors that mean "does not answer" into `LedgerUnavailable`."""
        try:
            yield
        except (DBAPIError, PoolTimeout) as error:
            if not _is_away(error):
                raise
            first_line = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
            raise LedgerUnavailable(
                f"Postgres at {self.shown_url} does not answer: {first_line}. Start it, or point"
                " STEADYBEAT_DATABASE_URL to it.",
                url=self.shown_url,
            ) from error

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yield a connection whose statements are committed together when the block ends well."""
        with self.answering(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def trial(self) -> Iterator[Trial]:
        """Yield a database of which everything is undone when the block ends: what would become of a change."""
        with self.answering(), self.engine.connect() as connection:
            yield Trial(connection)

    def count(self, statement: Executable, values: Mapping[str, Any], connection: Connection | None = None) -> Any:
        """Return the row of a statement that counts; of a million rows that may take longer than others may.

        Args:
            statement: It returns one row.
            values: By name.
            connection: Of the caller's transaction, if it is to be part of one.
        """
        if connection is None:
            with self.transaction() as own:
                return self.count(statement, values, own)
        connection.execute(_PATIENTLY)
        return connection.execute(statement, values).one()

    def patiently(self, statement: Executable, values: Mapping[str, Any]) -> list[Any]:
        """Return the rows of a statement that a person waits for, and that may take longer than others may.

        Args:
            statement: It reads only.
            values: By name.
        """
        with self.transaction() as connection:
            connection.execute(_PATIENTLY)
            return list(connection.execute(statement, values))

    def execute(
        self, statement: Executable | Prepared, values: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> list[Any]:
        """Run one statement that commits by itself, in one round trip, and return its rows.

        A statement on a connection that broke while it lay in the pool is sent once more on a new one, and so is one
        that Postgres rolled back for the sake of another; statements given here do no harm when they run twice.
        """
        with self.answering():
            try:
                return self._once(statement, values)
            except DBAPIError as error:
                if not error.connection_invalidated and not _gave_way(error):
                    raise
                return self._once(statement, values)

    def _once(self, statement: Executable | Prepared, values: Any) -> list[Any]:
        engine, committing = self._opened()
        if isinstance(statement, Prepared):
            rows = self._express.run(engine, statement, values)
            if rows is not None:
                return rows
            statement = statement.clause
        with committing.connect() as connection:
            result: CursorResult[Any] = connection.execute(statement, values)
            return list(result) if result.returns_rows else []


class Trial(Database):
    """A database within one transaction, which is never committed.

    Args:
        connection: That has begun none.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yield the connection."""
        yield self._connection

    def execute(
        self, statement: Executable | Prepared, values: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> list[Any]:
        """Run one statement, and return its rows."""
        clause = statement.clause if isinstance(statement, Prepared) else statement
        result: CursorResult[Any] = self._connection.execute(clause, values)
        return list(result) if result.returns_rows else []


def _shown(url: str) -> str:
    """Return `url` without its password, or refuse it."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    if parsed is None or parsed.get_backend_name() != "postgresql":
        raise ConfigurationError(
            "steadybeat_database_url: must be a URL such as postgresql://user:password@host:5432/name.",
            name="database_url",
        )
    return parsed.set(drivername="postgresql").render_as_string(hide_password=True)


def _gave_way(error: DBAPIError) -> bool:
    """Whether Postgres ended a deadlock, or a conflict, with this statement; nothing of it has happened."""
    return getattr(error.orig, "sqlstate", None) in _GAVE_WAY


def _is_away(error: Exception) -> bool:
    if isinstance(error, PoolTimeout | InterfaceError):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    origin = getattr(error, "orig", None)
    if isinstance(origin, psycopg.OperationalError | psycopg.InterfaceError):
        state = origin.sqlstate or "08"
        return state.startswith(_AWAY)
    return isinstance(origin, psycopg.Error) and (origin.sqlstate or "").startswith(_AWAY)


def _forget_all() -> None:
    for database in list(_databases):
        database.forget_after_fork()


os.register_at_fork(after_in_child=_forget_all)
