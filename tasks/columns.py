"""Columns: the schema `market`, and the columns that most of its tables have."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(
    schema="market",
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    },
)


def own_id() -> sa.Column[int]:
    """Return the number that a row is known by."""
    return sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True)


def refers(name: str, target: str, *, nullable: bool = False) -> sa.Column[int]:
    """Return a column that names a row of another table.

    Args:
        name: What it is called.
        target: The other table and its column, such as `accounts.id`.
        nullable: Whether it may name none.
    """
    return sa.Column(name, sa.BigInteger, sa.ForeignKey(f"market.{target}"), nullable=nullable)


def at(name: str, *, nullable: bool = False) -> sa.Column[object]:
    """Return a column that holds an instant."""
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)
