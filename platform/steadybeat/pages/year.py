"""A calendar of the last year: a square for each day, by the worst that became of the fires of that day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from steadybeat.pages.markup import Html, join, tag
from steadybeat.wording import count

DAYS = 371
"""A year, and the days that make its first week whole."""
SIZE, STEP = 11, 13
WORST = ("missed", "skipped", "coalesced", "waiting", "dispatched")
"""What became of fires, the worst first; a dead letter is worse."""
TONES = {"missed": "bad", "skipped": "wait", "coalesced": "wait", "waiting": "busy", "dispatched": "good"}
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(slots=True)
class Day:
    """What became of the fires of one day.

    Attributes:
        counts: How many of each state.
        dead: How many of their runs are dead letters.
    """

    counts: dict[str, int] = field(default_factory=dict)
    dead: int = 0

    @property
    def tone(self) -> str:
        """Its colour."""
        if self.dead:
            return "bad"
        return next((TONES[state] for state in WORST if self.counts.get(state)), "quiet")

    @property
    def text(self) -> str:
        """It in words: ``1,440 fires: 1,438 dispatched, 2 missed; 1 dead letter``."""
        total = sum(self.counts.values())
        parts = ", ".join(f"{self.counts[state]:,} {state}" for state in reversed(WORST) if self.counts.get(state))
        dead = f"; {count(self.dead, 'dead letter')}" if self.dead else ""
        return f"{count(total, 'fire')}: {parts}{dead}" if total else f"no fires{dead}"


def days_of(rows: Sequence[Mapping[str, Any]], dead: Mapping[date, int]) -> dict[date, Day]:
    """Return what became of the fires of each day.

    Args:
        rows: ``day``, ``state`` and ``n`` of each.
        dead: How many dead letters there are of each day.
    """
    found: dict[date, Day] = defaultdict(Day)
    for row in rows:
        found[row["day"]].counts[row["state"]] = row["n"]
    for day, number in dead.items():
        found[day].dead = number
    return dict(found)


def drawn(days: Mapping[date, Day], today: date, since: date | None) -> Html:
    """Return the calendar as a picture, with a line for each day that had trouble for those who do not see it.

    Args:
        days: What became of the fires of each day that had any.
        today: The last day.
        since: The first day of which everything is known; None: of all.
    """
    first = today - timedelta(days=DAYS - 1)
    first -= timedelta(days=first.weekday())
    squares, months = [], []
    for n in range((today - first).days + 1):
        day = first + timedelta(days=n)
        week = n // 7
        if day.day == 1 or n == 0:
            months.append(_month(day, week))
        squares.append(_square(day, days.get(day), week, unknown=since is not None and day < since))
    width = ((today - first).days // 7 + 1) * STEP
    troubled = sum(each.tone == "bad" for each in days.values())
    label = f"Fires of each day from {first} to {today}: {count(len(days), 'day')} with fires, {troubled} with trouble"
    return tag(
        "svg",
        join(months),
        join(squares),
        class_="sb-calendar",
        viewBox=f"0 0 {width} {7 * STEP + 14}",
        width=width,
        height=7 * STEP + 14,
        role="img",
        aria_label=label,
    )


def _square(day: date, own: Day | None, week: int, *, unknown: bool) -> Html:
    text = f"{day}: not looked at" if unknown and own is None else f"{day}: {(own or Day()).text}"
    kind = "none" if own is None else own.tone
    return tag(
        "rect",
        tag("title", text),
        class_=f"sb-day sb-day-{kind}",
        x=week * STEP,
        y=14 + day.weekday() * STEP,
        width=SIZE,
        height=SIZE,
        rx=2,
    )


def _month(day: date, week: int) -> Html:
    return tag("text", MONTHS[day.month - 1], x=week * STEP, y=10)
