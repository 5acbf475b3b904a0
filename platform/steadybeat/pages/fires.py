"""Fires as pages show them: what became of each in one word, a strip of the newest, how long their runs took."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from steadybeat.pages import parts
from steadybeat.pages.markup import Html, html, join, tag
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
    words = [outcome(fire) for fire in fires[:STRIP]]
    marks = [_mark(fire, word, link) for fire, word in zip(fires, words, strict=False)]
    text = ", ".join(f"{number} {word}" for word, number in Counter(words).most_common())
    to_all = f"{link('schedule', schedule)}#fires"
    return join([
        tag("span", *reversed(marks), class_="sb-strip", aria_hidden="true"),
        tag("a", text, href=to_all, class_="sb-strip-text", aria_label=f"Of {schedule} the last {len(words)}: {text}"),
    ])  # fmt: skip


def _mark(fire: Mapping[str, Any], word: str, link: Link) -> Html:
    """Return the mark of a fire: there are 1,500 on a page, so those that went well are short, and lead nowhere."""
    kind, at, why = parts.tone(word), nominal(fire["scheduled_for"]), reason(fire)
    said = f"{at}: {word}: {html(why)}" if why else f"{at}: {word}"
    if kind in {"bad", "wait"} and fire["run_state"]:
        href = link("run", fire["run"])
        return Html(f'<a class="sb-{kind}" href="{html(href)}" tabindex="-1" title="{said}">{parts.MARKS[kind]}</a>')
    return Html(f'<i class="sb-{kind}" title="{said}">{parts.MARKS[kind]}</i>')


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
