"""Clocks: what the days do to a rule on which they are changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from steadybeat.wording import count

if TYPE_CHECKING:
    from steadybeat.schedule import Rule

SHOWN = 5
"""Up to so many fires of a day are shown by their times, more are counted."""


def changes_of(rule: Rule, year: int) -> Iterator[dict[str, Any]]:
    """Yield the changes of the clocks that a rule goes by, in a year, each with what is due then and a week later.

    Returns:
        Of each ``at``, ``zone``, ``from`` and ``to`` (what the clock shows), ``day`` (its date), ``fires``,
        ``fire_count`` and the same of a ``usual`` day.
    """
    from steadybeat.schedule.zones import changes

    clocks = [zone for zone in rule.zones if zone[0] not in "+-"]
    found = [(change, zone) for zone in clocks for change in changes(zone, year)]
    for change, zone in sorted(found):
        before, after = ((change.at + shift).replace(tzinfo=None) for shift in (change.before, change.after))
        day = min(before, after).date()
        fires, usual = (_of_day(rule, zone, day + timedelta(days=days)) for days in (0, 7))
        yield {
            "at": change.at,
            "zone": zone,
            "from": f"{before:%H:%M}",
            "to": f"{after:%H:%M}",
            "day": f"{day}",
            "fire_count": len(fires),
            "fires": fires[:SHOWN],
            "usual_count": len(usual),
            "usual_fires": usual[:SHOWN],
        }


def _of_day(rule: Rule, zone: str, day: date) -> list[str]:
    """Return when a rule is due on a day of a wall clock, by that clock."""
    from steadybeat.schedule.rule import MICROSECOND
    from steadybeat.schedule.zones import reading

    start, end = (reading(zone, datetime.combine(day + timedelta(days=days), time())) for days in (0, 1))
    return [clock(at, zone) for at in rule.between(start - MICROSECOND, end - MICROSECOND)]


def clock(at: datetime, zone: str) -> str:
    """Return what a wall clock shows at an instant, with its offset: a repeated hour has two."""
    from zoneinfo import ZoneInfo

    local = at.astimezone(ZoneInfo(zone))
    shown = f"{local:%H:%M}" if not local.second and not local.microsecond else f"{local:%H:%M:%S}"
    offset = f"{local:%z}"
    return f"{shown}{offset[:3]}:{offset[3:5]}"


def in_words(change: Mapping[str, Any]) -> str:
    """Return a change of clocks, and what it does to a rule, as sentences."""
    clocks = f"{change['day']}: the clocks of {change['zone']} go from {change['from']} to {change['to']}."
    due = _due(change["fire_count"], change["fires"])
    usual = _due(change["usual_count"], change["usual_fires"])
    return f"{clocks} It is {due}; a week later {usual}."


def _due(number: int, times: list[str]) -> str:
    if not number:
        return "not due"
    return f"due at {', '.join(times)}" if number <= SHOWN else f"due {count(number, 'time')}"


def on_that_day(rule: Rule, at: datetime) -> list[str]:
    """Return what the clocks do that are changed on the day of an instant, or next to it, as sentences."""
    return [in_words(change) for change in changes_of(rule, at.year) if abs(change["at"] - at) < timedelta(days=1)]
