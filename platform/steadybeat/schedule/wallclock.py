"""Rules of the wall clock: cron expressions in a time zone.

cronsim reads the expression and decides which days fit. The walk over the clock is ours: cronsim loses fires
after a change of half an hour, makes up for a whole day that a country skipped, answers with instants before the
one asked inside a repeated hour, and is slow over a year of minutes.

Time is cut into spans of one UTC offset. Inside a span wall clock and real time differ by a constant, so that
only the seams need rules. A *wall* is a reading of the wall clock, held as a datetime that is labelled UTC.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, timezone
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from cronsim.explain import Expression

from steadybeat.errors import did_you_mean
from steadybeat.schedule.rule import EPOCH, SECOND, Rule, refused

DAY = timedelta(days=1)
CORRECTION = timedelta(hours=3)
"""A change of the wall clock this large is a correction, not daylight saving: cron(8) of Debian."""

SPAN = timedelta(days=6)
"""No wall clock has changed twice within this (America/Recife, October 2000: seven days)."""

END = datetime(9999, 12, 1, tzinfo=UTC)
"""Where the calendar ends; one more span must fit behind it."""

MODES = ("or", "and")

MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


@dataclass(frozen=True, slots=True, repr=False)
class Cron(Rule):
    """A cron expression on the wall clock of a time zone; made by `cron`.

    Args:
        expression: Five fields in capitals, single spaces between them.
        tz: Name of a time zone.
        mode: ``or``, or ``and`` where that means something else: with two restricted day fields.
    """

    expression: str
    tz: str
    mode: str = "or"

    def __repr__(self) -> str:
        mode = "" if self.mode == "or" else f", mode={self.mode!r}"
        return f"cron({self.expression!r}, tz={self.tz!r}{mode})"

    def explain(self) -> str:
        """Return the rule in words, such as ``At 06:00 every day (UTC)``."""
        words = Expression(self.expression.split())
        words.day_and = words.day_and or self.mode == "and"
        return f"{words.explain()} ({self.tz})"

    def to_json(self) -> dict[str, Any]:
        """Return the rule as JSON data; the mode only where it is ``and``."""
        data = {"type": "cron", "expression": self.expression, "tz": self.tz}
        return data if self.mode == "or" else data | {"mode": self.mode}

    def _fires(self, after: datetime) -> Iterator[datetime]:
        clock, zone = _read(self.expression, self.mode), ZoneInfo(self.tz)
        begin = after.replace(microsecond=0)
        if clock.fixed and after.astimezone(zone).fold:
            begin -= CORRECTION  # what the first pass of a repeated hour had must be known in the second
        for fire in clock.fires(_spans(zone, begin)):
            if fire > after:
                yield fire


def cron(expression: str, *, tz: str | ZoneInfo | timezone = "UTC", mode: str = "or") -> Cron:
    """Return the rule of a cron expression, read as Debian's cron reads it.

    Where both day of month and day of week are restricted, a day that fits *either* is meant, with ``mode="and"``
    one that fits *both*; a field that starts with ``*`` restricts nothing by itself. ``L`` is the last day of the
    month, ``LW`` its last weekday, ``5L`` its last Friday, ``5#2`` its second Friday; Sunday is 0 or 7.

    On the days when the clocks change, fixed times (neither minute nor hour starts with ``*``) that fall into the
    gap are due once right after it, and those in a repeated hour once; all others follow real time. A change of
    three hours or more is a correction: nothing is made up for.

    Args:
        expression: Minute, hour, day of month, month, day of week; or ``@hourly``, ``@daily``, ``@weekly``,
            ``@monthly``, ``@yearly``.
        tz: Time zone whose wall clock is meant: a name, or a ZoneInfo.
        mode: ``or``, as Debian's cron, or ``and``, as Celery's crontab.

    Raises:
        ScheduleError: A field is wrong, no date can ever match, or the time zone is unknown.

    Source: cron(8) and crontab(5) of Debian; celery.schedules.crontab for ``and``.
    """
    if mode not in MODES:
        raise refused("mode", mode, f"must be one of {', '.join(MODES)}.{did_you_mean(str(mode), MODES)}")
    parts = _written_out(expression).upper().split()
    if len(parts) != len(FIELDS):
        raise refused(
            "expression",
            expression,
            f"has {len(parts)} fields instead of five: minute, hour, day of month, month, day of week. "
            "For seconds write every(timedelta(seconds=…)).",
        )
    for field, part in zip(FIELDS, parts, strict=True):
        if field.numbers(part) is None:
            forms = f"{field.values}, also as *, 1,5, 1-5 or */5"
            raise refused(field.name, part, f"not allowed in cron({expression!r}); write {forms}.")
    canonical, mode = " ".join(parts), mode if both_days_restricted(parts) else "or"
    if not _possible(canonical, mode):
        day, month, weekday = parts[2:]
        dates = f"day of month {day!r}, month {month!r} and day of week {weekday!r}"
        way_out = "write one that exists (L is the last day of a month)"
        raise refused("expression", expression, f"no date has {dates}; {way_out}.")
    return Cron(canonical, zone_name(tz), mode)


def _written_out(expression: object) -> str:
    """Return an expression with its short form written out."""
    if not isinstance(expression, str):
        raise refused("expression", expression, "must be a text such as '0 6 * * *'.")
    written = expression.strip()
    if written.startswith("@"):
        if written.lower() not in MACROS:
            nearest = did_you_mean(written.lower(), MACROS) or f" Write one of {', '.join(MACROS)}."
            raise refused("expression", expression, f"there is no such short form.{nearest}")
        written = MACROS[written.lower()]
    return written


def both_days_restricted(fields: Sequence[str]) -> bool:
    """Return whether the five fields restrict both day of month and day of week, so that the mode matters."""
    return not fields[2].startswith("*") and not fields[4].startswith("*")


@dataclass(frozen=True, slots=True)
class Field:
    """One of the five fields: its name, its values, and where cronsim and Celery keep them."""

    name: str
    cronsim: str
    celery: str
    low: int
    count: int
    values: str

    def numbers(self, text: str) -> set[Any] | None:
        """Return what cronsim reads in a field, or None if it refuses; ``L`` and ``#`` are no whole numbers."""
        parts = ["*"] * len(FIELDS)
        parts[FIELDS.index(self)] = text
        try:
            found = getattr(CronSim(" ".join(parts), EPOCH), self.cronsim)
        except CronSimError:
            return None
        if self.celery == "day_of_week":
            return {number % 7 if isinstance(number, int) else number for number in found}
        return {number if number >= 0 else str(number) for number in found}


FIELDS = (
    Field("minute", "minutes", "minute", 0, 60, "0-59"),
    Field("hour", "hours", "hour", 0, 24, "0-23"),
    Field("day of month", "days", "day_of_month", 1, 31, "1-31, L (last day), LW (last weekday)"),
    Field("month", "months", "month_of_year", 1, 12, "1-12, JAN-DEC"),
    Field("day of week", "weekdays", "day_of_week", 0, 7, "0-7, SUN-SAT, 5L (last Friday), 5#2 (second Friday)"),
)


class Span(NamedTuple):
    """A stretch of time, `stop` excluded, in which the wall clock is ahead of UTC by a constant."""

    start: datetime
    stop: datetime
    shift: timedelta


class Clock(NamedTuple):
    """A cron expression, read."""

    sim: CronSim
    times: tuple[timedelta, ...]
    fixed: bool

    def walls(self, low: datetime, high: datetime) -> Iterator[datetime]:
        """Yield every matching wall with ``low <= wall < high``."""
        day = low.date()
        while (midnight := datetime.combine(day, time(), UTC)) < high:
            if day.month in self.sim.months and self.sim.match_day(day):
                for since_midnight in self.times[bisect_left(self.times, low - midnight) :]:
                    wall = midnight + since_midnight
                    if wall >= high:
                        return
                    yield wall
            day += DAY

    def fires(self, spans: Iterable[Span]) -> Iterator[datetime]:
        """Yield every matching instant of spans that follow each other, strictly increasing."""
        last_shift: timedelta | None = None
        for start, stop, shift in spans:
            low = start + shift
            change = shift - (shift if last_shift is None else last_shift)
            if self.fixed and abs(change) < CORRECTION:
                if change < timedelta(0):
                    low -= change  # what is repeated has had its turn
                elif next(self.walls(low - change, low), None):
                    yield start  # what the gap swallowed, once, right after it
                    low += SECOND
            for wall in self.walls(low, stop + shift):
                yield wall - shift
            last_shift = shift


@lru_cache(maxsize=16384)
def _read(expression: str, mode: str) -> Clock:
    sim = CronSim(expression, EPOCH)
    sim.day_and = sim.day_and or mode == "and"
    times = tuple(timedelta(hours=hour, minutes=minute) for hour in sorted(sim.hours) for minute in sorted(sim.minutes))
    minute, hour = expression.split()[:2]
    return Clock(sim, times, fixed=not minute.startswith("*") and not hour.startswith("*"))


def _possible(expression: str, mode: str) -> bool:
    """Tell whether any date fits; the calendar of 50 years holds every pair of date and day of week."""
    try:
        walls = _read(expression, mode).walls(datetime(2000, 1, 1, tzinfo=UTC), datetime(2050, 1, 1, tzinfo=UTC))
    except CronSimError:
        return False
    return next(walls, None) is not None


def _spans(zone: ZoneInfo, begin: datetime) -> Iterator[Span]:
    """Yield the spans from `begin` on; each starts where the last one stopped."""
    start, shift = begin, _shift(zone, begin)
    while start < END:
        stop = start + SPAN
        next_shift = _shift(zone, stop)
        if next_shift != shift:
            seconds = range(SPAN // SECOND)
            changed = bisect_left(seconds, True, key=lambda n: _shift(zone, start + n * SECOND) != shift)
            stop = start + changed * SECOND
        yield Span(start, stop, shift)
        start, shift = stop, next_shift


def _shift(zone: ZoneInfo, instant: datetime) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta(0)


def zone_name(tz: object) -> str:
    """Return the name of a time zone, or refuse the argument ``tz``."""
    name = tz.key if isinstance(tz, ZoneInfo) else "UTC" if tz == UTC else tz
    if not isinstance(name, str):
        raise refused("tz", tz, "must be the name of a time zone, such as 'Europe/Riga', or a ZoneInfo.")
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        nearest = did_you_mean(name, available_timezones()) or " Write one such as 'Europe/Riga' or 'UTC'."
        raise refused("tz", tz, f"there is no such time zone.{nearest}") from error
    return name
