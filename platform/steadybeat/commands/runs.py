"""`celery -A … runs`: what ran, why a fire had no effect, and running it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import click

from steadybeat.commands import rerun as again_
from steadybeat.commands.installed import installed
from steadybeat.commands.output import Column, Output, json_option, length, moment, nominal
from steadybeat.commands.output import as_json as plain
from steadybeat.commands.schedules import due_at, unknown_schedule
from steadybeat.commands.why import Answer, Facts, answer, headline, neighbours, where
from steadybeat.errors import ConfigurationError
from steadybeat.ledger import Ledger
from steadybeat.ledger.tables import RUN_STATES
from steadybeat.schedule import Rule, fire_key, from_json, run_id
from steadybeat.telemetry.redaction import redact, redact_text


@click.group()
def runs() -> None:
    """Runs: what ran, what became of a fire, and running it again."""


@runs.command("list", epilog="Example: celery -A tasks runs list --service royalties --state dead")
@click.option("--task", help="Only runs of this task.")
@click.option("--service", help="Only runs of this service's tasks.")
@click.option("--schedule", help="Only runs of this schedule's fires.")
@click.option("--state", type=click.Choice(RUN_STATES), help="Only runs in this state.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many.")
@json_option
@click.pass_context
def list_(
    ctx: click.Context,
    task: str | None,
    service: str | None,
    schedule: str | None,
    state: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List runs, those that were sent last first.

    \b
    --json: [{"id", "task", "service", "state", "reason", "schedule", "scheduled_for", "attempt_count",
              "enqueued_at", "started_at", "finished_at", "error"}]
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    book = Ledger.of(installed(ctx))
    if schedule is not None:
        _schedule(book, schedule)
    found = book.story.runs(task=task, service=service, schedule=schedule, state=state, limit=limit)
    out = Output(ctx)
    if as_json:
        out.json(redact(plain(found)))
    elif found:
        out.table(_LIST_COLUMNS, found)
    else:
        out.say("No such runs." if any((task, service, schedule, state)) else "No runs yet.")


def _took(row: Mapping[str, Any]) -> str:
    ended = row["started_at"] and row["finished_at"]
    return length(row["finished_at"] - row["started_at"]) if ended else ""


_LIST_COLUMNS = [
    Column(title="run", value=lambda row: str(row["id"])),
    Column(title="task", value=lambda row: row["task"]),
    Column(title="state", value=lambda row: row["state"]),
    Column(title="fire", value=lambda row: nominal(row["scheduled_for"]), shown_from=100),
    Column(title="sent", value=lambda row: moment(row["enqueued_at"]), shown_from=130, style="dim"),
    Column(title="took", value=_took, right=True, shown_from=112),
    Column(title="attempts", value=lambda row: str(row["attempt_count"]), right=True, shown_from=150),
    Column(
        title="reason", value=lambda row: redact_text(row["reason"] or ""), shown_from=140, tight="cut", style="dim"
    ),
]  # fmt: skip


@runs.command(epilog="Example: celery -A tasks runs show 019a1b7e-6c00-8d2f-9a3b-0c1d2e3f4a5b")
@click.argument("run")
@json_option
@click.pass_context
def show(ctx: click.Context, run: str, as_json: bool) -> None:
    """Show everything about one run.

    That is its message, its attempts, and its last error with the stack; secrets in them are hidden. RUN is its
    whole id, as `runs list` shows it.

    \b
    --json: every column of the run, "args", "kwargs", "embed", "key": {"state", "run", "changed_at"} or null,
            "attempts": [{"number", "instance", "host", "pid", "started_at", "finished_at", "outcome", "error"}],
            "reruns": [{"id", "state"}]
    """  # noqa: D301
    book = Ledger.of(installed(ctx))
    found = _run(book, run)
    args, kwargs, embed = again_.body_of(found)
    found |= {"args": args, "kwargs": kwargs, "embed": embed}
    found["key"] = book.story.processed_key(found["task"], found["idempotency_key"])
    del found["body"]
    shown = redact(plain(found), levels=12)
    out = Output(ctx)
    if as_json:
        out.json(shown)
        return
    out.facts(_facts(found, shown))
    if found["attempts"]:
        out.say("")
        out.table(_ATTEMPT_COLUMNS, found["attempts"])
    errors = [attempt["error"] for attempt in shown["attempts"] if attempt["error"]]
    error = shown["error"] or (errors[-1] if errors else None)
    if error:
        out.block("last error", error)


_ATTEMPT_COLUMNS = [
    Column(title="attempt", value=lambda row: str(row["number"]), right=True),
    Column(title="outcome", value=lambda row: row["outcome"] or "running"),
    Column(title="started", value=lambda row: moment(row["started_at"])),
    Column(title="took", value=_took, right=True),
    Column(title="instance", value=lambda row: where(row).removeprefix(" on ") or str(row["instance"]), style="dim"),
    Column(title="error", value=lambda row: redact_text(headline(row["error"])), tight="cut"),
]


def _facts(run: Mapping[str, Any], shown: Mapping[str, Any]) -> list[tuple[str, str]]:
    key = run["key"]
    done = key is not None and key["state"] == "done"
    delivered = [("delivery", "delivery_no"), ("retries", "retry_count"), ("crashes", "crash_count")]
    delivered.append(("rescues", "rescue_count"))
    return [
        ("run", str(run["id"])),
        ("task", run["task"]),
        ("state", run["state"] + (f": {shown['reason']}" if run["reason"] else "")),
        ("effect", f"happened at {moment(key['changed_at'])} in run {key['run']}" if done else ""),
        ("fire", f"{run['schedule']} at {nominal(run['scheduled_for'])}" if run["schedule"] else ""),
        ("arguments", json.dumps(shown["args"], ensure_ascii=False) if run["args"] else ""),
        ("keywords", json.dumps(shown["kwargs"], ensure_ascii=False) if run["kwargs"] else ""),
        ("key", shown["idempotency_key"]),
        ("queue", run["queue"] + (f", priority {run['priority']}" if run["priority"] is not None else "")),
        ("sent", moment(run["enqueued_at"])),
        ("not before", moment(run["not_before"])),
        ("deadline", moment(run["deadline"])),
        ("started", moment(run["started_at"])),
        ("finished", moment(run["finished_at"]) + (f", after {_took(run)}" if _took(run) else "")),
        ("counts", ", ".join(f"{name} {run[column]}" for name, column in delivered)),
        ("parent", str(run["parent_id"] or "")),
        ("rerun of", str(run["rerun_of"] or "")),
        ("reruns", ", ".join(f"{each['id']} ({each['state']})" for each in run["reruns"])),
        ("correlation", run["correlation_id"] or ""),
        ("result", json.dumps(shown["result"], ensure_ascii=False) if run["result"] is not None else ""),
    ]


@runs.command(epilog="Example: celery -A tasks runs why tasks.royalties.settle 2026-11-22T06:00:00Z")
@click.argument("schedule")
@click.argument("at", nargs=-1, required=True)
@json_option
@click.pass_context
def why(ctx: click.Context, schedule: str, at: tuple[str, ...], as_json: bool) -> None:
    """Say what became of a fire, past or future.

    It is the fire of SCHEDULE at the instant AT: its nominal time with a time zone, such as 2026-11-22T06:00:00Z;
    or `now`, the fire whose nominal time came last; `last`, the one that was due last; `next`, the one that comes
    next.

    Exits with 1 if the fire has no effect and, as things stand, gets none.

    \b
    --json: {"schedule": text, "at": instant, "verdict": text, "effect": bool, "effect_at": instant or null,
             "due_at": instant or null, "sentences": [text, …], "nearest": [instant, …],
             "fire": {…} or null, "run": {…} or null}
    """  # noqa: D301
    book = Ledger.of(installed(ctx))
    row = _schedule(book, schedule)
    now = datetime.now(UTC)
    instant = _instant(" ".join(at), row, now)
    facts = gather(book, row, instant, now)
    found = answer(facts)
    out = Output(ctx)
    if as_json:
        document = {
            "schedule": schedule,
            "at": instant,
            "verdict": found.verdict,
            "effect": found.effect_at is not None,
            "effect_at": found.effect_at,
            "due_at": found.due_at,
            "sentences": found.sentences,
            "nearest": found.nearest,
            "fire": facts.fire,
            "run": facts.run and {name: value for name, value in facts.run.items() if name not in ("body", "message")},
        }
        out.json(redact(plain(document), levels=12))
    else:
        _say(out, schedule, instant, found)
    ctx.exit(1 if found.is_finding else 0)


def _say(out: Output, schedule: str, at: datetime, found: Answer) -> None:
    out.say(f"{schedule} at {nominal(at)}: {found.verdict}", "bold red" if found.is_finding else "bold")
    for sentence in found.sentences:
        out.say(redact_text(sentence))


def gather(book: Ledger, row: Mapping[str, Any], at: datetime, now: datetime) -> Facts:
    """Return what the ledger knows about the fire of a schedule at an instant.

    Args:
        book: The ledger.
        row: The schedule.
        at: The nominal time.
        now: Aware.
    """
    story, name = book.story, row["name"]
    fire = story.fire(name, at)
    run = story.run(str((fire and fire["run_id"]) or run_id(name, at)))
    key = run["idempotency_key"] if run else fire_key(name, at)
    beats = [instance for instance in book.live_instances() if instance.role == "beat"]
    return Facts(
        schedule=row,
        rule=from_json(row["spec"]),
        at=at,
        now=now,
        fire=fire,
        run=run,
        reruns=_reruns(book, run) if run else (),
        key=story.processed_key(run["task"] if run else row["task"], key),
        horizon=timedelta(seconds=book.settings.horizon_seconds),
        retention=timedelta(seconds=book.settings.retention_seconds),
        beat_count=len(beats),
    )


def _reruns(book: Ledger, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for each in run["reruns"]:
        child = book.story.run(str(each["id"]))
        if child is not None:
            found += [child, *_reruns(book, child)]
    return found


def _instant(text: str, row: Mapping[str, Any], now: datetime) -> datetime:
    """Return the instant that AT means.

    Raises:
        ConfigurationError: Names the value and the way out.
    """
    rule = from_json(row["spec"])
    if text in ("now", "last", "next"):
        end = min(now, row["retired_at"] or now)
        found = rule.next_after(end) if text == "next" else _latest(row, rule, end, by_due_time=text == "last")
        if found is None:
            raise ConfigurationError(f"AT={text!r}: the schedule has no such fire.", at=text)
        return found
    try:
        at = datetime.fromisoformat(text)
        aware = at.utcoffset() is not None
        year = at.astimezone(UTC).year if aware else at.year
    except (ValueError, OverflowError):
        year, aware, at = 0, True, now
    if not 1970 <= year < 9999:
        example = f"{now:%Y-%m-%dT%H}:00Z"
        raise ConfigurationError(f"AT={text!r}: must be an instant such as {example}, or now, last or next.", at=text)
    if not aware:
        raise ConfigurationError(
            f"AT={text!r}: has no time zone; for UTC write {at.isoformat()}Z.", at=text
        )  # fmt: skip
    return at.astimezone(UTC)


def _latest(row: Mapping[str, Any], rule: Rule, end: datetime, *, by_due_time: bool) -> datetime | None:
    """Return the last fire up to an instant, by its nominal time or by the time when it is due."""
    at, _ = neighbours(rule, end + timedelta(microseconds=1))
    while by_due_time and at is not None and due_at(row["name"], at, row["policies"], rule) > end:
        at, _ = neighbours(rule, at)
    return at


@runs.command(epilog="Example: celery -A tasks runs rerun 019a1b7e-6c00-8d2f-9a3b-0c1d2e3f4a5b --reason 'bank is back'")
@click.argument("run")
@click.option("--reason", required=True, help="Why; it is written down with your name.")
@click.option("--again", is_flag=True, help="Also if the effect has happened: let it happen a second time.")
@click.option("--force", is_flag=True, help="With --again: also if the task is critical.")
@json_option
@click.pass_context
def rerun(ctx: click.Context, run: str, reason: str, again: bool, force: bool, as_json: bool) -> None:
    """Run again what has ended.

    A new run is made of the old RUN, with its arguments, its queue and what follows it. It has the old one's
    idempotency key, so that an effect that has happened does not happen again.

    Exits with 1 if the old run, or another for the same key, has not ended.

    \b
    --json: {"verdict": "sent" | "done" | "open", "text": text, "run": id or null, "rerun_of": id,
             "idempotency_key": text, "effect_at": instant or null, "effect_run": id or null}
    """  # noqa: D301
    if not reason.strip():
        raise ConfigurationError("--reason='': must say why, such as --reason 'the bank is back'.")
    app = installed(ctx, tasks=True)
    story = Ledger.of(app).story
    old = _run(Ledger.of(app), run)
    again_.check_task(app, old, again=again, force=force)
    found, new, key = again_.standing(story, old, again=again), None, old["idempotency_key"]
    if found is None:
        key = again_.key_of(story, old, again=again)
        new = again_.send(app, old, key=key, reason=reason.strip())
        found = again_.Standing("sent", f"Run {new} is on its way to queue {old['queue']}.")
    out = Output(ctx)
    if as_json:
        out.json({
            "verdict": found.verdict,
            "text": found.text,
            "run": new,
            "rerun_of": old["id"],
            "idempotency_key": key,
            "effect_at": found.effect_at,
            "effect_run": found.effect_run,
        })  # fmt: skip
    else:
        out.say(found.text, {"sent": "green", "open": "yellow"}.get(found.verdict, ""))
    ctx.exit(1 if found.verdict == "open" else 0)


def _run(book: Ledger, value: str) -> dict[str, Any]:
    """Return a run by its whole id.

    Raises:
        ConfigurationError: It is no id, or nobody has it.
    """
    try:
        wanted = str(UUID(value))
    except ValueError:
        raise ConfigurationError(
            f"RUN={value!r}: must be the whole id of a run, a UUID; `celery -A … runs list` shows them.", run=value
        ) from None
    found = book.story.run(wanted)
    if found is None:
        days = length(timedelta(seconds=book.settings.retention_seconds))
        raise ConfigurationError(
            f"RUN={wanted}: no such run is on record; runs that ended well are kept for {days}."
            " `celery -A … runs list` shows the newest.",
            run=wanted,
        )
    return found


def _schedule(book: Ledger, name: str) -> dict[str, Any]:
    found = book.story.schedule(name)
    if found is None:
        raise unknown_schedule(name, [row.name for row in book.schedules.all()])
    return found
