"""Meaning: what an entry of plain Celery or RedBeat means something else by, once it is a schedule of the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from celery import schedules as celery_schedules

from steadybeat.schedule import Cron, Every, RRule, Rule
from steadybeat.schedule.rule import EPOCH, iso

# What `apply_async` and the message itself take.
_OPTIONS = frozenset({
    "queue", "exchange", "routing_key", "priority", "expires", "countdown", "retry", "retry_policy", "headers",
    "time_limit", "soft_time_limit", "link", "link_error", "ignore_result", "shadow", "serializer", "compression",
    "delivery_mode", "expiration", "correlation_id", "reply_to", "add_to_parent", "idempotency_key",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that is to be known about an entry.

    Attributes:
        about: What part of it: ``days``, ``zone``, ``clock``, ``interval``, ``relative``, ``start``, ``options``, …
        text: One sentence, without a full stop.
    """

    about: str
    text: str


def notes(theirs: Any, rule: Rule, options: Mapping[str, Any], *, relative: bool = False) -> list[Note]:
    """Return what is to be known about an entry.

    Args:
        theirs: Its schedule, as Celery or RedBeat has it.
        rule: The rule that it has become.
        options: Its options of ``apply_async``.
        relative: Whether it says ``relative=True``.
    """
    found: list[Note] = []
    if isinstance(rule, Cron) and isinstance(theirs, celery_schedules.crontab):
        found += _of_crontab(rule)
    elif isinstance(rule, Every) and theirs is not rule:
        found += _of_interval(rule, relative or bool(getattr(theirs, "relative", False)))
    elif isinstance(rule, RRule) and theirs is not rule:
        found += _of_recurrence(rule)
    return found + list(_of_options(options))


def _of_crontab(rule: Cron) -> Iterator[Note]:
    if rule.mode == "and":
        yield Note("days", 'both day fields must fit, as in Celery; cron(…) wants that written as mode="and"')
    if rule.tz != "UTC":
        yield Note("zone", f"{rule.tz}, the app's time zone, is part of the rule and no longer changes with the app")
    if _changes(rule.tz):
        said = "a skipped time is made up for, a repeated one is due once, and */15 goes on through the repeated hour"
        yield Note("clock", f"on the days when the clocks change {said}; Celery lost fires there")


def _of_interval(rule: Every, relative: bool) -> Iterator[Note]:
    if rule.anchor == EPOCH:
        since = f"counted from {iso(EPOCH)}, not from when Beat sent it last"
    else:
        since = f"counted from {iso(rule.anchor)}, when it was due next, and no longer drifts"
    yield Note("interval", since)
    if relative:
        yield Note("relative", "it has no effect: fires do not depend on when a program was started")


def _of_recurrence(rule: RRule) -> Iterator[Note]:
    if rule.next_after(rule.first - timedelta(microseconds=1)) == rule.first:
        yield Note("start", f"its start, {iso(rule.first)}, is due too; RedBeat left it out")
    if rule.tz[0] in "+-":
        way_out = "for a wall clock write rrule(…, dtstart=datetime(…, tzinfo=ZoneInfo(…)))"
        yield Note("zone", f"{rule.tz} all year round, which is all that RedBeat keeps of a time zone; {way_out}")
    elif _changes(rule.tz):
        yield Note("zone", f"it follows the clocks of {rule.tz}; RedBeat kept the offset of its start all year round")


def _of_options(options: Mapping[str, Any]) -> Iterator[Note]:
    if options.get("expires") is not None:
        yield Note("options", "expires: a run that comes too late is cancelled, and that is on record")
    for name in sorted({*options} - _OPTIONS):
        yield Note("options", f"{name}: is no option of apply_async; it is handed on as it is")


def _changes(tz: str) -> bool:
    """Return whether the wall clock of a time zone is changed within the next year."""
    zone, today = ZoneInfo(tz), datetime.now(UTC)
    return len({(today + timedelta(days=days)).astimezone(zone).utcoffset() for days in range(0, 366, 7)}) > 1
