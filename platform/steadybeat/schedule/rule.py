"""What every rule of time can be asked, and what every argument of one must be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from steadybeat.errors import ScheduleError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)


class Rule(ABC):
    """When something is due: a strictly increasing sequence of instants, fixed by the rule alone.

    Rules are values: equal if written alike, hashable, and their repr can be pasted back.
    """

    __slots__ = ()

    @abstractmethod
    def _fires(self, after: datetime) -> Iterator[datetime]:
        """Yield every instant after `after` (aware UTC, itself excluded), strictly increasing."""

    @abstractmethod
    def explain(self) -> str:
        """Return the rule in words, such as ``At 06:00 every day (UTC)``."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return the rule as JSON data; `from_json` reads it back to an equal rule."""

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first instant that is strictly after `instant`, or None after the last one.

        Args:
            instant: Aware, in any time zone.

        Returns:
            Aware UTC. Rules end with the calendar, in December 9999; a recurrence with its COUNT or UNTIL.

        Raises:
            ScheduleError: `instant` has no time zone.
        """
        return next(self._fires(utc("instant", instant)), None)

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Return every instant t with ``start < t <= end``: `start` is excluded, `end` is included.

        Windows that follow each other (a, b], (b, c] therefore hold each instant once.

        Args:
            start: Aware, in any time zone.
            end: Aware, in any time zone; nothing is due if it is not after `start`.

        Returns:
            Aware UTC, strictly increasing, computed while it is read.

        Raises:
            ScheduleError: An end has no time zone.
        """
        return self._window(utc("start", start), utc("end", end))

    def _window(self, start: datetime, end: datetime) -> Iterator[datetime]:
        if start >= end:
            return
        for fire in self._fires(start):
            if fire > end:
                return
            yield fire


def refused(name: str, value: object, why: str) -> ScheduleError:
    """Return the error that names an argument, its value, and the way out."""
    return ScheduleError(f"{name}={value!r}: {why}", name=name, value=value)


def utc(name: str, instant: datetime) -> datetime:
    """Return an aware instant in UTC, or refuse the argument `name`."""
    if not isinstance(instant, datetime):
        raise refused(name, instant, "must be a datetime with a time zone.")
    if instant.utcoffset() is None:
        raise refused(name, instant, "has no time zone; write datetime(…, tzinfo=timezone.utc).")
    return instant.astimezone(UTC)


def iso(instant: datetime) -> str:
    """Return an instant as ISO 8601 in UTC, with microseconds only where there are some."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
