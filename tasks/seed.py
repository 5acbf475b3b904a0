"""`celery -A tasks seed`: fill the marketplace with sample rows."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tasks.fill import Report
    from tasks.sample import Part


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


@click.command(epilog="Example: celery -A tasks seed --as-of 2026-01-31")
@click.option(
    "--as-of",
    callback=_instant,
    metavar="INSTANT",
    help="The sample's last instant, such as 2026-01-31 or 2026-01-31T12:00:00Z.  [default: today 00:00 UTC]",
)
@click.option("--tables-only", is_flag=True, help="Create the tables that are missing, and write no rows.")
@click.option("--reset", is_flag=True, help="Delete every row of the marketplace first.")
@click.option("--yes", is_flag=True, help="Do not ask before --reset deletes.")
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object.")
@click.pass_context
def seed(ctx: click.Context, as_of: datetime, tables_only: bool, reset: bool, yes: bool, as_json: bool) -> None:
    """Fill the marketplace with sample rows: 5,000 accounts, 50,000 orders, 200,000 sales.

    The same rows every time for the same --as-of. A marketplace that has rows is left as it is.
    """
    # Celery imports every sub-command for every command, so what this one needs is imported when it runs.
    import sqlalchemy as sa

    from tasks import market
    from tasks.fill import connected, count_rows, fill, is_empty
    from tasks.sample import Sample

    if tables_only and reset:
        raise click.UsageError("--tables-only writes and deletes no rows; leave out --reset.")
    url = sa.make_url(ctx.obj.app.steadybeat.settings.database_url)
    if reset and not yes:
        where = url.render_as_string(hide_password=True)
        click.confirm(f"Delete every row of schema market in {where}?", abort=True, err=True)
    started = time.monotonic()
    with connected(url) as db:
        market.create(db)
        filled_already = not reset and not is_empty(db)
        filling = not filled_already and not tables_only
        if filling:
            with _reporting(quiet=as_json) as report:
                fill(db, Sample(as_of), report)
        row_counts = count_rows(db)
    took = time.monotonic() - started
    if as_json:
        answer = {"filled": filling, "row_counts": row_counts, "duration_seconds": took}
        click.echo(json.dumps(answer))
    elif tables_only:
        click.echo(f"tables are there: {_in_words(row_counts)}")
    elif filled_already:
        click.echo(f"already filled: {_in_words(row_counts)}; --reset starts anew")
    else:
        click.echo(f"filled in {took:.1f} s, as of {as_of:%Y-%m-%d %H:%M} UTC: {_in_words(row_counts)}")


def _in_words(row_counts: dict[str, int]) -> str:
    return ", ".join(f"{row_counts[name]:,} {name}" for name in ("accounts", "orders", "sales"))


@contextmanager
def _reporting(*, quiet: bool) -> Iterator[Report]:
    """Yield what tells of progress: a bar on a terminal, else one line per table."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

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
