"""`celery -A … schedules`: what the code defines, what the ledger has, and when it is due."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from steadybeat.commands import completion
from steadybeat.commands.adoption import import_
from steadybeat.commands.backfill import backfill
from steadybeat.commands.checking import check
from steadybeat.commands.explaining import explain
from steadybeat.commands.installed import installed
from steadybeat.commands.output import Column, Output, count, distance, json_option, length, moment, nominal
from steadybeat.commands.schedule_edits import add, pause, paused, remove, resume
from steadybeat.commands.showing import show
from steadybeat.commands.triggering import trigger
from steadybeat.commands.usage import NOTHING_CHANGED, Group, dry_run_option
from steadybeat.errors import ConfigurationError, did_you_mean
from steadybeat.monitor import hidden

if TYPE_CHECKING:
    from steadybeat.ledger.rows import ScheduleRow
    from steadybeat.ledger.schedules import Change
    from steadybeat.schedule import Rule

_MARKS = {"added": "+", "changed": "~", "retired": "-", "kept": "="}


@click.group(cls=Group, epilog="Example: celery -A tasks schedules next")
def schedules() -> None:
    """Show, apply and change schedules, take over RedBeat's."""


for _command in (add, backfill, check, explain, import_, pause, remove, resume, show, trigger):
    schedules.add_command(_command)


@schedules.command(epilog="Example: celery -A tasks schedules apply --dry-run")
@dry_run_option
@json_option
@click.pass_context
def apply(ctx: click.Context, dry_run: bool, as_json: bool) -> None:
    """Bring the code's schedules into the ledger.

    A step of every deploy; a rollback applies again. A changed schedule's coming fires are superseded; a schedule
    that the code no longer has is retired. What an operator has changed or paused stays so: it is kept.

    \b
    --json: {"dry_run": bool, "schedule_count": n,
             "changes": [{"name", "verb": "added" | "changed" | "retired" | "kept", "fields": [text, …],
                          "before": schedule or null, "after": schedule or null}]}
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    from steadybeat.beat.definitions import definitions
    from steadybeat.ledger import Ledger
    from steadybeat.task.describing import described

    app = installed(ctx, tasks=True)
    book = Ledger.of(app)
    wanted = definitions(app)
    before = {row.name: row for row in book.schedules.all()}
    change = book.schedules.difference if dry_run else book.schedules.apply
    changes = change(wanted, app.steadybeat.own_services())
    if not dry_run:
        book.tasks.describe(described(app), app.steadybeat.own_services())
    after = {row.name: row for row in wanted}
    out = Output(ctx)
    if as_json:
        out.json({
            "dry_run": dry_run,
            "schedule_count": len(wanted),
            "changes": [
                {
                    "name": change.name,
                    "verb": change.verb,
                    "fields": change.fields,
                    "before": defined(before.get(change.name)),
                    "after": defined(after.get(change.name)),
                }
                for change in changes
            ],
        })  # fmt: skip
    elif changes:
        _show_changes(out, changes, before, after, dry_run)
    else:
        out.say(f"No change: the ledger has {count(len(wanted), 'schedule')} as the code defines them.")


def defined(row: ScheduleRow | None) -> dict[str, Any] | None:
    """Return what a schedule is defined as, for JSON."""
    names = ("task", "service", "spec", "policies", "args", "kwargs", "options")
    return None if row is None else {name: getattr(row, name) for name in names} | {"policies": hidden(row.policies)}


def _show_changes(
    out: Output,
    changes: list[Change],
    before: Mapping[str, ScheduleRow],
    after: Mapping[str, ScheduleRow],
    dry_run: bool,
) -> None:
    rows = [
        (change, text)
        for change in changes
        for text in differences(before.get(change.name), after.get(change.name), change)
    ]
    columns = [
        Column(title="", value=lambda row: _MARKS[row[0].verb]),
        Column(title="schedule", value=lambda row: str(row[0].name)),
        Column(title="change", value=lambda row: str(row[0].verb)),
        Column(title="what", value=lambda row: str(row[1]), tight="wrap"),
    ]
    out.table(columns, rows)
    verbs = [change.verb for change in changes]
    counted = ", ".join(f"{verbs.count(verb)} {verb}" for verb in _MARKS if verb in verbs)
    out.say(f"Would be: {counted}. {NOTHING_CHANGED}" if dry_run else f"{counted}.".capitalize())


def differences(before: ScheduleRow | None, after: ScheduleRow | None, change: Change) -> list[str]:
    """Return in words what changes about one schedule, a line for each thing that does."""
    from steadybeat.schedule import from_json

    if after is None:
        return ["the code no longer has it"]
    if change.verb == "kept":
        return [f"the code changed it, an operator's edit holds; `schedules remove {change.name}` takes the edit back"]
    if before is None or change.verb == "added":
        return [from_json(after.spec).explain()]
    lines = []
    for field in change.fields:
        old, new = getattr(before, field), getattr(after, field)
        if field == "spec":
            lines.append(f"rule: {from_json(old).explain()} → {from_json(new).explain()}")
        elif field == "policies":
            names = [name for name in sorted({**old, **new}) if old.get(name) != new.get(name)]
            old, new = hidden(old), hidden(new)
            lines += [f"{name}: {_said(old.get(name))} → {_said(new.get(name))}" for name in names]
        else:
            lines.append(f"{field}: {_said(old)} → {_said(new)}")
    return lines or ["its definition"]


def _said(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@schedules.command("list", epilog="Example: celery -A tasks schedules list --service royalties")
@click.option("--service", help="Only schedules of this service.", shell_complete=completion.service_names)
@click.option("--paused", "only_paused", is_flag=True, help="Only those that are paused.")
@json_option
@click.pass_context
def list_(ctx: click.Context, service: str | None, only_paused: bool, as_json: bool) -> None:
    """List the ledger's schedules.

    Each with its rule in words, its next fire, and the state of its last run; and whether it is paused.

    \b
    --json: [{"name", "service", "task", "rule": words, "spec", "policies", "next_fire_at": instant,
              "last_run": {"id", "state", "reason", "scheduled_for", "finished_at"} or null,
              "source": "code" | "operator", "revision": n, "paused": {"at", "by", "reason"} or null}]
    """  # noqa: D301
    from steadybeat.ledger import Ledger

    book = Ledger.of(installed(ctx))
    rows = [row for row in _of_service(book.schedules.all(), service) if row.paused_at or not only_paused]
    last = book.story.last_runs([row.name for row in rows])
    now = datetime.now(UTC)
    listed = [_listed(row, last.get(row.name), now) for row in rows]
    out = Output(ctx)
    if as_json:
        out.json(listed)
    elif listed:
        out.table(_list_columns(now), listed)
    elif only_paused:
        out.say("No schedule is paused.")
    else:
        out.say("No schedules yet. `celery -A … schedules apply` brings in those of the code.")


def _of_service(rows: list[ScheduleRow], service: str | None) -> list[ScheduleRow]:
    known = sorted({row.service for row in rows})
    if service is not None and known and service not in known:
        raise ConfigurationError(
            f"--service={service!r}: has no schedules.{did_you_mean(service, known)} Those that have: "
            f"{', '.join(known)}.",
            service=service,
        )
    return [row for row in rows if service in (None, row.service)]


def _listed(row: ScheduleRow, last: dict[str, Any] | None, now: datetime) -> dict[str, Any]:
    from steadybeat.schedule import from_json

    rule = from_json(row.spec)
    return {
        "name": row.name,
        "service": row.service,
        "task": row.task,
        "rule": rule.explain(),
        "spec": row.spec,
        "policies": hidden(row.policies),
        "next_fire_at": rule.next_after(now),
        "last_run": last and {name: value for name, value in last.items() if name != "schedule"},
        "source": row.source,
        "revision": row.revision,
        "paused": paused({name: getattr(row, name) for name in ("paused_at", "paused_by", "paused_reason")}),
    }


def _list_columns(now: datetime) -> list[Column]:
    def last_state(row: dict[str, Any]) -> str:
        return row["last_run"]["state"] if row["last_run"] else ""

    def last_fire(row: dict[str, Any]) -> str:
        return nominal(row["last_run"]["scheduled_for"]) if row["last_run"] else ""

    return [
        Column(title="schedule", value=lambda row: row["name"]),
        Column(title="service", value=lambda row: row["service"], shown_from=150),
        Column(title="task", value=lambda row: row["task"], shown_from=180),
        Column(title="rule", value=lambda row: row["rule"], tight="wrap"),
        Column(title="next fire", value=lambda row: nominal(row["next_fire_at"])),
        Column(title="paused", value=lambda row: "paused" if row["paused"] else "", style="yellow"),
        Column(title="last run", value=last_state),
        Column(title="for the fire", value=last_fire, shown_from=120, style="dim"),
        Column(title="source", value=lambda row: row["source"], shown_from=150, style="dim"),
        Column(
            title="revision", value=lambda row: str(row["revision"]), shown_from=150, right=True, style="dim"
        ),
    ]  # fmt: skip


@schedules.command("next", epilog="Example: celery -A tasks schedules next tasks.royalties.settle -n 3")
@click.argument("name", required=False, shell_complete=completion.schedule_names)
@click.option("-n", "limit", type=click.IntRange(1, 1000), default=5, show_default=True, help="How many fires.")
@json_option
@click.pass_context
def next_(ctx: click.Context, name: str | None, limit: int, as_json: bool) -> None:
    """Say what fires next.

    These are the next fires of the schedule NAME, or of all. A fire is due at its nominal time and its jitter, which
    is always the same for one fire. Those of a paused schedule are skipped, unless it is resumed before.

    \b
    --json: [{"schedule": text, "scheduled_for": instant, "due_at": instant, "paused": bool}]
    """  # noqa: D301
    from steadybeat.ledger import Ledger

    rows = Ledger.of(installed(ctx)).schedules.all()
    if name is not None:
        found = [row for row in rows if row.name == name]
        if not found:
            raise unknown_schedule(name, [row.name for row in rows])
        rows = found
    now = datetime.now(UTC)
    fires = list(islice(upcoming(rows, now), limit))
    out = Output(ctx)
    if as_json:
        out.json(fires)
    elif fires:
        columns = [
            Column(title="schedule", value=lambda fire: fire["schedule"]),
            Column(title="fire", value=lambda fire: nominal(fire["scheduled_for"])),
            Column(title="due", value=lambda fire: moment(fire["due_at"])),
            Column(title="jitter", value=_delay, right=True, shown_from=90, style="dim"),
            Column(title="", value=lambda fire: distance(fire["due_at"], now), shown_from=80, style="dim"),
            Column(title="paused", value=lambda fire: "paused" if fire["paused"] else "", style="yellow"),
        ]
        out.table(columns, fires)
    else:
        out.say("No schedules yet. `celery -A … schedules apply` brings in those of the code.")


def _delay(fire: dict[str, Any]) -> str:
    delay = fire["due_at"] - fire["scheduled_for"]
    return length(delay) if delay else ""


def upcoming(rows: list[ScheduleRow], now: datetime) -> Iterator[dict[str, Any]]:
    """Yield the fires of some schedules after `now`, by their nominal time."""
    yield from heapq.merge(
        *(_fires(row, now) for row in rows), key=lambda fire: (fire["scheduled_for"], fire["schedule"])
    )


def _fires(row: ScheduleRow, now: datetime) -> Iterator[dict[str, Any]]:
    from steadybeat.schedule import from_json

    rule = from_json(row.spec)
    at = rule.next_after(now)
    while at is not None:
        due = due_at(row.name, at, row.policies, rule)
        yield {"schedule": row.name, "scheduled_for": at, "due_at": due, "paused": row.paused_at is not None}
        at = rule.next_after(at)


def due_at(schedule: str, at: datetime, policies: Mapping[str, Any], rule: Rule) -> datetime:
    """Return when a fire is due: its nominal time and its jitter."""
    from steadybeat.schedule import jitter

    return jitter(schedule, at, timedelta(seconds=policies["jitter_seconds"]), rule)


def unknown_schedule(name: str, known: list[str]) -> ConfigurationError:
    """Return the error that names a schedule nobody knows, and the way out."""
    way_out = did_you_mean(name, known) or " `celery -A … schedules list` shows them."
    return ConfigurationError(f"schedule {name!r}: there is no such schedule.{way_out}", schedule=name)
