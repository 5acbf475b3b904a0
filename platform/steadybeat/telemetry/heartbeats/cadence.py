"""Cadence: a rule as monitors can be told it, or why they cannot.

Monitors read cron expressions and intervals. All that is here is arithmetic on the JSON of a rule:

    rule                                  a monitor is told
    ------------------------------------  -----------------------------------------------------------------------
    cron("0 6 * * *", tz=…)               the same: Healthchecks and Sentry read it with cronsim, as Debian does
    cron(…, mode="and")                   nothing: they take a day that fits either field
    cron(…, dst="skip")                   nothing: they expect a fire on the day on which there is none; in UTC the same
    cron(…, dst="twice")                  the same: a fire more than expected does no harm
    every(timedelta(minutes=5))           every 5 minutes; what a monitor counts in minutes is rounded up
    every(timedelta(seconds=10))          every minute: of a schedule that is more often, a minute's silence is seen
    any_of(…)                             Cronitor all of them, if they are of one zone; others nothing
    starting(…)                           what it narrows, once it has begun
    once, rrule, until, limited,          nothing: no expression says it
    excluding

Source: Healthchecks, hc/api/views.py (Spec.check_schedule: cronsim, 5 fields, 100 characters); Sentry,
src/sentry/monitors/validators.py (ConfigValidator: 5 fields, cronsim; intervals of whole minutes and more).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import ceil
from typing import Any

MINUTE = 60

_WHY_NOT = {
    "once": "it is due once, and no monitor expects something once",
    "rrule": "a recurrence of RFC 5545 has no cron expression",
    "until": "it ends, and a monitor would expect it for ever",
    "limited": "it ends, and a monitor would expect it for ever",
    "excluding": "a cron expression cannot leave out days and windows",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cadence:
    """When a monitor is to expect a schedule.

    Attributes:
        expressions: Cron expressions, one but for a combination; none for an interval.
        tz: Name of their time zone.
        every_seconds: The interval.
        why_not: Why it cannot be said; empty where it can.
    """

    expressions: tuple[str, ...] = ()
    tz: str = "UTC"
    every_seconds: float | None = None
    why_not: str = ""

    @property
    def every_minutes(self) -> int | None:
        """The interval in whole minutes, rounded up: nobody is told too early that something is late."""
        return None if self.every_seconds is None else max(1, ceil(self.every_seconds / MINUTE))

    def without_combinations(self) -> Cadence:
        """Return it for a monitor that knows one expression for each schedule."""
        if len(self.expressions) > 1:
            return Cadence(why_not="it is a combination of rules, and the monitor takes one expression")
        return self


def cadence(spec: Mapping[str, Any] | None, now: datetime | None = None) -> Cadence:
    """Return what a monitor can be told of a rule.

    Args:
        spec: The rule as JSON, named: without an ``H``.
        now: What has begun by then has begun; the clock unless given.
    """
    kind = (spec or {}).get("type")
    if spec is None or kind is None:
        return Cadence(why_not="its rule is not known")
    if kind == "cron":
        return _cron(spec)
    if kind == "every":
        seconds = float(spec["seconds"]) + spec.get("microseconds", 0) / 1_000_000
        return Cadence(every_seconds=max(float(MINUTE), seconds))
    if kind == "any_of":
        return _any_of(spec, now)
    if kind == "starting":
        if datetime.fromisoformat(spec["at"]) > (now or datetime.now(UTC)):
            return Cadence(why_not=f"it begins at {spec['at']}, and a monitor would expect it before")
        return cadence(spec["rule"], now)
    return Cadence(why_not=_WHY_NOT.get(kind, f"a rule of the kind {kind!r} has no cron expression"))


def _cron(spec: Mapping[str, Any]) -> Cadence:
    expression, tz = str(spec["expression"]), str(spec["tz"])
    if "H" in expression.replace("THU", ""):
        return Cadence(why_not="its H is no number yet")
    if spec.get("mode", "or") == "and":
        return Cadence(why_not="its day has to fit both of its day fields, and a monitor takes a day that fits either")
    if spec.get("dst") == "skip" and tz != "UTC":
        return Cadence(why_not="dst='skip' leaves out what a monitor would expect when clocks go forward")
    return Cadence(expressions=(expression,), tz=tz)


def _any_of(spec: Mapping[str, Any], now: datetime | None) -> Cadence:
    parts = [cadence(each, now) for each in spec["rules"]]
    for part in parts:
        if part.why_not:
            return part
    if any(part.every_seconds is not None for part in parts):
        return Cadence(why_not="it combines an interval with other rules")
    if len({part.tz for part in parts}) > 1:
        return Cadence(why_not="it combines rules of several time zones")
    return replace(parts[0], expressions=tuple(expression for part in parts for expression in part.expressions))
