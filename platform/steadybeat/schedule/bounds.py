"""Rules that begin, end, or are due a number of times."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar

from steadybeat.schedule.combination import AnyOf
from steadybeat.schedule.rule import EPOCH, MICROSECOND, Rule, iso, refused, utc, written

MOST = 1_000_000
"""The highest count of fires: the last of them is searched when the rule is written."""

FIRST = datetime.min.replace(tzinfo=UTC)


class Narrowed(Rule):
    """Another rule, without some of its fires."""

    __slots__ = ()
    rule: Rule

    @property
    def unbound(self) -> bool:
        """Whether its rule has an ``H`` that stands for a number still."""
        return self.rule.unbound

    @property
    def beginning(self) -> datetime | None:
        """That of its rule."""
        return self.rule.beginning

    @property
    def zones(self) -> frozenset[str]:
        """The time zones of its rule."""
        return self.rule.zones

    def cautions(self) -> list[str]:
        """Return the cautions of its rule."""
        return self.rule.cautions()

    @abstractmethod
    def _named(self, name: str) -> Rule:
        """Return the same of the named rule; what could not be checked before is checked now."""


Kind = TypeVar("Kind", bound=Narrowed)


@dataclass(frozen=True, slots=True, repr=False)
class Starting(Narrowed):
    """A rule from an instant on; made by `Rule.starting`.

    Args:
        rule: Any rule.
        at: Aware UTC; kept.
    """

    rule: Rule
    at: datetime

    def __repr__(self) -> str:
        return f"{self.rule!r}.starting({written(self.at)})"

    def explain(self) -> str:
        """Return the rule in words, with ``, from … on``."""
        return f"{in_words(self.rule)}, from {iso(self.at)} on"

    def to_json(self) -> dict[str, Any]:
        """Return the rule as JSON data."""
        return {"type": "starting", "rule": self.rule.to_json(), "at": iso(self.at)}

    @property
    def beginning(self) -> datetime:
        """The later one of `at` and of its rule's beginning."""
        return max(self.at, self.rule.beginning or self.at)

    def _named(self, name: str) -> Rule:
        return starting(self.rule.named(name), self.at)

    def _fires(self, after: datetime) -> Iterator[datetime]:
        return self.rule._fires(max(after, just_before(self.at)))


@dataclass(frozen=True, slots=True, repr=False)
class Until(Narrowed):
    """A rule up to an instant; made by `Rule.until`.

    Args:
        rule: Any rule.
        at: Aware UTC; kept.
    """

    rule: Rule
    at: datetime

    def __repr__(self) -> str:
        return f"{self.rule!r}.until({written(self.at)})"

    def explain(self) -> str:
        """Return the rule in words, with ``, until …``."""
        return f"{in_words(self.rule)}, until {iso(self.at)}"

    def to_json(self) -> dict[str, Any]:
        """Return the rule as JSON data."""
        return {"type": "until", "rule": self.rule.to_json(), "at": iso(self.at)}

    def _named(self, name: str) -> Rule:
        return until(self.rule.named(name), self.at)

    def _fires(self, after: datetime) -> Iterator[datetime]:
        return self.rule._window(after, self.at)


@dataclass(frozen=True, slots=True, repr=False)
class Limited(Narrowed):
    """The first fires of a rule; made by `Rule.limited`.

    Args:
        rule: A rule that has a beginning.
        count: One or more.
        last: The last of them, aware UTC; None if the rule has fewer, or has an ``H`` still.
    """

    rule: Rule
    count: int
    last: datetime | None = field(compare=False)

    def __repr__(self) -> str:
        return f"{self.rule!r}.limited({self.count})"

    def explain(self) -> str:
        """Return the rule in words, with ``, the first … times``."""
        return f"{in_words(self.rule)}, {f'the first {self.count} times' if self.count > 1 else 'the first time'} only"

    def to_json(self) -> dict[str, Any]:
        """Return the rule as JSON data."""
        return {"type": "limited", "rule": self.rule.to_json(), "count": self.count}

    def _named(self, name: str) -> Rule:
        return limited(self.rule.named(name), self.count)

    def _fires(self, after: datetime) -> Iterator[datetime]:
        return self.rule._fires(after) if self.last is None else self.rule._window(after, self.last)


def starting(rule: Rule, at: datetime) -> Starting:
    """Return what `Rule.starting` returns."""
    found = Starting(rule, utc("at", at))
    return _checked(found, "at", at, f"{rule!r} is not due from then on; write an earlier time.")


def until(rule: Rule, at: datetime) -> Until:
    """Return what `Rule.until` returns."""
    found = Until(rule, utc("at", at))
    since = iso(rule.beginning or EPOCH)
    return _checked(found, "at", at, f"{rule!r} is not due from {since} until then; write a later time.")


def limited(rule: Rule, count: int) -> Limited:
    """Return what `Rule.limited` returns."""
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST:
        raise refused("count", count, f"must be a number from 1 to {MOST}; for more write until(…).")
    begin = rule.beginning
    if begin is None:
        way_out = f"write .starting(datetime(…, tzinfo=timezone.utc)).limited({count})"
        raise refused("count", count, f"{rule!r} has no beginning to count from; {way_out}.")
    last = None if rule.unbound else next(islice(rule._fires(just_before(begin)), count - 1, None), None)
    return Limited(rule, count, last)


def in_words(rule: Rule) -> str:
    """Return a rule in words that more can be said of: those of several rules in brackets."""
    text = rule.explain()
    return f"({text})" if isinstance(rule, AnyOf) else text


def just_before(instant: datetime) -> datetime:
    """Return the instant of which `instant` is strictly after, by as little as there is."""
    return instant if instant == FIRST else instant - MICROSECOND


def is_never_due(rule: Rule) -> bool:
    """Return whether a rule that can be asked has no instant, from its beginning or from 1970 on."""
    return not rule.unbound and next(rule._fires(just_before(rule.beginning or EPOCH)), None) is None


def _checked(rule: Kind, name: str, value: object, why: str) -> Kind:
    if is_never_due(rule):
        raise refused(name, value, why)
    return rule
