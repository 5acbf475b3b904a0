"""Cancel: which runs are to end before their time, and what became of the request."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from steadybeat.ledger import Ledger
from steadybeat.wording import count

TIME_TO_STOP = timedelta(seconds=2)
"""How long work that is to be terminated has to stop by itself."""

TIME_TO_WIND_DOWN = timedelta(seconds=2)
"""How long tenants in line are cancelled here; a Beat or a watchdog cancels those that are left."""

_BATCH = 500


@dataclass(slots=True)
class Answer:
    """What became of a request, by the ids of its runs.

    Attributes:
        ended: Nothing worked on them: they are cancelled.
        asked: They are being worked on, and were told.
        over: They had ended before.
    """

    ended: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    over: list[str] = field(default_factory=list)

    def text(self, *, terminate: bool) -> str:
        """Return it as a sentence or more."""
        said = []
        if self.ended:
            said.append(f"{_runs(self.ended)} cancelled.")
        if self.asked:
            how = "; what has not stopped soon is terminated" if terminate else "; work that iterates stops"
            said.append(f"{_runs(self.asked)} told to stop{how}.")
        if self.over:
            said.append(f"{_runs(self.over)} had ended before.")
        return " ".join(said) or "No such runs."


@dataclass(frozen=True, slots=True, kw_only=True)
class Wound:
    """What became of the tenants of fan-outs that were cancelled.

    Attributes:
        cancelled: So many did not begin, or were on their way to a worker.
        asked: So many are at work, and were told to stop.
        left: So many are in line, and are cancelled by a Beat or a watchdog.
    """

    cancelled: int
    asked: int
    left: int

    def counts(self) -> dict[str, int]:
        """Return it for JSON."""
        return {"cancelled_count": self.cancelled, "asked_count": self.asked, "left_count": self.left}

    def text(self) -> str:
        """Return it as a sentence or more."""
        said = f"{count(self.cancelled, 'tenant')} cancelled with it, {self.asked:,} told to stop."
        more = f" {count(self.left, 'tenant')} still in line: a Beat or a watchdog cancels the rest."
        return said + (more if self.left else "")


def cancel(
    book: Ledger,
    runs: Sequence[str],
    *,
    by: str,
    reason: str,
    terminate: bool,
    tell: Callable[[int], None] = lambda _: None,
) -> Answer:
    """Ask for the end of runs; who asked, for which and why is written to `operations` first.

    Args:
        book: The ledger.
        runs: Their ids.
        by: Who asks.
        reason: Why.
        terminate: Also end work that does not stop by itself.
        tell: Is called with how many were asked for, again and again.
    """
    answer = Answer()
    for start in range(0, len(runs), _BATCH):
        batch = list(runs[start : start + _BATCH])
        target = batch[0] if len(batch) == 1 else f"{len(batch)} runs"
        book.story.note(by, "runs cancel", target, reason, runs=batch, terminate=terminate)
        terminate_after = TIME_TO_STOP if terminate else None
        found = book.cancelling.request(batch, f"{reason} ({by})", terminate_after=terminate_after)
        answer.ended += found.ended
        answer.asked += found.asked
        answer.over += [run for run in batch if run not in {*found.ended, *found.asked}]
        tell(len(batch))
    return answer


def wind_down(app: Any, book: Ledger, runs: Sequence[str], *, by: str, reason: str, terminate: bool) -> Wound | None:
    """Cancel the tenants of fan-outs whose own runs were cancelled, as many as there is time for; tell the others.

    Args:
        app: The Celery app.
        book: The ledger.
        runs: What was cancelled; those that have not fanned out are left alone.
        by: Who asks.
        reason: Why.
        terminate: Also end work that does not stop by itself.

    Returns:
        What became of the tenants; None where no run had any that were open.
    """
    open_ones = book.overview.open_among(runs)
    if not open_ones:
        return None
    app.loader.import_default_modules()  # what follows the end of a fan-out is sent as its task says
    before = [book.fan_outs.counts(run) for run in open_ones]
    until, told = time.monotonic() + TIME_TO_WIND_DOWN.total_seconds(), f"{reason} ({by})"
    terminate_after = TIME_TO_STOP if terminate else None
    for run in open_ones:
        book.cancelling.give_up(run, told, terminate_after=terminate_after)
        while book.overview.has_line(run) and time.monotonic() < until:
            app.steadybeat.fan_outs.advance(run)
        book.cancelling.give_up(run, told, terminate_after=terminate_after)
        app.steadybeat.fan_outs.advance(run)
    after = [book.fan_outs.counts(run) for run in open_ones]
    return Wound(
        cancelled=sum(each.cancelled for each in after) - sum(each.cancelled for each in before),
        asked=sum(each.running for each in after),
        left=sum(each.waiting for each in after),
    )


def _runs(ids: Sequence[str]) -> str:
    return f"Run {ids[0]}" if len(ids) == 1 else f"{len(ids):,} runs"
