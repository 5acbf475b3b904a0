"""Coming: when schedules are due next. It follows from their rules, which are kept in mind from page to page.

Ten thousand rules are asked once; from then on only those that have fired since, or that somebody has changed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from steadybeat.errors import SteadybeatError
from steadybeat.schedule import Rule, from_json


class Unreadable(Rule):
    """A rule that this release cannot read, such as one that a newer release has written: its pages show the rest.

    Args:
        spec: As the ledger has it.
    """

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self._spec = spec

    def _fires(self, after: datetime) -> Iterator[datetime]:
        return iter(())

    def explain(self) -> str:
        """Return that it cannot be read."""
        return "A rule that this release cannot read"

    def to_json(self) -> dict[str, Any]:
        """Return it as the ledger has it."""
        return dict(self._spec)


class Coming:
    """When schedules are due next."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: dict[str, tuple[int, Rule]] = {}
        self._next: dict[str, tuple[int, datetime | None]] = {}

    def rule(self, name: str, revision: int, spec: Mapping[str, Any]) -> Rule:
        """Return the rule of a schedule.

        Args:
            name: Of the schedule.
            revision: Its own; another one may have another rule.
            spec: As the ledger has it.
        """
        known = self._rules.get(name)
        if known is None or known[0] != revision:
            known = (revision, _read(spec))
            self._rules[name] = known
        return known[1]

    def next(self, name: str, revision: int, spec: Mapping[str, Any], now: datetime) -> datetime | None:
        """Return when a schedule is due next; None: never again."""
        known = self._next.get(name)
        if known is None or known[0] != revision or (known[1] is not None and known[1] <= now):
            known = (revision, self.rule(name, revision, spec).next_after(now))
            self._next[name] = known
        return known[1]

    def order(self, revisions: Mapping[str, int], now: datetime, specs: Any) -> list[tuple[str, datetime | None]]:
        """Return schedules by when they are due next, and by name; those that never are again, last.

        Args:
            revisions: Theirs, by their names.
            now: Aware.
            specs: Called with the names of those whose rules are not known; returns revision and rule of each.
        """
        with self._lock:
            unknown = [name for name, revision in revisions.items() if self._rules.get(name, (0,))[0] != revision]
            if unknown:
                for name, (revision, spec) in specs(unknown).items():
                    self.rule(name, revision, spec)
            found = [
                (name, self.next(name, self._rules[name][0], {}, now)) for name in revisions if name in self._rules
            ]
        return sorted(found, key=lambda each: (each[1] is None, each[1] or now, each[0]))


def _read(spec: Mapping[str, Any]) -> Rule:
    try:
        return from_json(spec)
    except SteadybeatError:
        return Unreadable(spec)


def coming_of(application: Any) -> Coming:
    """Return what the pages of one Flower know of the rules of its schedules."""
    found: Coming = application.settings.setdefault("steadybeat_coming", Coming())
    return found
