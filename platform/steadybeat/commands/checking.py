"""`schedules check`: what the code's schedules mean here, and what is to be looked at before a deploy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from steadybeat.commands.adoption import columns, entry, said
from steadybeat.commands.installed import installed
from steadybeat.commands.output import Output, count, json_option, nominal
from steadybeat.commands.progress import Progress
from steadybeat.commands.usage import Command
from steadybeat.errors import ConfigurationError

if TYPE_CHECKING:
    from steadybeat.beat.takeover import Found
    from steadybeat.operating.herds import Herd

SHOWN = 3
"""So many herds are shown, and so many schedules of one are named."""


@click.command(cls=Command, epilog="Example: celery -A tasks schedules check --strict")
@click.option("--strict", is_flag=True, help="A time in the hours of clock changes is a finding too.")
@click.option(
    "--herd",
    type=click.IntRange(1),
    default=500,
    show_default=True,
    metavar="N",
    help="More schedules than this in one second are a finding.",
)
@json_option
@click.pass_context
def check(ctx: click.Context, strict: bool, herd: int, as_json: bool) -> None:
    """Say what the code's schedules mean here.

    That is where plain Celery or RedBeat means something else, where a clock that is changed makes a time doubtful,
    where two have one name, and in which seconds of the next eight days and of the first day of each month of the
    next year very many are due. Nothing is changed, and the ledger is not asked: a step for CI.

    Exits with 1 where an entry is refused, or too many are due in one second.

    \b
    --json: {"schedules": [{"name", "verdict": "well" | "doubtful" | "refused", "reason": text, "rule": words or null,
                            "notes": [{"about", "text"}]}],
             "herds": [{"at": instant, "count": n, "schedules": [text, …]}]}
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    from steadybeat.beat.definitions import entries
    from steadybeat.beat.takeover import Found

    app, out = installed(ctx, tasks=True, schema=False), Output(ctx)
    written, checked = sorted(entries(app), key=lambda each: each[0]), list[Found]()
    with Progress.quiet(None if as_json else out, "schedules", len(written)) as progress:
        for name, each in written:
            checked.append(_checked(app, name, each, strict))
            progress.advance()
    found = _unique(checked)
    with Progress.quiet(None if as_json else out, "looking for herds"):
        crowded = _herds(found, herd)
    if as_json:
        names = ("name", "verdict", "reason", "rule", "notes")
        told = [{name: entry(each, datetime.now(UTC))[name] for name in names} for each in found]
        herds = [{"at": each.at, "count": each.count, "schedules": each.names} for each in crowded]
        out.json({"schedules": told, "herds": herds})
    elif found:
        out.table(columns(), [(each.name, each.verdict, text) for each in found for text in said(each)])
        _show_herds(out, crowded, herd)
    else:
        out.say("The code defines no schedules.")
    if crowded or any(each.needs_person for each in found):
        ctx.exit(1)


def _checked(app: Any, name: str, written: Any, strict: bool) -> Found:
    from steadybeat.beat.definitions import definition
    from steadybeat.beat.meaning import Note
    from steadybeat.beat.takeover import Found, notes_of_code
    from steadybeat.schedule import from_json

    try:
        row = definition(app, name, written)
    except ConfigurationError as error:
        reason = str(error).removeprefix(f"schedule {name!r}: ")
        return Found(name=name, verdict="refused", reason=reason, needs_person=True)
    if row is None:
        return Found(name=name, verdict="well", reason="it is not enabled, and so not defined")
    cautions = [Note("clock", text.rstrip(".")) for text in from_json(row.spec).cautions()]
    doubtful = strict and bool(cautions)
    return Found(
        name=name,
        verdict="doubtful" if doubtful else "well",
        row=row,
        notes=(*notes_of_code(app, written, row), *cautions),
        needs_person=doubtful,
    )


def _unique(found: Sequence[Found]) -> list[Found]:
    """Return the same; what has the name of another one is refused."""
    first: dict[str, Found] = {}
    checked = []
    for each in found:
        former = first.get(each.name) if each.row is not None else None
        if each.row is not None and former is not None and former.row is not None:
            tasks = f"for {former.row.task} and for {each.row.task}"
            reason = f"is defined twice, {tasks}; give one of them another name"
            each = replace(each, verdict="refused", reason=reason, row=None, notes=(), needs_person=True)  # noqa: PLW2901
        elif each.row is not None:
            first[each.name] = each
        checked.append(each)
    return checked


def _herds(found: Sequence[Found], limit: int) -> list[Herd]:
    from steadybeat.operating.herds import herds
    from steadybeat.schedule import from_json
    from steadybeat.schedule.policies import policies_from_json

    rows = [each.row for each in found if each.row is not None]
    given = {row.name: (from_json(row.spec), policies_from_json(row.policies).jitter) for row in rows}
    return herds(given, limit, datetime.now(UTC))


def _show_herds(out: Output, found: Sequence[Herd], limit: int) -> None:
    for text in _crowded(found):
        out.say(text, "yellow")
    if found:
        out.say(
            f"More than {limit} in one second (--herd): spread them with jitter=timedelta(minutes=…), or with H instead"
            " of a minute in their cron expressions."
        )


def _crowded(found: Sequence[Herd]) -> Iterator[str]:
    for each in found[:SHOWN]:
        others = len(each.names) - SHOWN
        named = ", ".join(each.names[:SHOWN]) + (f" and {others} others" if others > 0 else "")
        yield f"{nominal(each.at)}: {count(each.count, 'schedule')} are due in one second: {named}."
    if len(found) > SHOWN:
        yield f"{len(found) - SHOWN} more such groups."
