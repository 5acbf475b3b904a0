"""Rules of the wall clock: cron expressions in a time zone.

cronsim reads the expression and decides which days fit. The walk over the clock is ours: cronsim loses fires
after a change of half an hour, makes up for a whole day that a country skipped, answers with instants before the
one asked inside a repeated hour, and is slow over a year of minutes.

Inside a span of one UTC offset wall clock and real time differ by a constant, so that only the seams need rules.
A *wall* is a reading of the wall clock, held as a datetime that is labelled UTC. What is read of an expression is
shared by all rules that have the same days or the same times of day.
"""

from __future__ import annotations

import warnings
from bisect import bisect_left
from calendar import monthrange
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from cronsim.explain import Day, Expression, Hour, Minute, Month, Weekday

from steadybeat.errors import ScheduleWarning, did_you_mean
from steadybeat.schedule.fields import FIELDS, allowed, both_days_restricted, of_fixed_time, written_out
from steadybeat.schedule.hashing import bound, has_hash, readable, words
from steadybeat.schedule.rule import EPOCH, SECOND, Rule, not_named, refused
from steadybeat.schedule.zones import BEGIN, CORRECTION, END, Span, changes, spans, zone_name

MODES = ("or", "and")
DST = ("once", "skip", "twice")

REFERENCE_YEARS = range(2026, 2036)
"""A wall clock counts as one that is changed if it is in one of these years, as tzdata foresees them."""

USUAL_HOURS = range(60, 180)
"""The minutes of a day, 01:00 to 02:59, at which most clocks are changed."""

_MINUTES = tuple(timedelta(minutes=number) for number in range(24 * 60))
_IN_WORDS = {
    "once": "once where the clocks skip or repeat it",
    "skip": "left out where the clocks skip it",
    "twice": "twice where the clocks repeat it",
}


@dataclass(frozen=True, slots=True, repr=False)
class Cron(Rule):
    """A cron expression on the wall clock of a time zone; made by `cron`.

    Args:
        expression: Five fields in capitals, single spaces between them.
        tz: Name of a time zone.
        mode: ``or``, or ``and`` where that means something else: with two restricted day fields.
        dst: As it was said, where it means something: with a fixed time.
    """

    expression: str
    tz: str
    mode: str = "or"
    dst: str | None = None

    def __repr__(self) -> str:
        mode = "" if self.mode == "or" else f", mode={self.mode!r}"
        dst = "" if self.dst is None else f", dst={self.dst!r}"
        return f"cron({self.expression!r}, tz={self.tz!r}{mode}{dst})"

    def explain(self) -> str:
        """Return the rule in words, such as ``At 06:00 every day (UTC)``."""
        dst = "" if self.dst is None else f", {_IN_WORDS[self.dst]}"
        if self.unbound:
            return f"{_hashed_words(self.expression, self.mode)} ({self.tz}){dst}"
        said = Expression(self.expression.split())
        said.day_and = said.day_and or self.mode == "and"
        return f"{said.explain()} ({self.tz}){dst}"

    def to_json(self) -> dict[str, str]:
        """Return the rule as JSON data; the mode only where it is ``and``, dst only where it is said."""
        data = {"type": "cron", "expression": self.expression, "tz": self.tz}
        if self.mode != "or":
            data["mode"] = self.mode
        return data if self.dst is None else data | {"dst": self.dst}

    @property
    def unbound(self) -> bool:
        """Whether it has an ``H`` that stands for a number still."""
        return has_hash(self.expression)

    @property
    def zones(self) -> frozenset[str]:
        """Its time zone."""
        return frozenset([self.tz])

    def cautions(self) -> list[str]:
        """Return a sentence if the rule has a time at which clocks are changed and does not say what it means then."""
        parts = self.expression.split()
        if self.dst is not None or not of_fixed_time(parts) or has_hash(parts[1]) or not (risky := _risky(self.tz)):
            return []
        minutes = range(60) if has_hash(parts[0]) else sorted(FIELDS[0].numbers(parts[0]) or ())
        for hour in sorted(FIELDS[1].numbers(parts[1]) or ()):
            for minute in minutes:
                if hour * 60 + minute in risky:
                    text = f"{self!r}: {hour:02}:{minute:02} lies in the hours in which clocks are changed"
                    way_out = "dst='once' (as it is done now), 'skip' or 'twice'; or take another hour"
                    return [f"{text}; say what is meant on those days: {way_out}."]
        return []

    def _named(self, name: str) -> Rule:
        return make(bound(self.expression, name), self.tz, self.mode, self.dst)

    def _fires(self, after: datetime) -> Iterator[datetime]:
        clock = _read(self.expression, self.mode)
        if clock is None:
            raise not_named(self)
        if after >= END:
            return
        begin = max(after.replace(microsecond=0), BEGIN)
        if clock.fixed and self.tz != "UTC" and begin.astimezone(ZoneInfo(self.tz)).fold:
            begin -= CORRECTION  # what the first pass of a repeated hour had must be known in the second
        for fire in clock.fires(spans(self.tz, begin), self.dst):
            if fire > after:
                yield fire


def cron(expression: str, *, tz: str | ZoneInfo | timezone = "UTC", mode: str = "or", dst: str | None = None) -> Cron:
    """Return the rule of a cron expression, read as Debian's cron reads it.

    Where both day of month and day of week are restricted, a day that fits *either* is meant, with ``mode="and"``
    one that fits *both*; a field that starts with ``*`` restricts nothing by itself. ``L`` is the last day of the
    month, ``LW`` its last weekday, ``5L`` its last Friday, ``5#2`` its second Friday; Sunday is 0 or 7.

    ``H`` is a number that the schedule's name chooses, so that a fleet of schedules spreads by itself: ``H`` any of
    the field (1-28 of the days of a month), ``H(0-29)`` one of a range, ``H/15`` every 15th from a chosen one on,
    ``H(0-29)/10`` both. It is the SHA-256 of the field and the name, each field by itself, the same for ever; what
    it becomes is read as if the numbers had been written. A rule with ``H`` has instants once it is `named`.

    On the days when the clocks change, fixed times (neither minute nor hour starts with ``*``) that fall into the
    gap are due once right after it, and those in a repeated hour once; all others follow real time. `dst` says it
    otherwise: ``skip`` leaves out what the gap swallows, ``twice`` is due in both passes of a repeated hour. A change
    of three hours or more is a correction: nothing is made up for. A fixed time between 01:00 and 02:59, or in an
    hour that the zone itself skips or repeats, is a `ScheduleWarning` until `dst` is said, in every zone whose
    clocks are changed in the years 2026 to 2035.

    Args:
        expression: Minute, hour, day of month, month, day of week; or ``@hourly``, ``@daily``, ``@weekly``,
            ``@monthly``, ``@yearly``.
        tz: Time zone whose wall clock is meant: a name, or a ZoneInfo.
        mode: ``or``, as Debian's cron, or ``and``, as Celery's crontab.
        dst: ``once``, as Debian's cron and as without it, ``skip`` or ``twice``; of fixed times only.

    Raises:
        ScheduleError: A field is wrong, no date can ever match, or the time zone is unknown.

    Source: cron(8) and crontab(5) of Debian; celery.schedules.crontab for ``and``; Jenkins for ``H``.
    """
    rule = make(expression, tz, mode, dst)
    for text in rule.cautions():
        warnings.warn(text, ScheduleWarning, stacklevel=2)
    return rule


def make(expression: object, tz: object, mode: str = "or", dst: str | None = None) -> Cron:
    """Return what `cron` returns, and warn of nothing: of a rule that was stored or converted.

    Raises:
        ScheduleError: As `cron`.
    """
    if mode not in MODES:
        raise refused("mode", mode, f"must be one of {', '.join(MODES)}.{did_you_mean(str(mode), MODES)}")
    if dst is not None and dst not in DST:
        raise refused("dst", dst, f"must be one of {', '.join(DST)}, or left out.{did_you_mean(str(dst), DST)}")
    parts = written_out(expression).upper().split()
    if len(parts) != len(FIELDS):
        raise refused(
            "expression",
            expression,
            f"has {len(parts)} fields instead of five: minute, hour, day of month, month, day of week. "
            "For seconds write every(timedelta(seconds=…)).",
        )
    _check_fields(expression, parts)
    canonical, mode = " ".join(parts), mode if both_days_restricted(parts) else "or"
    if not has_hash(canonical) and not _possible(canonical, mode):
        day, month, weekday = parts[2:]
        dates = f"day of month {day!r}, month {month!r} and day of week {weekday!r}"
        way_out = "write one that exists (L is the last day of a month)"
        raise refused("expression", expression, f"no date has {dates}; {way_out}.")
    return Cron(canonical, zone_name(tz), mode, dst if of_fixed_time(parts) else None)


def _check_fields(expression: object, parts: list[str]) -> None:
    for field, part in zip(FIELDS, parts, strict=True):
        plain = ",".join(term for term in part.split(",") if not has_hash(term))
        if has_hash(part) and not readable(field, part):
            forms = f"H, H({field.hashed}), H/2 or H({field.hashed})/2"
            raise refused(field.name, part, f"not allowed in cron({expression!r}); H is written as {forms}.")
        if (plain or not has_hash(part)) and not allowed(field, plain):
            forms = f"{field.values}, also as *, 1,5, 1-5 or */5"
            raise refused(field.name, part, f"not allowed in cron({expression!r}); write {forms}.")


class Days:
    """Which days fit the three fields of the date; shared by every expression that has the same ones."""

    __slots__ = ("_found", "_months", "_sim")

    def __init__(self, fields: str, both: bool) -> None:
        self._sim = CronSim(f"0 0 {fields}", EPOCH)
        self._sim.day_and = self._sim.day_and or both
        self._months = frozenset(self._sim.months)
        self._found: dict[int, tuple[int, ...]] = {}

    def of(self, year: int, month: int) -> tuple[int, ...]:
        """Return the days of a month that fit."""
        if month not in self._months:
            return ()
        first, length = monthrange(year, month)
        key = month * 1000 + first * 100 + length  # what fits depends on nothing else
        found = self._found.get(key)
        if found is None:
            fits = self._sim.match_day
            found = tuple(day for day in range(1, length + 1) if fits(date(year, month, day)))
            self._found[key] = found
        return found


class Clock(NamedTuple):
    """A cron expression, read."""

    days: Days
    times: tuple[timedelta, ...]
    fixed: bool

    def walls(self, low: datetime, high: datetime) -> Iterator[datetime]:
        """Yield every matching wall with ``low <= wall < high``."""
        year, month, first_day, times = low.year, low.month, low.day, self.times
        while True:
            days = self.days.of(year, month)
            for day in days[bisect_left(days, first_day) :]:
                midnight = datetime(year, month, day, tzinfo=UTC)
                for since_midnight in times if midnight >= low else times[bisect_left(times, low - midnight) :]:
                    wall = midnight + since_midnight
                    if wall >= high:
                        return
                    yield wall
            first_day, month = 1, month + 1
            if month > 12:
                year, month = year + 1, 1
            if (year, month) > (high.year, high.month):
                return

    def fires(self, stretches: Iterable[Span], dst: str | None) -> Iterator[datetime]:
        """Yield every matching instant of spans that follow each other, strictly increasing."""
        last_shift: timedelta | None = None
        for start, stop, shift in stretches:
            low = start + shift
            change = shift - (shift if last_shift is None else last_shift)
            if change and self.fixed and abs(change) < CORRECTION:
                if change < timedelta(0):
                    low -= change if dst != "twice" else timedelta(0)  # what is repeated has had its turn
                elif dst != "skip" and next(self.walls(low - change, low), None):
                    yield start  # what the gap swallowed, once, right after it
                    low += SECOND
            for wall in self.walls(low, stop + shift):
                yield wall - shift
            last_shift = shift


@lru_cache(maxsize=16384)
def _read(expression: str, mode: str) -> Clock | None:
    """Return an expression as it is walked along, or None if it has an ``H``."""
    if has_hash(expression):
        return None
    minute, hour, dates = expression.split(maxsplit=2)
    return Clock(_days(dates, mode == "and"), _times(minute, hour), of_fixed_time((minute, hour)))


@lru_cache(maxsize=4096)
def _days(fields: str, both: bool) -> Days:
    return Days(fields, both)


@lru_cache(maxsize=4096)
def _times(minute: str, hour: str) -> tuple[timedelta, ...]:
    sim = CronSim(f"{minute} {hour} * * *", EPOCH)
    return tuple(_MINUTES[hour * 60 + minute] for hour in sorted(sim.hours) for minute in sorted(sim.minutes))


def _possible(expression: str, mode: str) -> bool:
    """Tell whether any date fits; the calendar of 50 years holds every pair of date and day of week."""
    try:
        days = _days(expression.split(maxsplit=2)[2], mode == "and")
    except CronSimError:
        return False
    return any(days.of(year, month) for year in range(2000, 2050) for month in range(1, 13))


@lru_cache(maxsize=1024)
def _risky(tz: str) -> frozenset[int]:
    """Return the minutes of a day at which the clocks of a zone may be changed; none if they are not."""
    found: set[int] = set()
    for year in REFERENCE_YEARS:
        for at, before, after in changes(tz, year):
            if abs(after - before) < CORRECTION:
                early, late = sorted([at + before, at + after])
                first, length = early.hour * 60 + early.minute, (late - early) // timedelta(minutes=1)
                found.update(minute % len(_MINUTES) for minute in range(first, first + length))
    return frozenset(found | {*USUAL_HOURS}) if found else frozenset()


def _hashed_words(expression: str, mode: str) -> str:
    """Return an expression with ``H`` in words, such as ``At a minute of 0-59 past hour 6; …``."""
    parts = expression.split()
    said, chosen = [], []
    plain = (Minute, Hour, Day, Month, Weekday)
    before = ("at", "past", "on", "in", "on")
    for field, part, word, theirs in zip(FIELDS, parts, before, plain, strict=True):
        if has_hash(part):
            chosen.append(f"the {field.name}")
            said.append(f"{word} {words(field, part)}")
        elif field.name in ("minute", "hour") or part != "*":
            said.append(str(theirs(part)))
    if both_days_restricted(parts):
        said[-1] = f"{'if it is' if mode == 'and' else 'or'} {said[-1]}"
    text, names = " ".join(said), " and ".join(", ".join(chosen).rsplit(", ", 1))
    return f"{text[0].upper()}{text[1:]}; {names} {'are' if len(chosen) > 1 else 'is'} chosen by the schedule's name"
