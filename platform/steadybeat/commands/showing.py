"""`schedules show`: all there is to know about one schedule."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

import click

from steadybeat.commands import completion
from steadybeat.commands.installed import installed
from steadybeat.commands.output import Column, Output, distance, json_option, moment, nominal
from steadybeat.commands.output import as_json as plain
from steadybeat.commands.schedule_edits import paused
from steadybeat.commands.usage import Command
from steadybeat.operating.meaning import policies_in_words

if TYPE_CHECKING:
    from steadybeat.ledger import Ledger

NEXT_COUNT = 3
FIRE_COUNT = 10
OPERATION_COUNT = 5
LOOK_BACK = 200  # operations; a backfill has one for each fire


@click.command(cls=Command, epilog="Example: celery -A tasks schedules show tasks.royalties.settle")
@click.argument("name", shell_complete=completion.schedule_names)
@json_option
@click.pass_context
def show(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show everything about one schedule.

    That is what NAME is defined as and by whom, whether it is paused, its last fires with what became of them, its
    next ones, and what people did to it last. Secrets in its arguments are hidden.

    \b
    --json: every column of the schedule, "rule": words, "code": {…} or null, "paused": {"at", "by", "reason"} or
            null, "overridden": [text, …], "next_fires": [{"scheduled_for", "due_at"}], "last_run": {…} or null,
            "last_fires": [{"scheduled_for", "due_at", "state", "reason", "asked", "run", "run_state"}],
            "operations": [{"at", "who", "what", "reason", "details", "count"}]
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    from steadybeat.commands.asked import schedule_of
    from steadybeat.ledger import Ledger
    from steadybeat.telemetry.redaction import redact

    book, now = Ledger.of(installed(ctx)), datetime.now(UTC)
    found = _gathered(book, schedule_of(book, name), now)
    shown, out = redact(plain(found), levels=12), Output(ctx)
    if as_json:
        out.json(shown)
        return
    out.facts(_facts(found, shown, now))
    if found["last_fires"]:
        out.say("")
        out.table(_FIRE_COLUMNS, found["last_fires"])
    if found["operations"]:
        out.say("")
        out.table(_OPERATION_COLUMNS, found["operations"])


def _gathered(book: Ledger, row: dict[str, Any], now: datetime) -> dict[str, Any]:
    from steadybeat.commands.schedules import due_at
    from steadybeat.schedule import from_json

    name, rule = row["name"], from_json(row["spec"])
    coming: list[datetime] = []
    if row["retired_at"] is None:
        coming = list(islice(rule.between(now, datetime.max.replace(tzinfo=UTC)), NEXT_COUNT))
    return {
        **{key: value for key, value in row.items() if not key.startswith("paused_")},
        "rule": rule.explain(),
        "paused": paused(row),
        "overridden": _overridden(row),
        "next_fires": [
            {"scheduled_for": at, "due_at": due_at(name, at, row["policies"], rule)} for at in coming
        ],
        "last_run": book.story.last_runs([name]).get(name),
        "last_fires": book.history.last_fires(name, now, FIRE_COUNT),
        "operations": _operations(book, name),
    }  # fmt: skip


def _operations(book: Ledger, name: str) -> list[dict[str, Any]]:
    """Return what people did last; the same by the same person for the same reason, in a row, is one with a count."""
    found = book.history.operations(name, limit=LOOK_BACK)
    alike = [[*group] for _, group in groupby(found, key=lambda each: (each["who"], each["what"], each["reason"]))]
    return [{**group[0], "count": len(group)} for group in alike[:OPERATION_COUNT]]


def _overridden(row: Mapping[str, Any]) -> list[str]:
    """Return how an operator's definition differs from the code's, a line for each difference."""
    from steadybeat.commands.schedules import differences
    from steadybeat.ledger.rows import DEFINED, ScheduleRow
    from steadybeat.ledger.schedules import Change

    if row["source"] == "code" or row["code"] is None:
        return []
    code, own = (ScheduleRow(name=row["name"], **{name: of[name] for name in DEFINED}) for of in (row["code"], row))
    fields = tuple(name for name in DEFINED if getattr(code, name) != getattr(own, name))
    return differences(code, own, Change(row["name"], "changed", fields)) if fields else []


def _facts(found: Mapping[str, Any], shown: Mapping[str, Any], now: datetime) -> list[tuple[str, str]]:
    from steadybeat.schedule.policies import policies_from_json

    return [
        ("schedule", found["name"]),
        ("task", found["task"]),
        ("service", found["service"]),
        ("rule", found["rule"]),
        ("policies", policies_in_words(policies_from_json(found["policies"]))),
        ("arguments", _said(shown["args"])),
        ("keywords", _said(shown["kwargs"])),
        ("options", _said(shown["options"])),
        ("source", _source(shown)),
        ("revision", f"{found['revision']}, since {moment(found['updated_at'])}"),
        ("retired", moment(found["retired_at"])),
        ("paused", _paused(found["paused"])),
        ("failures", f"{found['consecutive_failures']} in a row" if found["consecutive_failures"] else ""),
        ("next", ", ".join(_next(fire, found["paused"], now) for fire in found["next_fires"]) or "none"),
        ("last run", _last(found["last_run"])),
    ]


def _said(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if value else ""


def _source(found: Mapping[str, Any]) -> str:
    if found["source"] == "code":
        return "code"
    if found["code"] is None:
        return "operator; no code defines it"
    return f"operator, instead of the code's: {'; '.join(found['overridden']) or 'the same'}"


def _paused(by: Mapping[str, Any] | None) -> str:
    return "" if by is None else f"by {by['by']} at {moment(by['at'])}: {by['reason']}"


def _next(fire: Mapping[str, Any], is_paused: Any, now: datetime) -> str:
    skipped = ", skipped" if is_paused else ""
    return f"{nominal(fire['scheduled_for'])} ({distance(fire['due_at'], now)}{skipped})"


def _last(run: Mapping[str, Any] | None) -> str:
    return "" if run is None else f"{run['id']} {run['state']}, for {nominal(run['scheduled_for'])}"


_FIRE_COLUMNS = [
    Column(title="fire", value=lambda row: nominal(row["scheduled_for"])),
    Column(title="state", value=lambda row: row["state"]),
    Column(title="asked", value=lambda row: row["asked"] or "", shown_from=110, style="dim"),
    Column(title="run", value=lambda row: row["run_state"] or ""),
    Column(title="run id", value=lambda row: str(row["run"] or ""), shown_from=130, style="dim"),
    Column(title="reason", value=lambda row: row["run_reason"] or row["reason"] or "", tight="cut", style="dim"),
]
_OPERATION_COLUMNS = [
    Column(title="at", value=lambda row: moment(row["at"])),
    Column(title="who", value=lambda row: row["who"]),
    Column(title="what", value=lambda row: row["what"] + (f" ×{row['count']}" if row["count"] > 1 else "")),
    Column(title="why", value=lambda row: row["reason"], tight="wrap"),
]
