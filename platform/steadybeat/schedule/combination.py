"""Rules that are due whenever one of several is."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from steadybeat.schedule.rule import Rule, lower, refused


@dataclass(frozen=True, slots=True, repr=False)
class AnyOf(Rule):
    """Several rules as one; made by `any_of`.

    Args:
        rules: Two or more, no two of them equal, none of them an `AnyOf`.
    """

    rules: tuple[Rule, ...]

    def __repr__(self) -> str:
        return f"any_of({', '.join(map(repr, self.rules))})"

    def explain(self) -> str:
        """Return the rule in words, its parts joined by ``; or``."""
        first, *others = (rule.explain() for rule in self.rules)
        return "; or ".join([first, *map(lower, others)])

    def to_json(self) -> dict[str, Any]:
        """Return the rule as JSON data."""
        return {"type": "any_of", "rules": [rule.to_json() for rule in self.rules]}

    @property
    def unbound(self) -> bool:
        """Whether one of its rules has an ``H`` that stands for a number still."""
        return any(rule.unbound for rule in self.rules)

    @property
    def beginning(self) -> datetime | None:
        """The first beginning, if every one of its rules has one."""
        found = [rule.beginning for rule in self.rules]
        known = [each for each in found if each is not None]
        return min(known) if len(known) == len(found) else None

    @property
    def zones(self) -> frozenset[str]:
        """The time zones of all its rules."""
        return frozenset().union(*(rule.zones for rule in self.rules))

    def cautions(self) -> list[str]:
        """Return the cautions of its rules."""
        return [text for rule in self.rules for text in rule.cautions()]

    def _named(self, name: str) -> Rule:
        return any_of(*(rule.named(name) for rule in self.rules))

    def _fires(self, after: datetime) -> Iterator[datetime]:
        last = after
        for fire in heapq.merge(*(rule._fires(after) for rule in self.rules)):
            if fire > last:
                last = fire
                yield fire


def any_of(*rules: Rule) -> Rule:
    """Return the rule that is due whenever one of these is; an instant that several have is due once.

    Args:
        *rules: One or more. Equal ones count once, and one alone is returned as it is.

    Raises:
        ScheduleError: There is none, or something is no rule.
    """
    if not rules:
        raise refused("rules", rules, "there is none; write any_of(cron('0 6 * * *'), cron('0 12 * * SAT')).")
    found: dict[Rule, None] = {}
    for rule in rules:
        if not isinstance(rule, Rule):
            raise refused("rules", rule, "is no rule; write cron(…), every(…), once(…) or rrule(…).")
        found.update(dict.fromkeys(rule.rules if isinstance(rule, AnyOf) else [rule]))
    return next(iter(found)) if len(found) == 1 else AnyOf(tuple(found))
