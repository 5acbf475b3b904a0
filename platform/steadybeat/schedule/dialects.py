"""Rules in other forms: Celery's own schedules, and whatever a `schedule` option may hold."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from celery import schedules as celery_schedules
from dateutil.rrule import rrule as dateutil_rrule

from steadybeat.schedule.fields import FIELDS, Field, both_days_restricted
from steadybeat.schedule.interval import Every, every
from steadybeat.schedule.moment import once
from steadybeat.schedule.recurrence import of_dateutil
from steadybeat.schedule.rule import SECOND, Rule, refused
from steadybeat.schedule.wallclock import Cron, make

_NOT_TAKEN = {
    "solar": "the sun keeps no rule of the clock, and Celery finds its times by asking what time it is now; write"
    " every(timedelta(minutes=5)) and let the task look whether it is time",
    "clocked": "it has no clocked_time; write once(datetime(…, tzinfo=timezone.utc))",
}


def as_rule(value: object, tz: str = "UTC") -> Rule:
    """Return the rule that a `schedule` option means.

    Args:
        value: A rule, a timedelta, a number of seconds, an aware datetime (due once), Celery's crontab or schedule,
            RedBeat's rrule, or django-celery-beat's clocked.
        tz: Time zone of a crontab, which has none of its own: that of the Celery app.

    Raises:
        ScheduleError: It is something else, or not allowed.
    """
    if isinstance(value, Rule):
        return value
    if isinstance(value, celery_schedules.BaseSchedule):
        return from_celery(value, tz)
    if isinstance(value, datetime):
        return once(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            value = timedelta(seconds=value)
        except (ValueError, OverflowError) as error:
            raise refused("schedule", value, "must be a number of seconds, one or more.") from error
    if isinstance(value, timedelta):
        return _every(value, value)
    way_out = "write cron(…), every(…), once(…), rrule(…), a timedelta or a number of seconds."
    raise refused("schedule", value, f"a {type(value).__name__} is no schedule; {way_out}")


def _every(interval: timedelta, written: object) -> Rule:
    if interval < SECOND:
        way_out = "for more often, let every run do several rounds"
        raise refused("schedule", written, f"must be one second or more; {way_out}.")
    return every(interval)


def from_celery(obj: Any, tz: str) -> Rule:
    """Return the rule that Celery's crontab or schedule means, RedBeat's rrule, or django-celery-beat's clocked.

    A crontab that restricts both day fields wants both to fit, as in Celery: ``mode="and"``.

    Args:
        obj: `celery.schedules.crontab`, `celery.schedules.schedule`, `redbeat.schedules.rrule`, or
            `django_celery_beat.clockedschedule.clocked`.
        tz: Time zone of a crontab, which has none of its own: that of the Celery app.

    Raises:
        ScheduleError: It is another type, or a rule that can never be due.
    """
    if type(obj) is celery_schedules.schedule:
        return _every(obj.run_every, obj)
    if type(obj) is celery_schedules.crontab:
        return make(" ".join(_from_celery(field, obj) for field in FIELDS), tz, "and")
    if isinstance(getattr(obj, "rrule", None), dateutil_rrule):
        if obj.dtstart.microsecond:
            why = "it has no dtstart, and would count from the moment at which each program was started"
            raise refused("schedule", obj, f"{why}; write dtstart=datetime(…).")
        return of_dateutil(obj.rrule)
    name = type(obj).__name__
    if name == "clocked" and isinstance(getattr(obj, "clocked_time", None), datetime):
        return once(obj.clocked_time)
    why = _NOT_TAKEN.get(name, "nobody can tell its times but its own code; write cron(…), every(…) or rrule(…)")
    raise refused("schedule", obj, f"a {name} is not supported: {why}.")


def to_celery(rule: Rule, *, tz: str = "UTC") -> celery_schedules.BaseSchedule | None:
    """Return what RedBeat's tools can be shown of a rule: a crontab or a schedule.

    It is a likeness. A crontab treats the days when the clocks change in its own way, and a schedule has no
    anchor.

    Args:
        rule: Any rule.
        tz: Time zone of the Celery app that reads it, since a crontab has none of its own.

    Returns:
        None where Celery has no words for the rule: another time zone than `tz`, ``L``, ``#`` or ``H``, either of
        two restricted day fields, a recurrence rule, a single instant, or a rule that was narrowed or combined.
    """
    if isinstance(rule, Every):
        return celery_schedules.schedule(rule.interval)
    if not isinstance(rule, Cron) or rule.tz != tz or rule.unbound:
        return None
    parts = rule.expression.split()
    if both_days_restricted(parts) and rule.mode == "or":
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
