"""Fill: sample rows into the marketplace's tables, as fast as Postgres takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
import sqlalchemy as sa
from psycopg import sql

from tasks import market
from tasks.sample import Part, Sample

REPORT_EVERY_COUNT = 2_000

Report = Callable[[Part, int], None]


def fill(db: sa.Connection, sample: Sample, report: Report) -> None:
    """Replace every row of the marketplace by those of a sample, inside the caller's transaction.

    Args:
        db: A connection to a database that has the marketplace's schema.
        sample: The rows.
        report: Called with a part and the count of its rows written so far: first, now and then, and last.
    """
    tables = ", ".join(table.fullname for table in market.metadata.sorted_tables)
    db.execute(sa.text(f"TRUNCATE {tables} RESTART IDENTITY"))
    with _indexes_and_references_last(db):
        for part in sample.parts():
            _copy(db, part, report)
    for table in market.metadata.sorted_tables:
        if "id" in table.c and isinstance(table.c.id.type, sa.BigInteger):
            sequence = sa.func.pg_get_serial_sequence(table.fullname, "id")
            last_id = sa.func.coalesce(sa.func.max(table.c.id), 0)
            db.execute(sa.select(sa.func.setval(sequence, last_id + 1, sa.false())))
        db.execute(sa.text(f"ANALYZE {table.fullname}"))


@contextmanager
def _indexes_and_references_last(db: sa.Connection) -> Iterator[None]:
    """Build indexes and check foreign keys once, after the rows are there: a third of the time."""
    tables = market.metadata.sorted_tables
    references = [each for table in tables for each in table.foreign_key_constraints]
    indexes = [each for table in tables for each in table.indexes]
    for reference in references:
        db.execute(sa.schema.DropConstraint(reference))
    for index in indexes:
        index.drop(db)
    yield
    for index in indexes:
        index.create(db)
    for reference in references:
        db.execute(sa.schema.AddConstraint(reference, isolate_from_table=False))


def _copy(db: sa.Connection, part: Part, report: Report) -> None:
    connection: Any = db.connection.driver_connection
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier("market", part.table.name),
        sql.SQL(", ").join(map(sql.Identifier, part.columns)),
    )
    written_count = 0
    report(part, written_count)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for written_count, row in enumerate(part.rows, start=1):
            copy.write_row(row)
            if written_count % REPORT_EVERY_COUNT == 0 and written_count < part.row_count:
                report(part, written_count)
    report(part, written_count)


def count_rows(db: sa.Connection) -> dict[str, int]:
    """Return how many rows each table of the marketplace has, by the table's name."""
    counts = [
        sa.select(sa.func.count()).select_from(table).scalar_subquery().label(table.name)
        for table in market.metadata.sorted_tables
    ]
    return dict(db.execute(sa.select(*counts)).one()._mapping)


def is_empty(db: sa.Connection) -> bool:
    """Return whether the marketplace has no rows yet."""
    return db.scalar(sa.select(market.accounts.c.id).limit(1)) is None


class _Unreachable(click.ClickException):
    """Postgres does not answer."""

    exit_code = 2


@contextmanager
def connected(url: sa.URL) -> Iterator[sa.Connection]:
    """Yield a connection in a transaction, which commits at the end; one line where Postgres does not answer."""
    try:
        db = market.engine(url.render_as_string(hide_password=False)).connect()
    except sa.exc.OperationalError as error:
        reason = str(error.orig).splitlines()[0]
        raise _Unreachable(
            f"STEADYBEAT_DATABASE_URL={url.render_as_string(hide_password=True)}: {reason}. "
            "Start that Postgres, or name another."
        ) from None
    with db, db.begin():
        yield db
