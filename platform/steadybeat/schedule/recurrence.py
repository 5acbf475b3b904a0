"""Rules of RFC 5545: "every second Friday, ten times", read by python-dateutil.

dateutil reads the text and walks the wall clock from `dtstart` on. Where a wall clock changes, its readings become
instants here; and it is started near the instant that was asked for, or it would walk through years of seconds.
"""

from __future__ import annotations

import heapq
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from dateutil import rrule as dateutil_rrule

from steadybeat.schedule.rule import Rule, refused, utc
from steadybeat.schedule.zones import offset_name, zone_of

FREQUENCIES = ("year", "month", "week", "day", "hour", "minute", "second")
STEPS = {
    dateutil_rrule.WEEKLY: timedelta(weeks=1),
    dateutil_rrule.DAILY: timedelta(days=1),
    dateutil_rrule.HOURLY: timedelta(hours=1),
    dateutil_rrule.MINUTELY: timedelta(minutes=1),
    dateutil_rrule.SECONDLY: timedelta(seconds=1),
}
"""Frequencies whose periods have one length: a start may be moved by whole intervals, and the rule stays the same."""

_UNTIL_IN_UTC = re.compile(r"UNTIL=\w+Z")

APART = timedelta(hours=27)
"""No two offsets from UTC lie further apart, so that what is this far behind the walk cannot be overtaken by it."""

LAST_SEARCH = 9960
"""The latest year to search for a first date from: none that exists is further than 40 years off."""


@dataclass(frozen=True, slots=True, repr=False)
class RRule(Rule):
    """A recurrence rule of RFC 5545, which includes its start where that fits; made by `rrule`.

    Args:
        text: The rule without its start, as dateutil writes it.
        start: A reading of the wall clock, without a time zone.
        tz: Name of a time zone, or an offset such as ``+02:00``.
    """

    text: str
    start: datetime
    tz: str

    def __repr__(self) -> str:
        dtstart = repr(self.start.replace(tzinfo=zone_of(self.tz))).replace("datetime.", "").replace("zoneinfo.", "")
        return f"rrule({self.text!r}, dtstart={dtstart})"

    @property
    def first(self) -> datetime:
        """The instant of its start, which is due where it fits the rule."""
        return self.start.replace(tzinfo=zone_of(self.tz)).astimezone(UTC)

    @property
    def beginning(self) -> datetime:
        """An instant before which nothing is due; a skipped hour can bring a fire in front of the start."""
        return self.first - APART

    @property
    def zones(self) -> frozenset[str]:
        """The time zone of its start."""
        return frozenset([self.tz])

    def explain(self) -> str:
        """Return the rule in words, such as ``Every 2 weeks, BYDAY=MO, from 2026-01-05 06:00:00 (Europe/Riga)``."""
        read = _read(self.text, self.start)
        unit = FREQUENCIES[read._freq]
        kept = [part for part in self.text.split(";") if not part.startswith(("FREQ=", "INTERVAL="))]
        period = f"Every {unit}" if read._interval == 1 else f"Every {read._interval} {unit}s"
        return ", ".join([period, *kept, f"from {self.start} ({self.tz})"])

    def to_json(self) -> dict[str, Any]:
        """Return the rule as JSON data."""
        return {"type": "rrule", "rule": self.text, "dtstart": self.start.isoformat(), "tz": self.tz}

    def _fires(self, after: datetime) -> Iterator[datetime]:
        zone, last = zone_of(self.tz), after
        walls = _near(_read(self.text, self.start), after)
        try:
            for fire in _in_order(walls, zone):
                if fire > last:
                    last = fire
                    yield fire
        except OverflowError:
            return


def rrule(rule: str, *, dtstart: datetime) -> RRule:
    """Return a recurrence rule, read as RFC 5545 says.

    Days are counted on the wall clock of the start's time zone. A time that a change of the clocks skips is taken
    with the offset before the change; one that it repeats is due the first time. Without ``COUNT`` or ``UNTIL`` the
    rule is endless.

    Args:
        rule: Such as ``FREQ=MONTHLY;BYDAY=2FR;COUNT=10``. ``UNTIL`` without ``Z`` is in the start's time zone.
        dtstart: Aware: where counting starts, to the second. The zone is a ZoneInfo, UTC, or a fixed offset.

    Raises:
        ScheduleError: It cannot be read, has no date, or the start has no time zone; or it repeats within a day on a
            wall clock that changes, where hours are not all alike.

    Source: RFC 5545, 3.3.5 and 3.3.10.
    """
    if not isinstance(rule, str) or not rule.strip():
        raise refused("rule", rule, "must be a text such as 'FREQ=WEEKLY;BYDAY=MO'.")
    utc("dtstart", dtstart)
    written, start = rule.strip().upper().removeprefix("RRULE:"), dtstart.replace(tzinfo=None, microsecond=0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # dateutil only warns of COUNT beside UNTIL
            # dateutil wants either both without a time zone, start and UNTIL, or both with one
            read = dateutil_rrule.rrulestr(written, dtstart=dtstart if _UNTIL_IN_UTC.search(written) else start)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, DeprecationWarning) as error:
        raise refused("rule", rule, f"is no rule of RFC 5545 ({error}); write one such as 'FREQ=WEEKLY'.") from error
    return _checked(read, dtstart)


def of_dateutil(found: Any) -> RRule:
    """Return the rule that a `dateutil.rrule.rrule` is, whose start has a time zone.

    Raises:
        ScheduleError: As `rrule`.
    """
    return _checked(found, found._dtstart)


def _checked(found: Any, dtstart: datetime) -> RRule:
    start, until = dtstart.replace(tzinfo=None, microsecond=0), found._until
    if until is not None and until.tzinfo is not None:
        until = until.astimezone(dtstart.tzinfo).replace(tzinfo=None)
    text = str(found.replace(dtstart=start, until=until)).rpartition("RRULE:")[2]
    rule = RRule(text, start, offset_name(dtstart))
    read = _read(rule.text, rule.start)
    if read._freq > dateutil_rrule.DAILY and isinstance(zone_of(rule.tz), ZoneInfo):
        way_out = "write dtstart in UTC, or cron('…', tz=…)"
        raise refused(
            "rule", rule.text, f"repeats within a day, and the hours of {rule.tz} are not all alike; {way_out}."
        )
    # The calendar repeats itself every 400 years; near its end dateutil's search for a date ends soon.
    years = (LAST_SEARCH - rule.start.year) // 400 * 400
    first = next(iter(read.replace(dtstart=start.replace(year=start.year + years), until=None, count=None)), None)
    if first is None or (read._until is not None and first.replace(year=first.year - years) > read._until):
        raise refused("rule", rule.text, f"has no date from {rule.start} on; write one that exists.")
    return rule


@lru_cache(maxsize=4096)
def _read(text: str, start: datetime) -> Any:
    return dateutil_rrule.rrulestr(text, dtstart=start)


def _near(read: Any, after: datetime) -> Any:
    """Return a rule that is the same from just before an instant on, and starts not long before."""
    step, utc_wall = STEPS.get(read._freq), after.replace(tzinfo=None)
    if step is None or read._count is not None or utc_wall - read._dtstart < APART:
        return read
    wall = utc_wall - APART
    interval = read._interval * step
    return read.replace(dtstart=read._dtstart + (wall - read._dtstart) // interval * interval)


def _in_order(walls: Any, zone: tzinfo) -> Iterator[datetime]:
    """Yield the instants of readings of the wall clock, which a skipped hour can bring out of order."""
    if isinstance(zone, timezone):
        yield from (wall.replace(tzinfo=zone).astimezone(UTC) for wall in walls)
        return
    coming: list[datetime] = []
    for wall in walls:
        heapq.heappush(coming, wall.replace(tzinfo=zone).astimezone(UTC))
        while coming and coming[0].replace(tzinfo=None) < wall - APART:
            yield heapq.heappop(coming)
    yield from sorted(coming)
