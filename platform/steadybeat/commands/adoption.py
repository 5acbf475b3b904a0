"""`celery -A … schedules import`: what RedBeat had, and what it means here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from steadybeat.commands.installed import installed
from steadybeat.commands.output import Column, Output, count, json_option, length
from steadybeat.commands.progress import Progress
from steadybeat.commands.usage import NOTHING_CHANGED, Command, dry_run_option, reason_unless, reason_unless_dry
from steadybeat.errors import ConfigurationError

if TYPE_CHECKING:
    from steadybeat.beat.takeover import Found

_MARKS = {"taken over": "+", "in the ledger": "", "left": "!", "well": "", "refused": "!", "doubtful": "!"}


@click.command(
    "import", cls=Command, epilog="Example: celery -A tasks schedules import --from redbeat --reason 'we move in'"
)
@click.option("--from", "source", type=click.Choice(["redbeat"]), required=True, help="Whose schedules.")
@dry_run_option
@reason_unless_dry
@json_option
@click.pass_context
def import_(ctx: click.Context, source: str, dry_run: bool, reason: str | None, as_json: bool) -> None:
    """Take over the schedules that RedBeat has in Redis.

    Each continues where RedBeat's last fire left off, and stays until `schedules remove`: `schedules apply` does not
    retire it. What means something else from now on is said entry by entry. What is left stays in Redis as it is;
    nothing fires it. Stop RedBeat's own Beat first.

    Exits with 1 where an entry needs you.

    \b
    --json: {"from": "redbeat", "dry_run": bool, "plain_beat_lock_seconds": seconds or null,
             "entries": [{"name", "verdict": "taken over" | "in the ledger" | "left", "reason": text,
                          "needs_person": bool, "rule": words or null, "spec", "source", "next_fire_at": instant,
                          "notes": [{"about", "text"}]}]}
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    from steadybeat.beat.takeover import plain_lock, survey

    app = installed(ctx, tasks=True)
    reason = reason_unless(dry_run, reason, "we move in")
    lock, now = plain_lock(app), datetime.now(UTC)
    if lock is not None and not dry_run:
        raise ConfigurationError(_running(app, lock))
    out = Output(ctx)
    with Progress.quiet(None if as_json else out, "reading"):
        found = survey(app, now)
    if not dry_run:
        with Progress.quiet(None if as_json else out, "taking over"):
            _take_over(app, found, reason)
    if as_json:
        listed = [entry(each, now) for each in found]
        document = {"from": source, "dry_run": dry_run, "plain_beat_lock_seconds": lock, "entries": listed}
        out.json(document)
    else:
        _show(out, found, dry_run)
        if lock is not None:
            out.say(f"Before the import: {_running(app, lock)}", style="yellow")
    if any(each.needs_person for each in found):
        ctx.exit(1)


def _running(app: Any, lock: timedelta) -> str:
    from redbeat.schedulers import ensure_conf

    lapses = "never" if lock > timedelta(days=3650) else f"in {length(lock)}"
    return (
        "a Beat without steadybeat holds the lock, and would fire beside the ledger: stop it first."
        f" If it is gone, its lock {ensure_conf(app).lock_key!r} lapses {lapses}, or when you delete that key."
    )


def _take_over(app: Any, found: Sequence[Found], reason: str) -> None:
    from steadybeat.beat.projection import Definition, project
    from steadybeat.ledger import Ledger
    from steadybeat.operating.rerun import who

    ledger = Ledger.of(app)
    given = {each.name: (each.row, each.since) for each in found if each.row is not None and each.since is not None}
    if not given:
        return
    ledger.schedules.take_over(given, who=who(), reason=reason)
    # From here on the keys in Redis are the ledger's projection, also before a Beat leads.
    project(app, {row.name: Definition.of(row) for row in ledger.schedules.all()})


def entry(found: Found, now: datetime) -> dict[str, Any]:
    """Return what there is to say about an entry, for JSON."""
    from steadybeat.schedule import from_json

    row = found.row
    rule = from_json(row.spec) if row else None
    return {
        "name": found.name,
        "verdict": found.verdict,
        "reason": found.reason,
        "needs_person": found.needs_person,
        "rule": rule and rule.explain(),
        "spec": row and row.spec,
        "source": row and row.source,
        "next_fire_at": rule and rule.next_after(found.since or now),
        "notes": [{"about": note.about, "text": note.text} for note in found.notes],
    }


def _show(out: Output, found: Sequence[Found], dry_run: bool) -> None:
    if not found:
        out.say("Nothing to do: RedBeat has no entries of its own in Redis.")
        return
    lines = [(each.name, each.verdict, text) for each in found for text in said(each)]
    out.table(columns(), lines)
    taken, left = ([each for each in found if each.verdict == verdict] for verdict in ("taken over", "left"))
    if not taken and not left:
        out.say("Nothing to do: the ledger has them all.")
        return
    counted = f"{count(len(taken), 'schedule')} taken over, {len(left)} left"
    waiting = sum(each.needs_person for each in left)
    counted += f" ({waiting} of them {'needs' if waiting == 1 else 'need'} you)" if waiting else ""
    out.say(f"Would be: {counted}. {NOTHING_CHANGED}" if dry_run else f"{counted}.")


def said(found: Found) -> Iterator[str]:
    """Yield what there is to say about an entry, line by line."""
    from steadybeat.schedule import from_json

    if found.row is None:
        yield found.reason
        return
    yield from_json(found.row.spec).explain()
    yield from (f"{note.about}: {note.text}" for note in found.notes)


def columns() -> list[Column]:
    """Return how lines of name, verdict and text look."""
    return [
        Column(title="", value=lambda line: _MARKS[line[1]]),
        Column(title="schedule", value=lambda line: str(line[0])),
        Column(title="verdict", value=lambda line: str(line[1])),
        Column(title="what", value=lambda line: str(line[2]), tight="wrap"),
    ]
