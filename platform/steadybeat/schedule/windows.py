"""What a rule can be told to leave out: dates, windows of the wall clock, windows between instants.

Each is asked for *stretches*, pairs of instants: what is due from the first on and before the second is left out.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from steadybeat.schedule.interval import words
from steadybeat.schedule.rule import Rule, iso, lower, refused, utc, written
from steadybeat.schedule.zones import BEGIN, END, reading, zone_name

Stretch = tuple[datetime, datetime]

DAY = timedelta(days=1)
WEEK = timedelta(weeks=1)
WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")

_CLOCK = re.compile(rf"(?:({'|'.join(WEEKDAYS)}) )?([01]?\d|2[0-4]):([0-5]\d)")


class Window(ABC):
    """Stretches of time in which nothing is due; made by `window`."""

    __slots__ = ()

    @abstractmethod
    def stretches(self, after: datetime) -> Iterator[Stretch]:
        """Yield every stretch that ends after `after` (aware UTC), by its begin; they may overlap."""

    @abstractmethod
    def explain(self) -> str:
        """Return the window in words."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return the window as JSON data."""

    @property
    def unbound(self) -> bool:
        """Whether it has a rule with an ``H`` that stands for a number still."""
        return False

    def named(self, name: str) -> Window:
        """Return the window of the schedule of this name; without ``H`` it stays itself."""
        return self

    def cautions(self) -> list[str]:
        """Return the cautions of its rule, if it has one."""
        return []


@dataclass(frozen=True, slots=True, repr=False)
class Dates(Window):
    """Whole days on the wall clock of a time zone.

    Args:
        dates: In order, each once.
        tz: Name of a time zone, or an offset such as ``+02:00``.
    """

    dates: tuple[date, ...]
    tz: str

    def explain(self) -> str:
        """Return the dates in words; of more than three how many they are."""
        if len(self.dates) <= 3:
            return f"on {', '.join(map(str, self.dates))} ({self.tz})"
        return f"on {len(self.dates)} dates from {self.dates[0]} to {self.dates[-1]} ({self.tz})"

    def to_json(self) -> dict[str, Any]:
        """Return the dates as JSON data."""
        return {"type": "dates", "dates": [str(day) for day in self.dates], "tz": self.tz}

    def stretches(self, after: datetime) -> Iterator[Stretch]:
        """Yield a stretch for each date."""
        begin = bisect_left(self.dates, (max(after, BEGIN) - 2 * DAY).date())
        for day in self.dates[begin : bisect_left(self.dates, END.date())]:
            midnight = datetime.combine(day, time())
            end = reading(self.tz, midnight + DAY)
            if end > after:
                yield reading(self.tz, midnight), end


@dataclass(frozen=True, slots=True, repr=False)
class Clockwise(Window):
    """From one time of the wall clock to another, every week or every day.

    Args:
        begin: Such as ``SAT 22:00`` or ``22:00``.
        end: Such as ``SUN 04:00`` or ``04:00``.
        tz: Name of a time zone.
    """

    begin: str
    end: str
    tz: str

    def __repr__(self) -> str:
        return f"window({self.begin!r}, {self.end!r}, tz={self.tz!r})"

    def explain(self) -> str:
        """Return the window in words, such as ``between SAT 22:00 and SUN 04:00 (Europe/Riga)``."""
        return f"between {self.begin} and {self.end} ({self.tz})"

    def to_json(self) -> dict[str, Any]:
        """Return the window as JSON data."""
        return {"type": "window", "begin": self.begin, "end": self.end, "tz": self.tz}

    def stretches(self, after: datetime) -> Iterator[Stretch]:
        """Yield a stretch for each week or day."""
        begin_day, begin = _clock(self.begin)
        length, period = self.length, DAY if begin_day is None else WEEK
        day = (max(after, BEGIN + 2 * WEEK) - length - 2 * DAY).date()
        if begin_day is not None:
            day += timedelta(days=(begin_day - day.weekday()) % 7)
        while day < END.date() - WEEK:
            wall = datetime.combine(day, time()) + begin
            stop = reading(self.tz, wall + length, last=True)
            if stop > after:
                yield reading(self.tz, wall), stop
            day += period

    @property
    def length(self) -> timedelta:
        """How long it is on a clock that is not changed."""
        (begin_day, begin), (end_day, end) = _clock(self.begin), _clock(self.end)
        if begin_day is None or end_day is None:
            return end - begin + (DAY if end <= begin else timedelta(0))
        return (end - begin + (end_day - begin_day) * DAY) % WEEK


@dataclass(frozen=True, slots=True, repr=False)
class Period(Window):
    """From one instant to another, once.

    Args:
        begin: Aware UTC.
        end: Aware UTC, after it.
    """

    begin: datetime
    end: datetime

    def __repr__(self) -> str:
        return f"window({written(self.begin)}, {written(self.end)})"

    def explain(self) -> str:
        """Return the window in words."""
        return f"between {iso(self.begin)} and {iso(self.end)}"

    def to_json(self) -> dict[str, Any]:
        """Return the window as JSON data."""
        return {"type": "period", "begin": iso(self.begin), "end": iso(self.end)}

    def stretches(self, after: datetime) -> Iterator[Stretch]:
        """Yield the one stretch."""
        if self.end > after:
            yield self.begin, self.end


@dataclass(frozen=True, slots=True, repr=False)
class Following(Window):
    """For a while from every instant of a rule on.

    Args:
        rule: When it begins.
        length: How long it is, in real time.
    """

    rule: Rule
    length: timedelta

    def __repr__(self) -> str:
        return f"window({self.rule!r}, {written(self.length)})"

    def explain(self) -> str:
        """Return the window in words, such as ``for 4 hours from: at 02:00 on Sunday (UTC)``."""
        length = words(self.length)
        return f"for {length if length[0].isdigit() else f'1 {length}'} from: {lower(self.rule.explain())}"

    def to_json(self) -> dict[str, Any]:
        """Return the window as JSON data."""
        microseconds = self.length // timedelta(microseconds=1)
        return {"type": "following", "rule": self.rule.to_json(), "microseconds": microseconds}

    @property
    def unbound(self) -> bool:
        """Whether its rule has an ``H`` that stands for a number still."""
        return self.rule.unbound

    def named(self, name: str) -> Window:
        """Return the window of the named rule."""
        return Following(self.rule.named(name), self.length)

    def cautions(self) -> list[str]:
        """Return the cautions of its rule."""
        return self.rule.cautions()

    def stretches(self, after: datetime) -> Iterator[Stretch]:
        """Yield a stretch for each instant of the rule."""
        for begin in self.rule._fires(max(after, BEGIN + self.length) - self.length):
            if begin >= END - self.length:
                return
            yield begin, begin + self.length


def window(
    begin: str | datetime | Rule,
    end: str | datetime | timedelta,
    *,
    tz: str | ZoneInfo | timezone | None = None,
) -> Window:
    """Return a stretch of time to be left out, such as a maintenance window: for `Rule.excluding`.

    It is written in one of three ways. Its begin is inside, its end is not.

    ``window("SAT 22:00", "SUN 04:00", tz="Europe/Riga")`` is on the wall clock, every week, or without days of the
    week every day; a begin that the clock shows twice is the first one, an end the last one.

    ``window(datetime(…), datetime(…))`` is between two instants, once.

    ``window(cron("0 2 * * SUN#1"), timedelta(hours=4))`` lasts a while from every instant of a rule on.

    Args:
        begin: A time such as ``22:00`` or ``SAT 22:00``, an aware instant, or a rule.
        end: A time of the same form, an aware instant, or a duration of more than zero and less than 1000 days.
        tz: Time zone whose wall clock is meant, UTC unless given; only of a window on the wall clock.

    Raises:
        ScheduleError: It is written in none of these ways, or is empty.
    """
    if isinstance(begin, str) and isinstance(end, str):
        return _clockwise(begin, end, zone_name("UTC" if tz is None else tz))
    if tz is not None:
        raise refused("tz", tz, "is only for a window on the wall clock, such as window('SAT 22:00', 'SUN 04:00').")
    if isinstance(begin, datetime):
        if not isinstance(end, datetime):
            raise refused("end", end, "must be an instant, as the begin of the window is one.")
        found = Period(utc("begin", begin), utc("end", end))
        if found.end <= found.begin:
            raise refused("end", end, "must be after the begin of the window.")
        return found
    if isinstance(begin, Rule) and isinstance(end, timedelta):
        if not timedelta(0) < end < timedelta(days=1000):
            raise refused(
                "end", end, "must be longer than zero and shorter than 1000 days, such as timedelta(hours=4)."
            )
        return Following(begin, end)
    ways = "('SAT 22:00', 'SUN 04:00', tz=…), (datetime, datetime) or (rule, timedelta)"
    raise refused("begin", begin, f"does not go with end={end!r}; write window{ways}.")


def _clockwise(begin: str, end: str, tz: str) -> Clockwise:
    found = Clockwise(_canonical("begin", begin), _canonical("end", end), tz)
    if (_clock(found.begin)[0] is None) != (_clock(found.end)[0] is None):
        raise refused("end", end, f"a day of the week must stand in both or in none; the begin is {begin!r}.")
    if not found.length or found.begin == found.end:
        raise refused("end", end, "is the begin of the window as well; write one that is later.")
    return found


def _canonical(name: str, text: str) -> str:
    found = _CLOCK.fullmatch(" ".join(text.upper().split()))
    if found is None or int(found[2]) * 60 + int(found[3]) > 24 * 60:
        raise refused(name, text, "must be a time such as '22:00', or 'SAT 22:00' with one of MON to SUN.")
    return f"{found[1] + ' ' if found[1] else ''}{int(found[2]):02}:{found[3]}"


def _clock(text: str) -> tuple[int | None, timedelta]:
    """Return the day of the week (Monday is 0) and the time since midnight of a canonical text."""
    day, _, at = text.rpartition(" ")
    hours, minutes = at.split(":")
    return WEEKDAYS.index(day) if day else None, timedelta(hours=int(hours), minutes=int(minutes))
