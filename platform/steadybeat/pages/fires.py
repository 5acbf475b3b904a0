"""Fires as pages show them: what became of each in one word, a strip of the newest, how long their runs took."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from steadybeat.pages import parts
from steadybeat.pages.markup import Html, join, tag
from steadybeat.telemetry.redaction import redact_text
from steadybeat.wording import length, nominal

STRIP = 30
"""So many fires are shown in a strip."""
Link = Callable[..., str]


def outcome(fire: Mapping[str, Any]) -> str:
    """Return what became of a fire, in one word: the state of its newest run, or its own where it has none."""
    return str(fire["run_state"] or ("waiting" if fire["state"] == "dispatched" else fire["state"]))


def reason(fire: Mapping[str, Any]) -> str:
    """Return why, without secrets; empty where there is nothing to say."""
    return redact_text(fire["run_reason"] or fire["reason"] or "")


def seconds(fire: Mapping[str, Any]) -> float | None:
    """Return how long the last attempt of a fire's run took; None where none has ended."""
    begun, ended = fire["started_at"], fire["finished_at"]
    return (ended - begun).total_seconds() if begun and ended and ended >= begun else None


def delay(fire: Mapping[str, Any]) -> float | None:
    """Return how long after it was due a fire began, in seconds; None where it has not."""
    return max(0.0, (fire["started_at"] - fire["due_at"]).total_seconds()) if fire["started_at"] else None


def strip(fires: Sequence[Mapping[str, Any]], link: Link, schedule: str) -> Html:
    """Return the newest fires as a row of marks, the oldest first, with their counts in words.

    Args:
        fires: The newest first.
        link: As pages have it.
        schedule: Whose they are.
    """
    if not fires:
        return parts.NOTHING
    marks = [_mark(fire, link, schedule) for fire in reversed(fires[:STRIP])]
    counts = Counter(map(outcome, fires[:STRIP]))
    text = ", ".join(f"{number} {word}" for word, number in counts.most_common())
    return join([
        tag("span", *marks, class_="sb-strip", role="group", aria_label=f"The last {len(marks)} fires: {text}"),
        tag("span", text, class_="sb-strip-text"),
    ])  # fmt: skip


def _mark(fire: Mapping[str, Any], link: Link, schedule: str) -> Html:
    word = outcome(fire)
    kind = parts.tone(word)
    said = f"{nominal(fire['scheduled_for'])}: {word}{': ' + reason(fire) if reason(fire) else ''}"
    href = link("run", fire["run"]) if fire["run_state"] else f"{link('schedule', schedule)}#fires"
    mark = tag("span", parts.MARKS[kind], aria_hidden="true")
    return tag("a", mark, href=href, class_=f"sb-{kind}", title=said, aria_label=said, tabindex="-1")


@dataclass(frozen=True, slots=True)
class Durations:
    """How long runs took, in seconds.

    Attributes:
        values: Of each, the oldest first; None where one has not ended.
    """

    values: Sequence[float | None]

    @classmethod
    def of(cls, fires: Sequence[Mapping[str, Any]]) -> Durations:
        """Return those of fires that succeeded, which come the newest first."""
        return cls([seconds(fire) for fire in reversed(fires) if outcome(fire) == "succeeded"])

    @property
    def known(self) -> list[float]:
        """Those that have ended."""
        return [each for each in self.values if each is not None]

    def share(self, percent: int) -> float | None:
        """Return what so many percent of the runs do not exceed; None where none has ended."""
        known = sorted(self.known)
        if len(known) < 2:
            return known[0] if known else None
        return statistics.quantiles(known, n=100, method="inclusive")[percent - 1]

    @property
    def shown(self) -> Html:
        """Both percentiles, and the line."""
        if not self.known:
            return parts.NOTHING
        p50, p95 = self.share(50), self.share(95)
        label = f"{len(self.known)} runs, the newest on the right: p50 {_said(p50)}, p95 {_said(p95)}"
        both = tag("span", parts.lasting(p50), " / ", parts.lasting(p95), class_="sb-nowrap")
        return join([both, parts.sparkline(self.values, label=label) if len(self.known) > 1 else ""])


def _said(value: float | None) -> str:
    from datetime import timedelta

    return "-" if value is None else length(timedelta(seconds=value))


def next_fire(at: datetime | None, paused: bool, now: datetime) -> Html:
    """Return when a schedule is due next, and that it is skipped while it is paused."""
    if at is None:
        return tag("span", "never again", class_="sb-muted")
    shown = parts.ago(at, now)
    return join([shown, tag("span", " (skipped)", class_="sb-muted")]) if paused else shown
