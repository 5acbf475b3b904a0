"""Rules of a fixed interval."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from steadybeat.schedule.rule import EPOCH, MICROSECOND, SECOND, Rule, iso, refused, utc

_UNITS = (("day", timedelta(days=1)), ("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1)))


@dataclass(frozen=True, slots=True, repr=False)
class Every(Rule):
    """A fixed interval, counted from an anchor in both directions; made by `every`.

    Args:
        interval: One second or more.
        anchor: Aware UTC; an instant of the sequence.
    """

    interval: timedelta
    anchor: datetime

    def __repr__(self) -> str:
        anchor = "" if self.anchor == EPOCH else f", anchor={self.anchor!r}"
        return f"every({self.interval!r}{anchor})".replace("datetime.", "")

    def explain(self) -> str:
        """Return the rule in words, such as ``Every 5 seconds``."""
        anchor = "" if self.anchor == EPOCH else f", counted from {iso(self.anchor)}"
        return f"Every {words(self.interval)}{anchor}"

    def to_json(self) -> dict[str, Any]:
        """Return the rule as JSON data; whole numbers, so that nothing is rounded."""
        seconds, rest = divmod(self.interval, SECOND)
        data: dict[str, Any] = {"type": "every", "seconds": seconds, "anchor": None}
        if rest:
            data["microseconds"] = rest // MICROSECOND
        if self.anchor != EPOCH:
            data["anchor"] = iso(self.anchor)
        return data

    def _fires(self, after: datetime) -> Iterator[datetime]:
        try:
            fire = self.anchor + ((after - self.anchor) // self.interval + 1) * self.interval
            while True:
                yield fire
                fire += self.interval
        except OverflowError:
            return


def every(interval: timedelta, *, anchor: datetime | None = None) -> Every:
    """Return the rule of a fixed interval: counted from the anchor, in both directions, it never drifts.

    Args:
        interval: One second or more, to the microsecond.
        anchor: Aware; an instant of the sequence, 1970-01-01T00:00Z unless given.

    Raises:
        ScheduleError: The interval is no timedelta or too short, or the anchor has no time zone.
    """
    if not isinstance(interval, timedelta) or interval < SECOND:
        allowed = "must be a timedelta of one second or more, such as timedelta(seconds=5)."
        raise refused("interval", interval, allowed)
    return Every(interval, EPOCH if anchor is None else utc("anchor", anchor))


def words(interval: timedelta) -> str:
    """Return an interval in words: ``minute``, ``5 seconds``, ``1 hour 30 minutes``."""
    counts: list[tuple[str, str]] = []
    rest = interval
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        counts.append((str(count), unit))
    seconds, fraction = divmod(rest, SECOND)
    decimals = f".{fraction // MICROSECOND:06}".rstrip("0") if fraction else ""
    counts.append((f"{seconds}{decimals}", "second"))
    parts = [(count, unit) for count, unit in counts if count != "0"]
    if len(parts) == 1 and parts[0][0] == "1":
        return parts[0][1]
    return " ".join(f"{count} {unit}{'' if count == '1' else 's'}" for count, unit in parts)
