"""Surprises: the days on which a change of the clocks does something to a rule that its words do not say.

A rule is laid beside its twin, the same rule on a clock that never changes. What the twin has in the hour that is
skipped or repeated, and the rule has not, or has twice, is a surprise. A rule that has the same minutes in every hour
keeps its rhythm in real time, and surprises nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from steadybeat.errors import ScheduleError
from steadybeat.schedule.combination import AnyOf
from steadybeat.schedule.rule import MICROSECOND, Rule, utc
from steadybeat.schedule.stored import from_json
from steadybeat.schedule.zones import Change, changes

KINDS = ("skipped", "shifted", "doubled")

AROUND = timedelta(hours=12)
"""A rule that does the same in every stretch of so long before and after a change keeps its rhythm."""

WALLS = 100
"""Of so many readings of the clock a surprise tells at the most."""


@dataclass(frozen=True, slots=True)
class Surprise:
    """What a change of the clocks does to a rule.

    Attributes:
        kind: ``skipped``: readings that do not exist are left out. ``shifted``: the rule is due at another time
            instead. ``doubled``: it is due in both passes of an hour that is repeated.
        zone: Whose clock changes.
        at: When it does, aware UTC.
        before: What the clock shows as it changes, without a time zone.
        after: What it shows then.
        walls: The readings that are meant, without a time zone, increasing.
        fires: When the rule is due because of them, aware UTC: nothing, the other time, or both.
    """

    kind: str
    zone: str
    at: datetime
    before: datetime
    after: datetime
    walls: tuple[datetime, ...]
    fires: tuple[datetime, ...]


def surprises(rule: Rule, start: datetime, end: datetime) -> list[Surprise]:
    """Return what the changes of the clocks in ``start < t <= end`` do to a rule, in their order.

    Of a rule with an ``H`` that has no name, and of one that was narrowed after it was made of rules of several
    zones, nothing is said.

    Args:
        rule: Any rule.
        start: Aware.
        end: Aware.
    """
    start, end = utc("start", start), utc("end", end)
    if rule.unbound:
        return []
    if isinstance(rule, AnyOf):
        found = {each for part in rule.rules for each in surprises(part, start, end)}
        return sorted(found, key=lambda each: (each.at, each.zone, each.kind, each.walls))
    zones = [zone for zone in rule.zones if zone != "UTC" and zone[0] not in "+-"]
    if len(zones) != 1:
        return []
    found_in_order = []
    for change in _within(zones[0], start, end):
        surprise = _of(rule, zones[0], change)
        if surprise is not None:
            found_in_order.append(surprise)
    return found_in_order


def _within(zone: str, start: datetime, end: datetime) -> Iterator[Change]:
    for year in range(start.year, end.year + 1):
        yield from (change for change in changes(zone, year) if start < change.at <= end)


def _of(rule: Rule, zone: str, change: Change) -> Surprise | None:
    """Return what one change does to a rule of one zone."""
    try:
        twin = from_json(_in_utc(rule.to_json(), zone))
    except ScheduleError:  # on a clock that never changes nothing is left of it
        return None
    low, high = sorted([change.at + change.before, change.at + change.after])
    walls = _from(twin, low, high)
    if not walls or _keeps_its_rhythm(twin, low, high):
        return None
    said = _skipped if change.after > change.before else _doubled
    found = said(rule, change, twin, walls)
    if found is None:
        return None
    kind, meant, fires = found
    return Surprise(
        kind,
        zone,
        change.at,
        (change.at + change.before).replace(tzinfo=None),
        (change.at + change.after).replace(tzinfo=None),
        tuple(wall.replace(tzinfo=None) for wall in meant[:WALLS]),
        fires[:WALLS],
    )


def _skipped(
    rule: Rule, change: Change, twin: Rule, walls: list[datetime]
) -> tuple[str, list[datetime], tuple[datetime, ...]]:
    """Tell of readings that do not exist: what is due soon after the change and would not be otherwise, is theirs."""
    jump = change.after - change.before
    due = set(_from(rule, change.at, change.at + jump + MICROSECOND))
    own = {wall - change.after for wall in _from(twin, change.at + change.after, change.at + change.after + jump)}
    own |= {wall - change.after for wall in _from(twin, change.at + change.after + jump, None)}
    instead = tuple(sorted(due - own))
    return ("shifted" if instead else "skipped"), walls, instead


def _doubled(
    rule: Rule, change: Change, twin: Rule, walls: list[datetime]
) -> tuple[str, list[datetime], tuple[datetime, ...]] | None:
    """Tell of readings that come twice, where the rule is due at both."""
    back = change.before - change.after
    due = set(_from(rule, change.at - back, change.at + back))
    both = [(wall - change.before, wall - change.after) for wall in walls]
    twice = [wall for wall, pair in zip(walls, both, strict=True) if due.issuperset(pair)]
    fires = sorted(at for pair in both if due.issuperset(pair) for at in pair)
    return ("doubled", twice, tuple(fires)) if twice else None


def _from(rule: Rule, start: datetime, end: datetime | None) -> list[datetime]:
    """Return what is due in ``start <= t < end``; at `start` alone without an end."""
    return list(rule.between(start - MICROSECOND, start if end is None else end - MICROSECOND))


def _keeps_its_rhythm(twin: Rule, low: datetime, high: datetime) -> bool:
    length = high - low
    count = max(1, AROUND // length)
    starts = [low + number * length for number in range(-count, count + 1)]
    patterns = {tuple(wall - start for wall in _from(twin, start, start + length)) for start in starts}
    return len(patterns) == 1


def _in_utc(data: Any, zone: str) -> Any:
    """Return a rule's JSON with readings of a zone's clock as readings of one that never changes."""
    if isinstance(data, Mapping):
        return {name: "UTC" if name == "tz" and each == zone else _in_utc(each, zone) for name, each in data.items()}
    return [_in_utc(each, zone) for each in data] if isinstance(data, list) else data
