"""What every rule of time can be asked, how it is narrowed, and what every argument of one must be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from steadybeat.errors import ScheduleError

if TYPE_CHECKING:
    from steadybeat.schedule.windows import Window

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)


class Rule(ABC):
    """When something is due: a strictly increasing sequence of instants, fixed by the rule alone.

    Rules are values: equal if written alike, hashable, and their repr can be pasted back. What narrows a rule
    returns another one, so that it can be chained in any order.
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

    @property
    def unbound(self) -> bool:
        """Whether it has an ``H`` that stands for a number still: until it is `named`, nothing is due."""
        return False

    @property
    def beginning(self) -> datetime | None:
        """An instant before which nothing is due, aware UTC; None if the rule reaches back without end."""
        return None

    @property
    def zones(self) -> frozenset[str]:
        """The time zones by whose wall clocks it goes."""
        return frozenset()

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first instant that is strictly after `instant`, or None after the last one.

        Args:
            instant: Aware, in any time zone.

        Returns:
            Aware UTC. Rules end with the calendar, in December 9999; others where they are said to end.

        Raises:
            ScheduleError: `instant` has no time zone, or the rule has an ``H`` and was not `named`.
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
            ScheduleError: An end has no time zone, or the rule has an ``H`` and was not `named`.
        """
        if self.unbound:
            raise not_named(self)
        return self._window(utc("start", start), utc("end", end))

    def _window(self, start: datetime, end: datetime) -> Iterator[datetime]:
        if start >= end:
            return
        for fire in self._fires(start):
            if fire > end:
                return
            yield fire

    def named(self, name: str) -> Rule:
        """Return the rule of the schedule of this name: each ``H`` becomes a number; without ``H`` it stays itself.

        Args:
            name: Of the schedule. The same name gives the same numbers for ever.

        Raises:
            ScheduleError: The name is empty, or nothing of the rule is left.
        """
        if not isinstance(name, str) or not name:
            raise refused("name", name, "must be the name of a schedule.")
        return self._named(name) if self.unbound else self

    def _named(self, name: str) -> Rule:
        return self

    def cautions(self) -> list[str]:
        """Return what may surprise about the rule, one sentence each, with the way out; mostly nothing."""
        return []

    def starting(self, at: datetime) -> Rule:
        """Return the rule from an instant on: what is due at `at` itself is kept.

        Args:
            at: Aware, in any time zone.

        Raises:
            ScheduleError: `at` has no time zone, or nothing is due from then on.
        """
        from steadybeat.schedule.bounds import starting

        return starting(self, at)

    def until(self, at: datetime) -> Rule:
        """Return the rule up to an instant: what is due at `at` itself is kept.

        Args:
            at: Aware, in any time zone.

        Raises:
            ScheduleError: `at` has no time zone, or nothing is due until then, counted from 1970.
        """
        from steadybeat.schedule.bounds import until

        return until(self, at)

    def limited(self, count: int) -> Rule:
        """Return the first `count` fires of a rule that has a beginning.

        What was narrowed before is counted after it: ``rule.starting(at).excluding(day).limited(3)`` is due three
        times. The last fire is searched once, when the rule is written: about a second for a million of a cron rule.

        Args:
            count: One to a million.

        Raises:
            ScheduleError: The count is wrong, or the rule has no beginning: ``starting(at)``, `once` and `rrule`
                give one.
        """
        from steadybeat.schedule.bounds import limited

        return limited(self, count)

    def excluding(
        self, *what: date | Iterable[date] | Rule | Window, tz: str | ZoneInfo | timezone | None = None
    ) -> Rule:
        """Return the rule without what is due on some dates, inside a window, or together with another rule.

        Nothing is put in the place of what is left out. Dates are kept in the rule: a calendar that is computed,
        such as that of the package ``holidays``, must be given its years.

        Args:
            *what: Dates, calendars (whatever gives dates when it is iterated over), windows (`window`), rules.
            tz: Time zone of the dates; that of the rule unless given, UTC where it has none.

        Raises:
            ScheduleError: Something is none of these, a calendar is empty, the rule has several time zones and
                `tz` does not say which, or nothing would be left: of a year of minutes, or of forty years.
        """
        from steadybeat.schedule.exclusion import excluding

        return excluding(self, what, tz)


def not_named(rule: Rule) -> ScheduleError:
    """Return the error of a rule that is asked for instants before it has any."""
    return refused(
        "rule",
        rule,
        "has H, which stands for a number hashed from the schedule's name: ask rule.named('…') with that name, "
        "or write a number instead of H.",
    )


def refused(name: str, value: object, why: str) -> ScheduleError:
    """Return the error that names an argument, its value, and the way out."""
    return ScheduleError(f"{name}={value!r}: {why}", name=name, value=value)


def utc(name: str, instant: datetime) -> datetime:
    """Return an aware instant in UTC, or refuse the argument `name`."""
    if not isinstance(instant, datetime):
        raise refused(name, instant, "must be a datetime with a time zone.")
    if instant.tzinfo is UTC:
        return instant
    if instant.utcoffset() is None:
        raise refused(name, instant, "has no time zone; write datetime(…, tzinfo=timezone.utc).")
    return instant.astimezone(UTC)


def iso(instant: datetime) -> str:
    """Return an instant as ISO 8601 in UTC, with microseconds only where there are some."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def written(value: object) -> str:
    """Return the repr of a date, an instant or a duration as it is written after ``from datetime import …``."""
    return repr(value).replace("datetime.", "")


def lower(text: str) -> str:
    """Return a sentence as it is said inside another one."""
    return text[0].lower() + text[1:]
