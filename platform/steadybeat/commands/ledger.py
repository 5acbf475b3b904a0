"""`celery -A … ledger`: the schema of the ledger, and what may be forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from steadybeat.commands.installed import installed
from steadybeat.commands.output import Column, Output, count, json_option
from steadybeat.commands.usage import NOTHING_CHANGED, Group, dry_run_option

if TYPE_CHECKING:
    from steadybeat.ledger import Ledger, SchemaStatus


@click.group(cls=Group, epilog="Example: celery -A tasks ledger status")
def ledger() -> None:
    """Upgrade the ledger's schema, check it, delete what is old."""


@ledger.command(epilog="Example: celery -A tasks ledger upgrade")
@dry_run_option
@json_option
@click.pass_context
def upgrade(ctx: click.Context, dry_run: bool, as_json: bool) -> None:
    """Apply the migrations that are missing.

    A step of every deploy, before new processes start. Several may run at once, and processes of the previous
    release go on working.

    \b
    --json: {"dry_run": bool, "from": text or null, "to": text, "applied": [text, …]}
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    from steadybeat.commands.progress import Progress

    book, out = _book(ctx, schema=False), Output(ctx)
    with Progress.quiet(None if as_json else out, "upgrading"):
        before = book.status() if dry_run else book.upgrade()
    after = before.needed if before.pending else before.applied
    number = count(len(before.pending), "migration")
    if as_json:
        out.json({"dry_run": dry_run, "from": before.applied, "to": after, "applied": before.pending})
    elif before.pending and dry_run:
        said = f"from {before.applied or 'nothing'} to {after}, {number}: {', '.join(before.pending)}"
        out.say(f"Would be: {said}. {NOTHING_CHANGED}")
    elif before.pending:
        out.say(f"The ledger went from {before.applied or 'nothing'} to {after}: {number} applied.", "green")
    else:
        out.say(f"Nothing to do: the ledger is at {_applied(before)}.")


def _book(ctx: click.Context, *, schema: bool = True) -> Ledger:
    from steadybeat.ledger import Ledger

    return Ledger.of(installed(ctx, schema=schema))


@ledger.command(epilog="Example: celery -A tasks ledger status")
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Say which migrations are missing.

    Exits with 1 if any is.

    \b
    --json: {"applied": text or null, "needed": text, "pending": [text, …]}
    """  # noqa: D301
    found = _book(ctx, schema=False).status()
    out = Output(ctx)
    if as_json:
        out.json({"applied": found.applied, "needed": found.needed, "pending": found.pending})
    else:
        pending = ", ".join(found.pending) or "nothing"
        out.facts([("applied", _applied(found)), ("needed", found.needed), ("pending", pending)])
        if found.pending:
            out.say("Run `celery -A … ledger upgrade`.", "yellow")
    ctx.exit(1 if found.pending else 0)


def _applied(found: SchemaStatus) -> str:
    if found.pending or found.applied == found.needed:
        return found.applied or "nothing"
    return f"{found.applied}, which is newer than this release ({found.needed})"


@ledger.command(epilog="Example: celery -A tasks ledger prune --dry-run")
@dry_run_option
@json_option
@click.pass_context
def prune(ctx: click.Context, dry_run: bool, as_json: bool) -> None:
    """Delete what ended long ago.

    That is longer ago than steadybeat_retention_seconds. Dead letters and messages that could not be read stay until
    a person decides. With --dry-run the rows are counted; what hangs on them may be more once they are gone.

    \b
    --json: {"dry_run": bool, "deleted": {table: rows, …}}
    """  # noqa: D301
    from steadybeat.commands.progress import Progress

    book, out = _book(ctx), Output(ctx)
    with Progress.quiet(None if as_json else out, "counting" if dry_run else "pruning") as progress:
        deleted = book.prunable() if dry_run else book.prune(progress.advance)
    if as_json:
        out.json({"dry_run": dry_run, "deleted": deleted})
        return
    if any(deleted.values()):
        columns = [
            Column(title="table", value=lambda row: str(row[0])),
            Column(title="would be deleted" if dry_run else "deleted rows", value=lambda row: str(row[1]), right=True),
        ]
        out.table(columns, list(deleted.items()))
        if dry_run:
            out.say(f"Would be: {count(sum(deleted.values()), 'row')} deleted. {NOTHING_CHANGED}")
    else:
        out.say("Nothing to do: nothing is older than the retention.")
