"""Time zones: their names, and the stretches of time in which a wall clock and UTC differ by a constant.

The standard library does not list the changes of a clock. They are found by asking for its offset every few days,
once for each zone and year.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from steadybeat.errors import did_you_mean
from steadybeat.schedule.rule import SECOND, refused

STEP = timedelta(days=6)
"""No wall clock has changed twice within this (America/Recife, October 2000: seven days)."""

CORRECTION = timedelta(hours=3)
"""A change of the wall clock this large is a correction, not daylight saving: cron(8) of Debian."""

BEGIN = datetime(2, 1, 1, tzinfo=UTC)
END = datetime(9999, 12, 1, tzinfo=UTC)
"""Where the calendar begins and ends; an offset and one more step must fit on either side."""


class Span(NamedTuple):
    """A stretch of time, `stop` excluded, in which the wall clock is ahead of UTC by a constant."""

    start: datetime
    stop: datetime
    shift: timedelta


class Change(NamedTuple):
    """A change of the wall clock: by how much it is ahead of UTC before, and from the instant on."""

    at: datetime
    before: timedelta
    after: timedelta


def spans(tz: str, begin: datetime) -> Iterator[Span]:
    """Yield the spans of a time zone from `begin` on; each starts where the last one stopped."""
    if tz == "UTC":
        yield Span(begin, END, timedelta(0))
        return
    start, shift = begin, _shift(ZoneInfo(tz), begin)
    for year in range(begin.year, END.year + 1):
        for at, _, after in changes(tz, year):
            if at > start:
                yield Span(start, at, shift)
                start, shift = at, after
        stop = _new_year(year + 1)
        if start < stop:
            yield Span(start, stop, shift)
            start = stop


@lru_cache(maxsize=8192)
def changes(tz: str, year: int) -> tuple[Change, ...]:
    """Return the changes of a wall clock in a year of UTC, the end of the year included and its start excluded."""
    zone, end, found = ZoneInfo(tz), _new_year(year + 1), []
    start = _new_year(year)
    shift = _shift(zone, start)
    while start < end:
        stop = min(start + STEP, end)
        next_shift = _shift(zone, stop)
        if next_shift != shift:
            begin, before = start, shift
            seconds = range((stop - start) // SECOND)
            changed = bisect_left(seconds, True, key=lambda n: _shift(zone, begin + n * SECOND) != before)
            found.append(Change(start + changed * SECOND, shift, next_shift))
        start, shift = stop, next_shift
    return tuple(found)


def reading(tz: str, wall: datetime, *, last: bool = False) -> datetime:
    """Return the first instant at which a wall clock shows `wall` or more; where it skips it, that is the change.

    Args:
        tz: Name of a time zone, or an offset such as ``+02:00``.
        wall: Without a time zone.
        last: The second time, if the clock shows it twice.
    """
    zone = zone_of(tz)
    first, second = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first <= second:
        return second if last else first
    found = (change.at for year in (second.year, first.year) for change in changes(tz, year))
    return next((at for at in found if second < at <= first), first)


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


def zone_of(name: str) -> tzinfo:
    """Return the time zone of a name, or of an offset such as ``+02:00``."""
    if isinstance(name, str) and name.startswith(("+", "-")):
        try:
            return datetime.strptime(name, "%z").tzinfo or UTC
        except ValueError as error:
            raise refused("tz", name, "must be an offset such as '+02:00', or the name of a time zone.") from error
    return UTC if zone_name(name) == "UTC" else ZoneInfo(name)


def offset_name(instant: datetime) -> str:
    """Return the name of an instant's time zone, or its offset such as ``+02:00``."""
    zone = instant.tzinfo
    offset = instant.utcoffset()
    if isinstance(zone, timezone) and offset:
        sign, rest = ("-", -offset) if offset < timedelta(0) else ("+", offset)
        return f"{sign}{str(rest).zfill(8)}".removesuffix(":00")
    return zone_name("UTC" if isinstance(zone, timezone) else zone)


def _new_year(year: int) -> datetime:
    return datetime(year, 1, 1, tzinfo=UTC) if year <= END.year else END


def _shift(zone: ZoneInfo, instant: datetime) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta(0)
