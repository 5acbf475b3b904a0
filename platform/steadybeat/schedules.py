"""Schedules at run time: what an application, or a person, changes beside its code.

    steadybeat.schedules.put("customer-42", task="tasks.mail.digest", schedule=cron("0 9 * * *"), args=[42],
                             reason="they have signed up")

What is put here is an operator's: it survives every deploy, until `remove` takes it back. Each change says who made it
and why, and is on record. With ``transaction=`` it becomes a part of the caller's transaction: it happens when that
commits, and if that is rolled back, nothing has happened. Keep such a transaction short, for Beats and workers wait for
it where they meet that schedule: one that is idle for longer than ``steadybeat_ledger_timeout_seconds`` is rolled back.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from celery import current_app

from steadybeat.beat.definitions import definition
from steadybeat.errors import ConfigurationError, did_you_mean
from steadybeat.ledger import Ledger
from steadybeat.ledger.interventions import Edit
from steadybeat.ledger.joining import joined
from steadybeat.ledger.rows import ScheduleRow
from steadybeat.schedule import from_json, run_id
from steadybeat.schedule.policies import POLICIES
from steadybeat.schedule.rule import EPOCH, utc

__all__ = ["MAKE_UP", "Edit", "ScheduleRow", "Triggered", "get", "pause", "put", "remove", "resume", "trigger"]

MOST_PAST_FIRES = 10_000
"""So many fires that were due before can be expected with a new schedule."""

MAKE_UP = ("none", "latest", "all")
"""Which of the fires that a pause skipped can be made up for."""


@dataclass(frozen=True, slots=True)
class Triggered:
    """A fire that somebody asked for.

    Attributes:
        scheduled_for: Its nominal time.
        run: The id of its run.
        is_new: Whether it will be dispatched; if not, it was dispatched before, and nothing is done.
    """

    scheduled_for: datetime
    run: str
    is_new: bool


def get(name: str, *, app: Any = None) -> ScheduleRow | None:
    """Return a schedule as the ledger has it, or None; retired ones count as none.

    Args:
        name: Of the schedule.
        app: The Celery app; the current one unless given.
    """
    found = _ledger(app).story.schedule(name)
    if found is None or found["retired_at"] is not None:
        return None
    return ScheduleRow(**{spec.name: found[spec.name] for spec in fields(ScheduleRow) if spec.name in found})


def put(
    name: str,
    *,
    task: Any,
    schedule: Any,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    reason: str,
    who: str | None = None,
    revision: int | None = None,
    since: datetime | None = None,
    transaction: Any = None,
    app: Any = None,
    **policies: Any,
) -> Edit:
    """Bring in a schedule, or define one anew: what is not given has its default, whatever it was before.

    Fires of the former definition that are to come are superseded. Defining it as it is changes nothing.

    Args:
        name: Of the schedule.
        task: The task that it starts, or its name.
        schedule: When: `cron()`, `every()`, `once()`, …, or whatever ``schedule=`` of a task may be.
        args: Of the task, as JSON can hold them.
        kwargs: Of the task, as JSON can hold them.
        options: Of ``apply_async``, such as ``{"priority": 3}``.
        reason: Why; it is written down.
        who: Who does it; this app and its host unless given.
        revision: That of the schedule when it was looked at; 0: there was none. None: whatever is there.
        since: Fires after this instant are expected; from now on unless given.
        transaction: A SQLAlchemy Connection or Session on the ledger's database, to be a part of its transaction.
        app: The Celery app; the current one unless given.
        **policies: ``jitter``, ``catch_up``, ``overlap`` and the others, as on a task.

    Returns:
        What it did: ``verb`` is ``added``, ``changed`` or ``unchanged``; ``revision`` is the one that holds now.

    Raises:
        ConfigurationError: Names the schedule, the argument, its value and the way out.
        EditConflict: Somebody has changed it since `revision`.
    """
    for given in policies:
        if given not in POLICIES:
            raise ConfigurationError(
                f"schedule {name!r}: there is no policy {given!r}.{did_you_mean(given, POLICIES)}", schedule=name
            )
    found, task = _installed(app), str(getattr(task, "name", task))
    if task not in found.tasks:
        found.loader.import_default_modules()
    written = {"task": task, "schedule": schedule, "args": args, "kwargs": kwargs, "options": options}
    row = definition(found, _named(name), written | policies)
    assert row is not None
    since = None if since is None else _since(utc("since", since), row, now=datetime.now(UTC))
    with_it = _common(who, reason, transaction, found)
    return Ledger.of(found).interventions.put(row, revision=revision, since=since, **with_it)


def pause(
    name: str,
    *,
    reason: str,
    who: str | None = None,
    revision: int | None = None,
    transaction: Any = None,
    app: Any = None,
) -> bool:
    """Have the coming fires of a schedule skipped, on record, until it is resumed.

    Runs that were sent go on, and what is triggered runs.

    Args:
        name: Of the schedule.
        reason: Why; it is written down, and stands with every fire that is skipped.
        who: Who does it; this app and its host unless given.
        revision: That of the schedule when it was looked at. None: whatever is there.
        transaction: A SQLAlchemy Connection or Session on the ledger's database, to be a part of its transaction.
        app: The Celery app; the current one unless given.

    Returns:
        False where it was paused already.

    Raises:
        UnknownSchedule: There is none of that name.
        EditConflict: Somebody has changed it since `revision`.
    """
    found = _installed(app)
    with_it = _common(who, reason, transaction, found)
    return Ledger.of(found).interventions.pause(name, revision=revision, **with_it)


def resume(
    name: str,
    *,
    reason: str,
    make_up: str = "none",
    who: str | None = None,
    revision: int | None = None,
    transaction: Any = None,
    app: Any = None,
) -> list[datetime] | None:
    """Have a paused schedule fire again.

    Args:
        name: Of the schedule.
        reason: Why; it is written down.
        make_up: Of the fires that the pause skipped, ``all`` are made up for, one after the other, the ``latest``, or
            ``none``.
        who: Who does it; this app and its host unless given.
        revision: That of the schedule when it was looked at. None: whatever is there.
        transaction: A SQLAlchemy Connection or Session on the ledger's database, to be a part of its transaction.
        app: The Celery app; the current one unless given.

    Returns:
        The nominal times of the fires that are made up for; None where it was not paused.

    Raises:
        UnknownSchedule: There is none of that name.
        EditConflict: Somebody has changed it since `revision`.
    """
    if make_up not in MAKE_UP:
        words = ", ".join(MAKE_UP)
        raise ConfigurationError(
            f"make_up={make_up!r}: must be one of {words}.{did_you_mean(str(make_up), MAKE_UP)}", name="make_up"
        )
    found = _installed(app)
    with_it = _common(who, reason, transaction, found)
    return Ledger.of(found).interventions.resume(name, make_up=make_up, revision=revision, **with_it)


def remove(
    name: str,
    *,
    reason: str,
    who: str | None = None,
    revision: int | None = None,
    transaction: Any = None,
    app: Any = None,
) -> str:
    """Take back what was put: what the code defines holds again, or the schedule is retired.

    Args:
        name: Of the schedule.
        reason: Why; it is written down.
        who: Who does it; this app and its host unless given.
        revision: That of the schedule when it was looked at. None: whatever is there.
        transaction: A SQLAlchemy Connection or Session on the ledger's database, to be a part of its transaction.
        app: The Celery app; the current one unless given.

    Returns:
        ``restored`` where the code's definition holds again, ``retired`` where there is none. What only the code
        defines is retired too, until its next `schedules apply`.

    Raises:
        UnknownSchedule: There is none of that name.
        EditConflict: Somebody has changed it since `revision`.
    """
    found = _installed(app)
    with_it = _common(who, reason, transaction, found)
    return Ledger.of(found).interventions.remove(name, revision=revision, **with_it)


def trigger(
    name: str,
    *,
    reason: str,
    as_of: datetime | None = None,
    who: str | None = None,
    revision: int | None = None,
    transaction: Any = None,
    app: Any = None,
) -> Triggered:
    """Have a schedule fire now, by its overlap policy, also while it is paused.

    A fire has at most one effect, however often it is asked for.

    Args:
        name: Of the schedule.
        reason: Why; it is written down.
        as_of: The nominal time that the run is told; now, in whole seconds, unless given.
        who: Who does it; this app and its host unless given.
        revision: That of the schedule when it was looked at. None: whatever is there.
        transaction: A SQLAlchemy Connection or Session on the ledger's database, to be a part of its transaction.
        app: The Celery app; the current one unless given.

    Raises:
        UnknownSchedule: There is none of that name.
        EditConflict: Somebody has changed it since `revision`.
        ConfigurationError: `as_of` has no time zone, lies ahead, or before 1970.
    """
    found, now = _installed(app), datetime.now(UTC)
    at = now.replace(microsecond=0) if as_of is None else utc("as_of", as_of)
    if not EPOCH <= at <= now:
        where = "lies ahead: it fires by itself" if at > now else "lies before 1970"
        raise ConfigurationError(f"as_of={at.isoformat()}: {where}; give a time that has passed.", name="as_of")
    with_it = _common(who, reason, transaction, found)
    asked = Ledger.of(found).interventions.ask(name, [at], kind="trigger", revision=revision, **with_it)
    return Triggered(at, run_id(name, at), bool(asked))


def _installed(app: Any) -> Any:
    found = current_app._get_current_object() if app is None else app
    if getattr(found, "steadybeat", None) is None:
        raise ConfigurationError(
            f"app={found.main!r}: has no steadybeat; call steadybeat.install(app), or give the app that has: app=…",
            name="app",
        )
    Ledger.of(found).require_schema_once()
    return found


def _ledger(app: Any) -> Ledger:
    return Ledger.of(_installed(app))


def _since(since: datetime, row: ScheduleRow, now: datetime) -> datetime:
    """Return since when fires are expected, unless that is so long ago that they would crowd out all others."""
    past = sum(1 for _ in islice(from_json(row.spec).between(since, now), MOST_PAST_FIRES + 1))
    if past > MOST_PAST_FIRES:
        raise ConfigurationError(
            f"since={since.isoformat()}: more than {MOST_PAST_FIRES} fires have been due since then; give a later time,"
            " and have others made up for by `schedules backfill`.",
            name="since",
        )
    return since


def _named(name: str) -> str:
    if not isinstance(name, str) or not name.strip():
        raise ConfigurationError(f"name={name!r}: must be the name of a schedule.", name="name")
    return name


def _common(who: str | None, reason: str, transaction: Any, app: Any) -> dict[str, Any]:
    """Return what every change is told: by whom, why, and as a part of which transaction."""
    if not isinstance(reason, str) or not reason.strip():
        raise ConfigurationError(f"reason={reason!r}: must say why.", name="reason")
    timeout_seconds = app.steadybeat.settings.ledger_timeout_seconds
    return {
        "who": who or f"{app.steadybeat.name}@{socket.gethostname()}",
        "reason": reason.strip(),
        "connection": None if transaction is None else joined(transaction, timeout_seconds),
    }
