"""`celery -A tasks seed`: fill the marketplace with sample rows."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click
import sqlalchemy as sa
from psycopg import sql
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tasks import market
from tasks.sample import Part, Sample

REPORT_EVERY_COUNT = 2_000

Report = Callable[[Part, int], None]


def _instant(_ctx: click.Context, _param: click.Parameter, value: str | None) -> datetime:
    if value is None:
        return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no date; write it like 2026-01-31.") from None
    if instant.tzinfo is not None:
        return instant.astimezone(UTC)
    if instant.time() == datetime.min.time() and len(value) <= len("2026-01-31"):
        return instant.replace(tzinfo=UTC)
    raise click.BadParameter(f"{value!r} has no time zone; write it like 2026-01-31T12:00:00Z.")


@click.command()
@click.option(
    "--as-of",
    callback=_instant,
    metavar="INSTANT",
    help="The sample's last instant, such as 2026-01-31 or 2026-01-31T12:00:00Z.  [default: today 00:00 UTC]",
)
@click.option("--reset", is_flag=True, help="Delete every row of the marketplace first.")
@click.option("--yes", is_flag=True, help="Do not ask before --reset deletes.")
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object.")
@click.pass_context
def seed(ctx: click.Context, as_of: datetime, reset: bool, yes: bool, as_json: bool) -> None:
    """Fill the marketplace with sample rows: 5,000 accounts, 50,000 orders, 200,000 sales.

    The same rows every time for the same --as-of. A marketplace that has rows is left as it is.
    """
    url = sa.make_url(ctx.obj.app.steadybeat.settings.database_url)
    if reset and not yes:
        where = url.render_as_string(hide_password=True)
        click.confirm(f"Delete every row of schema market in {where}?", abort=True, err=True)
    started = time.monotonic()
    with _connected(url) as db:
        market.create(db)
        filled_already = not reset and not _is_empty(db)
        if not filled_already:
            with _reporting(quiet=as_json) as report:
                fill(db, Sample(as_of), report)
        row_counts = count_rows(db)
    took = time.monotonic() - started
    if as_json:
        answer = {"filled": not filled_already, "row_counts": row_counts, "duration_seconds": took}
        click.echo(json.dumps(answer))
    elif filled_already:
        click.echo(f"already filled: {_in_words(row_counts)}; --reset starts anew")
    else:
        click.echo(f"filled in {took:.1f} s, as of {as_of:%Y-%m-%d %H:%M} UTC: {_in_words(row_counts)}")


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


def _is_empty(db: sa.Connection) -> bool:
    return db.scalar(sa.select(market.accounts.c.id).limit(1)) is None


def _in_words(row_counts: dict[str, int]) -> str:
    return ", ".join(f"{row_counts[name]:,} {name}" for name in ("accounts", "orders", "sales"))


@contextmanager
def _reporting(*, quiet: bool) -> Iterator[Report]:
    """Yield what tells of progress: a bar on a terminal, else one line per table."""
    console = Console()
    if quiet:
        yield lambda part, written_count: None
    elif console.is_terminal:
        columns = (
            TextColumn("{task.description:10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=console) as progress:
            bars: dict[str, Any] = {}

            def draw(part: Part, written_count: int) -> None:
                name = part.table.name
                if name not in bars:
                    bars[name] = progress.add_task(name, total=part.row_count)
                progress.update(bars[name], completed=written_count)

            yield draw
    else:

        def tell(part: Part, written_count: int) -> None:
            if written_count == part.row_count:
                click.echo(f"{part.table.name}: {written_count:,} rows")

        yield tell


class _Unreachable(click.ClickException):
    """Postgres does not answer."""

    exit_code = 2


@contextmanager
def _connected(url: sa.URL) -> Iterator[sa.Connection]:
    """Yield a connection in a transaction, which commits at the end."""
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
