"""Definitions: the schedules that the code of an app defines, on its tasks and in `beat_schedule`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from celery.beat import BeatLazyFunc

from steadybeat.errors import ConfigurationError, did_you_mean
from steadybeat.ledger.connection import storable
from steadybeat.ledger.rows import ScheduleRow
from steadybeat.schedule import as_rule
from steadybeat.schedule.policies import POLICIES, policies

LONGEST_NAME = 200
_ENTRY_KEYS = ("task", "schedule", "args", "kwargs", "options", "relative", "enabled", *POLICIES)
_KEPT_BY_BEAT = ("app", "name", "last_run_at", "total_run_count")


def definitions(app: Any) -> list[ScheduleRow]:
    """Return every schedule that an app's code defines, by name; entries with ``enabled=False`` are not defined.

    Raises:
        ConfigurationError: Names the schedule, the option, its value and the way out.
    """
    found: dict[str, ScheduleRow] = {}
    for name, written in entries(app):
        row = definition(app, name, written)
        if row is None:
            continue
        if name in found:
            raise ConfigurationError(
                f"schedule {name!r}: is defined twice, for {found[name].task} and for {row.task};"
                " give one of them another name.",
                schedule=name,
            )
        found[name] = row
    return [found[name] for name in sorted(found)]


def entries(app: Any) -> Iterator[tuple[str, Any]]:
    """Yield what an app's code says of each schedule, by name: of its tasks, and of `beat_schedule`."""
    for task_name, task in sorted(app.tasks.items()):
        if task_name.startswith("celery."):
            continue
        several = {f"{task_name}:{part}": rule for part, rule in (getattr(task, "schedules", None) or {}).items()}
        if getattr(task, "schedule", None) is not None:
            several[task_name] = task.schedule
        of_task = {policy: getattr(task, policy, None) for policy in POLICIES}
        for name, written in several.items():
            own = written if isinstance(written, Mapping) else {"schedule": written}
            yield name, {**of_task, **own, "task": task_name}
    yield from app.conf.beat_schedule.items()


def definition(app: Any, name: str, written: Any) -> ScheduleRow | None:
    """Return the schedule that an entry of `beat_schedule` means, or None if it is not enabled.

    Args:
        app: The Celery app.
        name: Of the schedule.
        written: A mapping as Celery documents it, with the policies of a schedule beside it, or a `ScheduleEntry`.

    Raises:
        ConfigurationError: Names the schedule, the option, its value and the way out.
    """
    _check_name(name)
    entry = _entry(name, written)
    if not entry.pop("enabled", True):
        return None
    task = entry["task"]
    service = app.steadybeat.service(task)
    if task not in app.tasks and service not in app.steadybeat.settings.services:
        raise ConfigurationError(
            f"schedule {name!r}: there is no task {task!r}.{did_you_mean(task, app.tasks)}"
            " A service whose tasks this program does not import is named in steadybeat_services.",
            task=task,
        )
    options = _json(name, "options", dict(entry.get("options") or {}))
    try:
        rule = as_rule(entry["schedule"], tz=time_zone(app)).named(name)
        rules = policies(entry)
        _check_options(app, options)
    except ConfigurationError as error:
        raise type(error)(f"schedule {name!r}: {error}", **error.facts) from error
    return ScheduleRow(
        name=name,
        task=task,
        service=service,
        spec=rule.to_json(),
        policies=rules.to_json(),
        args=_json(name, "args", _listed(entry.get("args"))),
        kwargs=_json(name, "kwargs", dict(entry.get("kwargs") or {})),
        options=options,
    )


def time_zone(app: Any) -> str:
    """Return the name of an app's time zone, by which its crontabs are read.

    Raises:
        ConfigurationError: It has none that means the same on every machine.
    """
    if not app.conf.timezone and not app.conf.enable_utc:
        raise ConfigurationError(
            "timezone=None: with enable_utc=False a crontab would follow the machine that Beat is on; name a time zone,"
            " such as timezone='Europe/Riga'.",
            name="timezone",
        )
    return str(app.timezone)


def _entry(name: str, written: Any) -> dict[str, Any]:
    """Return an entry as a mapping, without what Beat notes in it."""
    try:
        entry = {key: value for key, value in dict(written).items() if key not in _KEPT_BY_BEAT}
    except (TypeError, ValueError):
        allowed = "must be a dict such as {'task': …, 'schedule': …}"
        raise ConfigurationError(f"beat_schedule[{name!r}]={written!r}: {allowed}.", name=name) from None
    for key in entry:
        if key not in _ENTRY_KEYS:
            nearest = did_you_mean(key, _ENTRY_KEYS)
            raise ConfigurationError(f"beat_schedule[{name!r}]: has no option {key!r}.{nearest}", option=key)
    for key in ("task", "schedule"):
        if entry.get(key) is None:
            raise ConfigurationError(f"beat_schedule[{name!r}]: lacks {key!r}.", option=key)
    return entry


def _check_options(app: Any, options: Mapping[str, Any]) -> None:
    """Refuse options with which no fire could be sent."""
    if isinstance(options.get("queue"), str):
        app.amqp.router.expand_destination(options["queue"])
    if options.get("serializer", "json") != "json":
        raise ConfigurationError(
            f"serializer={options['serializer']!r}: must be json: the ledger keeps messages as text.", name="serializer"
        )


def _listed(args: Any) -> Any:
    return args if isinstance(args, str | bytes) else list(args or ())


def _check_name(name: str) -> None:
    if len(name) > LONGEST_NAME or not name.isprintable():
        shown = name if len(name) <= LONGEST_NAME else f"{name[:40]}…"
        raise ConfigurationError(
            f"schedule {shown!r}: its name must be {LONGEST_NAME} printable characters at the most.", schedule=name
        )


def _json(name: str, option: str, value: Any) -> Any:
    if isinstance(value, str | bytes):
        raise ConfigurationError(f"schedule {name!r}: {option}={value!r}: must be a list.", option=option)
    parts = value.values() if isinstance(value, dict) else value
    if any(isinstance(part, BeatLazyFunc) for part in parts):
        raise ConfigurationError(
            f"schedule {name!r}: {option}={value!r}: a BeatLazyFunc is asked by Beat at each fire, and Beat only knows"
            " the ledger; let the task compute it, from self.scheduled_for if it is about the time.",
            option=option,
        )
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"schedule {name!r}: {option}={value!r}: must be JSON ({error}); pass ids and plain values instead.",
            option=option,
        ) from error
    if "\\u0000" in text or storable(text) != text:
        raise ConfigurationError(
            f"schedule {name!r}: {option}={value!r}: holds a NUL or half of a pair of surrogates, which Postgres cannot"
            " store.",
            option=option,
        )
    return json.loads(text)
