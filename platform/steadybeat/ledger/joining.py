"""Joining: a transaction of somebody else's, of which a change to the ledger becomes a part."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text

from steadybeat.errors import ConfigurationError

_KNOWN = "steadybeat_has_ledger"
_HAS_LEDGER = text("SELECT to_regclass('steadybeat.operations')")
# Ends with the transaction. Beats and workers wait for the rows that it has changed.
_WAKE_UP = text("""
    SELECT set_config('idle_in_transaction_session_timeout', CAST(:milliseconds AS text), true)
     WHERE CAST((SELECT setting FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout') AS bigint)
           NOT BETWEEN 1 AND :milliseconds
""")


def joined(transaction: Any, timeout_seconds: float | None) -> Connection:
    """Return the connection of a transaction that has begun, or begins now.

    Args:
        transaction: A SQLAlchemy Connection or Session (of an asynchronous one, what ``run_sync`` hands over).
        timeout_seconds: How long it may be idle from now on, before Postgres rolls it back and ends its connection;
            None: as long as it likes, for nobody waits for what it has changed.

    Raises:
        ConfigurationError: It is something else, its statements commit by themselves, or its database holds no
            ledger.
    """
    connection = transaction if isinstance(transaction, Connection) else _of_session(transaction)
    if connection.dialect.name != "postgresql":
        raise _refused(transaction, "must be on the Postgres of steadybeat_database_url")
    if getattr(connection.connection.driver_connection, "autocommit", False):
        raise _refused(transaction, "commits every statement by itself, so that there is nothing to be a part of")
    if not connection.info.get(_KNOWN):  # asked once for each connection of a pool
        if connection.execute(_HAS_LEDGER).scalar() is None:
            raise _refused(transaction, "its database holds no ledger; give one on that of steadybeat_database_url")
        connection.info[_KNOWN] = True
    if timeout_seconds is not None:
        connection.execute(_WAKE_UP, {"milliseconds": int(timeout_seconds * 1000)})
    return connection


def _of_session(transaction: Any) -> Connection:
    from sqlalchemy.orm import Session, scoped_session

    if isinstance(transaction, Session | scoped_session):
        return transaction.connection()
    raise _refused(transaction, "must be a SQLAlchemy Connection or Session")


def _refused(transaction: Any, why: str) -> ConfigurationError:
    return ConfigurationError(f"transaction={type(transaction).__name__}: {why}.", name="transaction")
