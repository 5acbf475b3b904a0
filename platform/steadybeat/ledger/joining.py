"""Joining: a transaction of somebody else's, of which a change to the ledger becomes a part."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text

from steadybeat.errors import ConfigurationError

_HAS_LEDGER = text("SELECT to_regclass('steadybeat.operations')")


def joined(transaction: Any) -> Connection:
    """Return the connection of a transaction that has begun, or begins now.

    Args:
        transaction: A SQLAlchemy Connection or Session (of an asynchronous one, what ``run_sync`` hands over).

    Raises:
        ConfigurationError: It is something else, its statements commit by themselves, or its database holds no
            ledger.
    """
    connection = transaction if isinstance(transaction, Connection) else _of_session(transaction)
    if getattr(connection.connection.driver_connection, "autocommit", False):
        raise _refused(transaction, "commits every statement by itself, so that there is nothing to be a part of")
    if connection.execute(_HAS_LEDGER).scalar() is None:
        raise _refused(transaction, "its database holds no ledger; give one on that of steadybeat_database_url")
    return connection


def _of_session(transaction: Any) -> Connection:
    from sqlalchemy.orm import Session, scoped_session

    if isinstance(transaction, Session | scoped_session):
        return transaction.connection()
    raise _refused(transaction, "must be a SQLAlchemy Connection or Session")


def _refused(transaction: Any, why: str) -> ConfigurationError:
    return ConfigurationError(f"transaction={type(transaction).__name__}: {why}.", name="transaction")
