"""Rules that are due once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from steadybeat.schedule.rule import Rule, iso, utc, written


@dataclass(frozen=True, slots=True, repr=False)
class Once(Rule):
    """One instant; made by `once`.

    Args:
        at: Aware UTC.
    """

    at: datetime

    def __repr__(self) -> str:
        return f"once({written(self.at)})"

    def explain(self) -> str:
        """Return the rule in words, such as ``Once, at 2026-01-15T12:00:00Z``."""
        return f"Once, at {iso(self.at)}"

    def to_json(self) -> dict[str, Any]:
        """Return the rule as JSON data."""
        return {"type": "once", "at": iso(self.at)}

    @property
    def beginning(self) -> datetime:
        """Its instant."""
        return self.at

    def _fires(self, after: datetime) -> Iterator[datetime]:
        if self.at > after:
            yield self.at


def once(at: datetime) -> Once:
    """Return the rule of a single instant: a one-shot that survives restarts, since a schedule keeps it.

    Args:
        at: Aware, in any time zone, to the microsecond.

    Raises:
        ScheduleError: `at` is no datetime, or has no time zone.
    """
    return Once(utc("at", at))
