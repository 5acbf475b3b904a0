"""Backfilling: which fires of a range have no effect, and giving them one, a few at a time."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from steadybeat.ledger import Ledger
from steadybeat.operating import rerun
from steadybeat.schedule import fire_key, run_id

LOOK = timedelta(seconds=0.5)
"""How often it is looked what has become of fires."""

_KEYS = 5000
_WANTED = {
    "missing": {"missing"},
    "failed": {"failed"},
    "all": {"missing", "failed", "cancelled"},
}
_AGAIN = {"done", "forgotten"}


@dataclass(frozen=True, slots=True)
class Spot:
    """A nominal time of a range, and what has become of it so far.

    Attributes:
        at: The nominal time.
        standing: ``missing``: it was never sent. ``failed``: its run is dead. ``cancelled``: its run was. ``open``: it
            is on its way. ``done``: its effect has happened. ``forgotten``: it lies before what the ledger keeps.
        text: The same in a few words.
        run: The newest run for it.
        ours: Whether a person has asked for it.
        again_at: When it was last run with another key.
    """

    at: datetime
    standing: str
    text: str
    run: str | None = None
    ours: bool = False
    again_at: datetime | None = None


def survey(book: Ledger, row: Mapping[str, Any], times: Sequence[datetime], now: datetime) -> list[Spot]:
    """Return what has become of some nominal times of a schedule.

    Args:
        book: The ledger.
        row: The schedule.
        times: Ascending.
        now: Aware.
    """
    if not times:
        return []
    kept_since = now - timedelta(seconds=book.settings.retention_seconds)
    forgotten = range_of(row["created_at"], kept_since)
    known = {each["scheduled_for"]: each for each in book.history.fires(row["name"], times[0], times[-1])}
    spots = [_spot(at, known.get(at), forgotten) for at in times]
    unsure = [spot.at for spot in spots if spot.standing not in ("done", "open")]
    done = _done(book, row, unsure)
    return [
        Spot(spot.at, "done", "its effect has happened", spot.run, spot.ours, spot.again_at)
        if spot.at in done
        else spot
        for spot in spots
    ]


def range_of(begin: datetime, end: datetime) -> Callable[[datetime], bool]:
    """Return whether an instant lies between two others."""
    return lambda at: begin <= at < end


def _done(book: Ledger, row: Mapping[str, Any], times: Sequence[datetime]) -> set[datetime]:
    found: set[datetime] = set()
    for start in range(0, len(times), _KEYS):
        keys = {fire_key(row["name"], at): at for at in times[start : start + _KEYS]}
        found |= {keys[key] for key in book.history.done(row["task"], [*keys])}
    return found


def _spot(at: datetime, known: Mapping[str, Any] | None, forgotten: Callable[[datetime], bool]) -> Spot:
    if known is None:
        if forgotten(at):
            return Spot(at, "forgotten", "older than what is kept: nobody knows whether it ran")
        return Spot(at, "missing", "not on record")
    run = str(known["run"]) if known["run"] else None
    ours = known["asked"] == "backfill" or known["is_rerun"]
    standing, text = _standing(known)
    return Spot(at, standing, text, run, ours, known["again_at"])


def _standing(known: Mapping[str, Any]) -> tuple[str, str]:
    state, run_state = known["state"], known["run_state"]
    if known["succeeded"]:
        return "done", "succeeded"
    if known["is_open"]:
        return "open", f"its run is {run_state}"
    if state in ("expected", "waiting"):
        return "open", state
    if run_state == "dead":
        return "failed", f"dead: {known['run_reason']}"
    if state == "dispatched" or (state is None and run_state is not None):
        if run_state is None:
            return "forgotten", "its run is no longer on record"
        return "cancelled", f"cancelled: {known['run_reason']}"
    return "missing", f"{state}: {known['reason']}"


def wanted(spots: Iterable[Spot], only: str, *, again: bool, since: datetime | None) -> list[Spot]:
    """Return those of some times that are to be given an effect.

    Args:
        spots: The times.
        only: ``missing``, ``failed`` or ``all``.
        again: Also those that have had their effect.
        since: Of these only those that were not run again since then.
    """
    standings = _WANTED[only] | (_AGAIN if again else set())
    found = [spot for spot in spots if spot.standing in standings]
    return [spot for spot in found if since is None or spot.again_at is None or spot.again_at < since]


@dataclass
class Job:
    """A backfill that is carried out.

    Attributes:
        app: The Celery app.
        row: The schedule.
        coming: What is still to be sent, in order.
        concurrency: How many may be on their way.
        reason: Why.
        under_way: What is on its way, by its nominal time: the run to look at, or None for the fire itself.
        ended: How many have ended how.
    """

    app: Any
    row: Mapping[str, Any]
    coming: deque[Spot]
    concurrency: int
    reason: str
    under_way: dict[datetime, str | None] = field(default_factory=dict)
    ended: Counter[str] = field(default_factory=Counter)

    def carry_out(self, tell: Callable[[datetime, str, str], None], now: Callable[[], datetime]) -> None:
        """Send what is to be sent, and wait until all has ended.

        Args:
            tell: Is told of each that has ended: nominal time, state, run.
            now: The wall clock.
        """
        while self.coming or self.under_way:
            while self.coming and len(self.under_way) < self.concurrency:
                # Noted first: what is sent while Ctrl-C comes counts as on its way.
                spot = self.coming[0]
                self.under_way[spot.at] = None
                self.under_way[spot.at] = self._send(spot)
                self.coming.popleft()
            over = self._over(now())
            for at, (state, run) in sorted(over.items()):
                del self.under_way[at]
                self.ended[state] += 1
                tell(at, state, run)
            if not over and self.under_way:
                pause()

    def _send(self, spot: Spot) -> str | None:
        """Have a fire run; return the run to look at, or None where that is the fire's own."""
        book = Ledger.of(self.app)
        run = (
            book.story.run(spot.run)
            if spot.run is not None and spot.standing in ("failed", "cancelled", "done")
            else None
        )
        if run is None:
            book.interventions.ask(self.row["name"], [spot.at], kind="backfill", who=rerun.who(), reason=self.reason)
            return None
        key = rerun.key_of(book.story, run, again=spot.standing == "done")
        return rerun.send(self.app, run, key=key, by=rerun.who(), reason=self.reason)

    def _over(self, now: datetime) -> dict[datetime, tuple[str, str]]:
        """Return what has ended: its state and its run, by its nominal time."""
        book, over = Ledger.of(self.app), {}
        runs = {run: at for at, run in self.under_way.items() if run is not None}
        for run, found in book.history.states([*runs]).items() if runs else ():
            if found["finished_at"] is not None:
                over[runs[run]] = (str(found["state"]), run)
        times = sorted(at for at, run in self.under_way.items() if run is None)
        for spot in survey(book, self.row, times, now):
            if spot.standing != "open":
                state = {"done": "succeeded", "failed": "dead"}.get(spot.standing, spot.text.partition(":")[0])
                over[spot.at] = (state, spot.run or run_id(self.row["name"], spot.at))
        return over


def pause() -> None:
    """Wait until it is time to look again."""
    threading.Event().wait(LOOK.total_seconds())
