"""Herds: seconds in which very many schedules are due. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from steadybeat.schedule import Rule
from steadybeat.schedule.rule import MICROSECOND

DAYS = timedelta(days=8)
"""Every day of the week, and a day more for the time zones."""

MARGIN = timedelta(hours=14)
"""So far before and after UTC's a day begins somewhere."""

MOST, FEWEST, ALL = 20_000, 100, 1_000_000
"""So many fires of a rule are looked at in one stretch, at the most and at the least; and of all rules together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Herd:
    """A second in which too many schedules are due.

    Attributes:
        at: The second.
        count: How many schedules.
        names: Of the schedules, sorted.
    """

    at: datetime
    count: int
    names: list[str]


def herds(schedules: Mapping[str, tuple[Rule, timedelta]], limit: int, now: datetime) -> list[Herd]:
    """Return the seconds in which more than so many schedules are due, the fullest first.

    It looks at the next eight days, and at the first day of each month of the next year, where monthly and yearly
    ones meet; where thousands of rules are due very often, at the first of their fires in each. A schedule with a
    jitter of w seconds counts as 1/w: so many of its fires fall into one second. Of seconds in which the same
    schedules meet, the first is returned.

    Args:
        schedules: The rule and the jitter of each, by its name.
        limit: More than so many is a herd.
        now: Aware.
    """
    alike: dict[tuple[Rule, timedelta], list[str]] = defaultdict(list)
    for name, (rule, jitter) in schedules.items():
        alike[rule, jitter].append(name)
    weights = {key: len(names) / max(1.0, key[1].total_seconds()) for key, names in alike.items()}
    if sum(weights.values()) <= limit:
        return []
    looked_at = stretches(now)
    most = min(MOST, max(FEWEST, ALL // (len(alike) * len(looked_at))))
    due: dict[datetime, list[tuple[Rule, timedelta]]] = defaultdict(list)
    load: dict[datetime, float] = defaultdict(float)
    for key, weight in weights.items():
        for second in seconds(key[0], looked_at, most):
            load[second] += weight
            due[second].append(key)
    first: dict[tuple[tuple[Rule, timedelta], ...], datetime] = {}
    for second in sorted(second for second, number in load.items() if number > limit):
        first.setdefault(tuple(due[second]), second)
    found = [
        Herd(at=second, count=round(load[second]), names=sorted(name for key in keys for name in alike[key]))
        for keys, second in first.items()
    ]
    return sorted(found, key=lambda herd: (-herd.count, herd.at))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Schedules that are due together: they have one rule.

    Attributes:
        rule: When.
        jitter: Over so long their fires are spread.
        count: How many they are.
        about: What is told of them, such as their service.
    """

    rule: Rule
    jitter: timedelta
    count: int
    about: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fullest:
    """The second in which most fires are due, of those that were looked at.

    Attributes:
        at: The second; None: none is due.
        count: How many fires, about: one with a jitter of w seconds counts as 1/w.
        by: How many of them each `Kind.about` has, most first.
        until: Up to when was looked: as far as was asked for, unless there are very many fires.
        fire_count: How many are due until then.
    """

    at: datetime | None
    count: int
    by: list[tuple[str, int]]
    until: datetime
    fire_count: int


def fullest(kinds: Sequence[Kind], begin: datetime, end: datetime, most: int = ALL) -> Fullest:
    """Return the second after `begin`, up to `end`, in which most schedules are due; the first of several.

    Args:
        kinds: The schedules.
        begin: Aware.
        end: Aware; less far is looked where more seconds than `most` would have to be.
        most: So many seconds of all rules together.
    """
    found = _all_of(kinds, begin, end, most)
    if found is None:
        each_most = max(FEWEST, most // max(1, len(kinds)))
        found = [(kind, [*seconds(kind.rule, [(begin, end)], each_most)]) for kind in kinds]
    until = min((due[-1] for kind, due in found if due and _goes_on(kind.rule, due[-1], end)), default=end)
    load: dict[datetime, float] = defaultdict(float)
    fire_count = 0
    for kind, due in found:
        weight = kind.count / max(1.0, kind.jitter.total_seconds())
        for second in due:
            if second <= until:
                load[second] += weight
                fire_count += kind.count
    if not load:
        return Fullest(at=None, count=0, by=[], until=until, fire_count=0)
    at = min(load, key=lambda second: (-load[second], second))
    by: dict[str, float] = defaultdict(float)
    for kind, due in found:
        if at in due:
            by[kind.about] += kind.count / max(1.0, kind.jitter.total_seconds())
    told = [(about, round(weight)) for about, weight in sorted(by.items(), key=lambda each: (-each[1], each[0]))]
    return Fullest(at=at, count=round(load[at]), by=told, until=until, fire_count=fire_count)


def _all_of(
    kinds: Sequence[Kind], begin: datetime, end: datetime, most: int
) -> list[tuple[Kind, list[datetime]]] | None:
    """Return the seconds in which each kind is due; None where they are more than `most`."""
    found: list[tuple[Kind, list[datetime]]] = []
    for kind in kinds:
        due = [*seconds(kind.rule, [(begin, end)], most + 1)]
        most -= len(due)
        if most < 0:
            return None
        found.append((kind, due))
    return found


def _goes_on(rule: Rule, last: datetime, end: datetime) -> bool:
    """Return whether a rule is due after a second, up to `end`: it is one of which not all was looked at."""
    after = last + timedelta(seconds=1) - MICROSECOND
    return after < end and next(iter(rule.between(after, end)), None) is not None


def seconds(rule: Rule, stretched: Sequence[tuple[datetime, datetime]], most: int) -> Iterator[datetime]:
    """Yield the seconds, of those that are looked at, in which a rule is due; so many in one stretch."""
    last = None
    for begin, end in stretched:
        for at in islice(rule.between(begin, end), most):
            second = at.replace(microsecond=0)
            if last is None or second > last:
                last = second
                yield second


def stretches(now: datetime) -> list[tuple[datetime, datetime]]:
    """Return the stretches of time that are looked at, in order; they do not overlap."""
    found = [(now, now + DAYS)]
    year, month = now.year, now.month
    for _ in range(12):
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
        first = datetime(year, month, 1, tzinfo=UTC)
        begin, end = max(first - MARGIN, found[-1][1]), first + timedelta(days=1) + MARGIN
        if end > begin:
            found.append((begin, end))
    return found
