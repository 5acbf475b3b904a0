"""Asked: which run, schedule and instant a person means, and what the ledger knows about that fire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from steadybeat.commands.consuming import unread
from steadybeat.commands.output import length, moment
from steadybeat.commands.schedules import due_at, unknown_schedule
from steadybeat.commands.why import Answer, Facts, is_fire, neighbours, of_run
from steadybeat.errors import ConfigurationError, did_you_mean
from steadybeat.ledger import Ledger
from steadybeat.schedule import Rule, fire_key, from_json, run_id


def run_of(book: Ledger, value: str) -> dict[str, Any]:
    """Return a run by its whole id.

    Raises:
        ConfigurationError: It is no id, or nobody has it.
    """
    wanted = id_given(value)
    found = book.story.run(wanted)
    if found is None:
        days = length(timedelta(seconds=book.settings.retention_seconds))
        raise ConfigurationError(
            f"RUN={wanted}: no such run is on record; runs that ended well are kept for {days}."
            " `celery -A … runs list` shows the newest.",
            run=wanted,
        )
    return found


def id_given(value: str, name: str = "RUN") -> str:
    """Return the id of a run as it is on record.

    Args:
        value: What a person gave.
        name: The argument that it was given for.

    Raises:
        ConfigurationError: It is none.
    """
    try:
        return str(UUID(value))
    except ValueError:
        raise ConfigurationError(
            f"{name}={value!r}: must be the whole id of a run, a UUID; `celery -A … runs list` shows them.", run=value
        ) from None


def schedule_of(book: Ledger, name: str) -> dict[str, Any]:
    """Return a schedule by its name.

    Raises:
        ConfigurationError: Nobody has it; names the nearest.
    """
    found = book.story.schedule(name)
    if found is None:
        raise unknown_schedule(name, [row.name for row in book.schedules.all()])
    return found


def present(book: Ledger, name: str) -> dict[str, Any]:
    """Return a schedule by its name, unless it is retired.

    Raises:
        ConfigurationError: Nobody has it, or it is retired; names the way out.
    """
    found = schedule_of(book, name)
    if found["retired_at"] is not None:
        raise ConfigurationError(
            f"schedule {name!r}: was retired at {moment(found['retired_at'])}; `schedules add` or `schedules apply`"
            " brings it back.",
            schedule=name,
        )
    return found


def must_be_known(app: Any, book: Ledger, *, task: str | None, service: str | None) -> None:
    """Refuse a task or a service that this program has not, that no schedule has, and that never had a run.

    Raises:
        ConfigurationError: Names the nearest.
    """
    app.loader.import_default_modules()
    rows = book.schedules.all()
    tasks = {*(row.task for row in rows), *(name for name in app.tasks if not name.startswith("celery."))}
    services = {*(row.service for row in rows), *app.steadybeat.own_services(), *app.steadybeat.settings.services}
    for option, name, known in (("task", task, tasks), ("service", service, services)):
        if name is not None and name not in known and not book.story.runs(**{option: name}, limit=1):
            near = did_you_mean(name, known) or f" Known are: {', '.join(sorted(known))}."
            raise ConfigurationError(f"--{option} {name!r}: there is no such {option}.{near}", name=option)


def chosen(book: Ledger, runs: Sequence[str], wanted: Mapping[str, Any]) -> list[str]:
    """Return the ids of the runs that a person means, by their ids or by what they have in common.

    Raises:
        ConfigurationError: Neither is given, or both; or there is no run of such an id.
    """
    if bool(runs) == bool(wanted):
        raise ConfigurationError(
            "Name runs by their ids, or by --task, --service, --schedule, --state, --tenant, --fan-out, --key, --since,"
            " --until or --error, not both."
        )
    if runs:
        return [str(run_of(book, run)["id"]) for run in runs]
    return book.cancelling.open_runs(**wanted)


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
    doubt = unread(book, run["queue"]) if run is not None and run["state"] == "enqueued" else ""
    rule = from_json(row["spec"])
    beats = [instance for instance in book.live_instances() if instance.role == "beat"]
    return Facts(
        schedule=row,
        rule=rule,
        at=at,
        now=now,
        fire=fire,
        run=run,
        reruns=_reruns(book, run) if run else (),
        key=story.processed_key(run["task"] if run else row["task"], key),
        horizon=timedelta(seconds=book.settings.horizon_seconds),
        retention=timedelta(seconds=book.settings.retention_seconds),
        beat_count=len(beats),
        on_record=() if fire or is_fire(rule, at) else story.around(name, at),
        doubt=doubt,
    )


def why_run(book: Ledger, run: Mapping[str, Any], now: datetime) -> Answer:
    """Return what became of a run that is no fire's.

    Args:
        book: The ledger.
        run: As `run_of` finds it.
        now: Aware.
    """
    doubt = unread(book, run["queue"]) if run["state"] == "enqueued" else ""
    key = book.story.processed_key(run["task"], run["idempotency_key"])
    return of_run(run, _reruns(book, run), key, now, doubt=doubt)


def is_id(value: str) -> bool:
    """Return whether something is the id of a run, and so no schedule's name."""
    try:
        UUID(value)
    except ValueError:
        return False
    return True


def _reruns(book: Ledger, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for each in run["reruns"]:
        child = book.story.run(str(each["id"]))
        if child is not None:
            found += [child, *_reruns(book, child)]
    return found


def instant_of(text: str, row: Mapping[str, Any], now: datetime) -> datetime:
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
