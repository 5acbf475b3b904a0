"""Rules in other forms: JSON, Celery's own schedules, and whatever a `schedule` option may hold."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from celery import schedules as celery_schedules

from steadybeat.errors import did_you_mean
from steadybeat.schedule.interval import Every, every
from steadybeat.schedule.rule import Rule, refused
from steadybeat.schedule.wallclock import FIELDS, Cron, Field, cron


def from_json(data: Mapping[str, Any]) -> Rule:
    """Return the rule that `Rule.to_json` wrote.

    Raises:
        ScheduleError: The type is unknown, a key is missing or unknown, or a value is wrong.
    """
    kind = data.get("type") if isinstance(data, Mapping) else None
    if kind == "cron":
        _check_keys(data, required=("expression", "tz"))
        return cron(data["expression"], tz=data["tz"])
    if kind == "every":
        _check_keys(data, required=("seconds",), optional=("microseconds", "anchor"))
        anchor = data.get("anchor")
        try:
            interval = timedelta(seconds=data["seconds"], microseconds=data.get("microseconds", 0))
            since = None if anchor is None else datetime.fromisoformat(anchor)
        except (TypeError, ValueError, OverflowError) as error:
            allowed = "seconds must be a number, anchor null or a time such as '2026-01-01T00:00:00Z'."
            raise refused("rule", data, allowed) from error
        return every(interval, anchor=since)
    raise refused("rule", data, "type must be 'cron' or 'every'.")


def as_rule(value: object, tz: str = "UTC") -> Rule:
    """Return the rule that a `schedule` option means.

    Args:
        value: A rule, a timedelta, a number of seconds, or Celery's crontab or schedule.
        tz: Time zone of a crontab, which has none of its own: that of the Celery app.

    Raises:
        ScheduleError: It is something else, or not allowed.
    """
    if isinstance(value, Rule):
        return value
    if isinstance(value, celery_schedules.BaseSchedule):
        return from_celery(value, tz)
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return every(timedelta(seconds=value))
        except (ValueError, OverflowError) as error:
            raise refused("schedule", value, "must be one second or more.") from error
    if isinstance(value, timedelta):
        return every(value)
    way_out = "write cron(…), every(…), a timedelta or a number of seconds."
    raise refused("schedule", value, f"a {type(value).__name__} is no schedule; {way_out}")


def from_celery(obj: Any, tz: str) -> Rule:
    """Return the rule that Celery's crontab or schedule means.

    Args:
        obj: `celery.schedules.crontab` or `celery.schedules.schedule`.
        tz: Time zone of a crontab, which has none of its own: that of the Celery app.

    Raises:
        ScheduleError: It is another type, or a crontab that restricts both day fields: Celery wants both to fit
            where cron wants either.
    """
    if type(obj) is celery_schedules.schedule:
        return every(obj.run_every)
    if type(obj) is not celery_schedules.crontab:
        way_out = "write cron(…) or every(…)"
        raise refused("schedule", obj, f"a {type(obj).__name__} is not supported; {way_out}.")
    parts = [_from_celery(field, obj) for field in FIELDS]
    if not parts[2].startswith("*") and not parts[4].startswith("*"):
        way_out = "write cron('…') with the days that you mean"
        raise refused("schedule", obj, f"Celery wants both day fields to fit, cron wants either; {way_out}.")
    return cron(" ".join(parts), tz=tz)


def to_celery(rule: Rule, *, tz: str = "UTC") -> celery_schedules.BaseSchedule | None:
    """Return what RedBeat's tools can be shown of a rule: a crontab or a schedule.

    It is a likeness. A crontab treats the days when the clocks change in its own way, and a schedule has no
    anchor.

    Args:
        rule: Any rule.
        tz: Time zone of the Celery app that reads it, since a crontab has none of its own.

    Returns:
        None where Celery has no words for the rule: another time zone than `tz`, ``L`` or ``#``, or both day
        fields restricted.
    """
    if isinstance(rule, Every):
        return celery_schedules.schedule(rule.interval)
    if not isinstance(rule, Cron) or rule.tz != tz:
        return None
    parts = rule.expression.split()
    if not parts[2].startswith("*") and not parts[4].startswith("*"):
        return None
    texts = [_to_celery(field, part) for field, part in zip(FIELDS, parts, strict=True)]
    if None in texts:
        return None
    return celery_schedules.crontab(**dict(zip((field.celery for field in FIELDS), texts, strict=True)))


def _from_celery(field: Field, crontab: Any) -> str:
    """Return a crontab's field as cron writes it; what the two read differently becomes a list of numbers."""
    wanted = set(getattr(crontab, field.celery))
    if len(wanted) == field.count:
        return "*"
    written = getattr(crontab, f"_orig_{field.celery}")
    if isinstance(written, str) and " " not in written and field.numbers(written.upper()) == wanted:
        return written
    return ",".join(str(number) for number in sorted(wanted))


def _to_celery(field: Field, written: str) -> str | None:
    """Return a field as Celery writes it, or None where it has no words for it."""
    wanted = field.numbers(written)
    if wanted is None or not all(isinstance(number, int) for number in wanted):
        return None
    try:
        read = celery_schedules.crontab_parser(field.count, field.low).parse(written)
    except (ValueError, celery_schedules.ParseException):
        read = None
    return written if read == wanted else ",".join(str(number) for number in sorted(wanted))


def _check_keys(data: Mapping[str, Any], *, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
    for key in required:
        if key not in data:
            raise refused("rule", data, f"{key!r} is missing.")
    known = ("type", *required, *optional)
    for key in data:
        if key not in known:
            raise refused("rule", data, f"{key!r} is not known.{did_you_mean(key, known)}")
