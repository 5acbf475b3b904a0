"""Definitions: the schedules that the code of an app defines, on its tasks and in `beat_schedule`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from steadybeat.errors import ConfigurationError, did_you_mean
from steadybeat.ledger.rows import ScheduleRow
from steadybeat.schedule import as_rule

CATCH_UP = ("latest", "all", "none")
OVERLAP = ("skip", "allow")
POLICIES = ("jitter", "catch_up", "catch_up_window", "overlap")
_ENTRY_KEYS = ("task", "schedule", "args", "kwargs", "options", *POLICIES)


def definitions(app: Any) -> list[ScheduleRow]:
    """Return every schedule that an app's code defines, by name.

    Raises:
        ConfigurationError: Names the schedule, the option, its value and the way out.
    """
    found: dict[str, ScheduleRow] = {}
    for row in (*_of_tasks(app), *_of_beat_schedule(app)):
        if row.name in found:
            raise ConfigurationError(
                f"schedule {row.name!r}: is defined twice, for {found[row.name].task} and for {row.task};"
                " give one of them another name.",
                schedule=row.name,
            )
        found[row.name] = row
    return [found[name] for name in sorted(found)]


def _of_tasks(app: Any) -> Iterator[ScheduleRow]:
    for name, task in sorted(app.tasks.items()):
        if name.startswith("celery."):
            continue
        schedules = dict(getattr(task, "schedules", None) or {})
        rules = {f"{name}:{part}": rule for part, rule in schedules.items()}
        if getattr(task, "schedule", None) is not None:
            rules[name] = task.schedule
        policies = {policy: getattr(task, policy, None) for policy in POLICIES}
        for schedule, rule in rules.items():
            yield _row(app, schedule, {"task": name, "schedule": rule, **policies})


def _of_beat_schedule(app: Any) -> Iterator[ScheduleRow]:
    for name, entry in app.conf.beat_schedule.items():
        for key in entry:
            if key not in _ENTRY_KEYS:
                raise ConfigurationError(
                    f"beat_schedule[{name!r}]: has no option {key!r}.{did_you_mean(key, _ENTRY_KEYS)}", option=key
                )
        for key in ("task", "schedule"):
            if key not in entry:
                raise ConfigurationError(f"beat_schedule[{name!r}]: lacks {key!r}.", option=key)
        yield _row(app, name, entry)


def _row(app: Any, name: str, entry: Mapping[str, Any]) -> ScheduleRow:
    task = entry["task"]
    service = app.steadybeat.service(task)
    if task not in app.tasks and service not in app.steadybeat.settings.services:
        raise ConfigurationError(
            f"schedule {name!r}: there is no task {task!r}.{did_you_mean(task, app.tasks)}"
            " A service whose tasks this program does not import is named in steadybeat_services.",
            task=task,
        )
    try:
        rule = as_rule(entry["schedule"], tz=str(app.timezone))
    except ConfigurationError as error:
        raise type(error)(f"schedule {name!r}: {error}", **error.facts) from error
    return ScheduleRow(
        name=name,
        task=task,
        service=service,
        spec=rule.to_json(),
        policies=_policies(name, entry),
        args=_json(name, "args", list(entry.get("args") or ())),
        kwargs=_json(name, "kwargs", dict(entry.get("kwargs") or {})),
        options=_json(name, "options", dict(entry.get("options") or {})),
    )


def _policies(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "jitter_seconds": _seconds(name, "jitter", entry.get("jitter"), timedelta()),
        "catch_up": _word(name, "catch_up", entry.get("catch_up"), CATCH_UP),
        "catch_up_window_seconds": _seconds(name, "catch_up_window", entry.get("catch_up_window"), timedelta(hours=1)),
        "overlap": _word(name, "overlap", entry.get("overlap"), OVERLAP),
    }


def _seconds(name: str, policy: str, value: Any, default: timedelta) -> float:
    value = default if value is None else value
    if not isinstance(value, timedelta) or value < timedelta():
        raise ConfigurationError(
            f"schedule {name!r}: {policy}={value!r}: must be a timedelta of zero or more,"
            " such as timedelta(minutes=1).",
            option=policy,
            value=value,
        )
    return value.total_seconds()


def _word(name: str, policy: str, value: Any, words: tuple[str, ...]) -> str:
    value = words[0] if value is None else value
    if value not in words:
        raise ConfigurationError(
            f"schedule {name!r}: {policy}={value!r}: must be one of {', '.join(words)}."
            f"{did_you_mean(str(value), words)}",
            option=policy,
            value=value,
        )
    return str(value)


def _json(name: str, option: str, value: Any) -> Any:
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"schedule {name!r}: {option}={value!r}: must be JSON ({error}); pass ids and plain values instead.",
            option=option,
        ) from error
