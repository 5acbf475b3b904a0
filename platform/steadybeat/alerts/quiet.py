"""Quiet hours: when people are left alone, unless it is bad enough. Pure: no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from steadybeat.errors import ConfigurationError, did_you_mean

SEVERITIES = ("info", "warning", "error", "critical")
"""How bad something can be, the worst last."""

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_KEYS = ("from", "until", "tz", "below", "days")


def rank(severity: str | None) -> int:
    """Return how bad a severity is; -1 for None."""
    return SEVERITIES.index(severity) if severity in SEVERITIES else -1


@dataclass(frozen=True, slots=True)
class Quiet:
    """Hours of each day, or of some, by the clock on a wall.

    An hour that comes twice when clocks go back is quiet both times.

    Attributes:
        begins: When they begin.
        ends: When they end: on the next day where that is not later than `begins`.
        zone: Whose clock.
        below: What is at least this bad is told at any hour.
        days: On which days of the week they begin, Monday 0.
    """

    begins: time
    ends: time
    zone: ZoneInfo
    below: str = "critical"
    days: frozenset[int] = frozenset(range(7))

    @classmethod
    def read(cls, given: Any, where: str) -> Quiet:
        """Return the quiet hours of a route.

        Args:
            given: Such as ``{"from": "22:00", "until": "07:00", "tz": "Europe/Berlin", "below": "critical"}``.
            where: What stands before an error.

        Raises:
            ConfigurationError: It is none; names the field and the way out.
        """
        if not isinstance(given, Mapping):
            raise ConfigurationError(f'{where}: must be such as {{"from": "22:00", "until": "07:00", "tz": "UTC"}}.')
        for key in given:
            if key not in _KEYS:
                raise ConfigurationError(f"{where}: there is no {key!r}.{did_you_mean(str(key), _KEYS)}")
        begins, ends = _time(given, "from", where), _time(given, "until", where)
        if begins == ends:
            raise ConfigurationError(f"{where}: from and until are the same, {begins:%H:%M}; a silence has no end.")
        below = given.get("below", "critical")
        if below not in SEVERITIES[1:]:
            near = did_you_mean(str(below), SEVERITIES[1:])
            raise ConfigurationError(f"{where}: below={below!r}: must be warning, error or critical.{near}")
        return cls(begins, ends, _zone(given.get("tz", "UTC"), where), str(below), _days(given, where))

    def until(self, now: datetime, severity: str) -> datetime | None:
        """Return when people may be told, or None: now.

        Args:
            now: Aware.
            severity: How bad it is.
        """
        if rank(severity) >= rank(self.below):
            return None
        today = now.astimezone(self.zone).date()
        for day in (today - timedelta(days=1), today):
            if day.weekday() in self.days:
                begin, end = self._on(day)
                if begin <= now < end:
                    return end
        return None

    def _on(self, day: date) -> tuple[datetime, datetime]:
        last = day if self.ends > self.begins else day + timedelta(days=1)
        begin = datetime.combine(day, self.begins, self.zone).astimezone(UTC)
        end = datetime.combine(last, self.ends, self.zone)
        return begin, max(end.astimezone(UTC), end.replace(fold=1).astimezone(UTC))


def _time(given: Mapping[str, Any], name: str, where: str) -> time:
    try:
        return time.fromisoformat(str(given[name])).replace(tzinfo=None)
    except KeyError:
        raise ConfigurationError(f'{where}: lacks {name!r}, such as "22:00".') from None
    except ValueError:
        raise ConfigurationError(f'{where}: {name}={given[name]!r}: must be a time of day, such as "22:00".') from None


def _zone(name: Any, where: str) -> ZoneInfo:
    known = available_timezones()
    if name not in known:
        raise ConfigurationError(f"{where}: tz={name!r}: there is no such time zone.{did_you_mean(str(name), known)}")
    return ZoneInfo(name)


def _days(given: Mapping[str, Any], where: str) -> frozenset[int]:
    days = given.get("days", DAYS)
    if not isinstance(days, list | tuple) or not days or any(day not in DAYS for day in days):
        raise ConfigurationError(f"{where}: days={days!r}: must be a list of {', '.join(DAYS)}.")
    return frozenset(DAYS.index(day) for day in days)
