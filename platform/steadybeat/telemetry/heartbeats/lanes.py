"""Lanes: what waits to be sent, in order, one lane for each host; and what may be left out. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from steadybeat.monitor import Monitor
from steadybeat.telemetry.heartbeats import cronitor, healthchecks, sentry_crons
from steadybeat.telemetry.heartbeats.heartbeat import Heartbeat, Watched

TRIES = 3
"""After so many tries in a row a monitor counts as failing."""

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0

_PER_MINUTE = {
    "healthchecks": healthchecks.PER_MINUTE_COUNT,
    "cronitor": cronitor.PER_MINUTE_COUNT,
    "sentry": sentry_crons.PER_MINUTE_COUNT,
}


class Addressed(NamedTuple):
    """A heartbeat, and whom it is for."""

    heartbeat: Heartbeat
    watched: Watched
    monitor: Monitor


@dataclass(slots=True)
class Lane:
    """What waits for one host.

    Attributes:
        waiting: In the order in which it was told.
        failure_count: Tries in a row that were not answered well.
        not_before: When the next try may be made, on the sender's clock.
        body_limit: So many bytes of a body its host keeps.
    """

    waiting: deque[Addressed] = field(default_factory=deque)
    failure_count: int = 0
    not_before: float = float("-inf")
    body_limit: int | None = None

    @property
    def is_failing(self) -> bool:
        """Whether its host has answered no try for long enough to say so."""
        return self.failure_count >= TRIES

    def failed(self, now: float, retry_after_seconds: float | None) -> None:
        """Note that a try was not answered well: the next one comes later, each time twice as late."""
        self.failure_count += 1
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self.failure_count - 1, 10))
        if retry_after_seconds is not None:
            pause = min(60.0, max(pause, retry_after_seconds))
        self.not_before = now + pause
        if self.is_failing:
            self.condense()

    def answered(self) -> None:
        """Note that its host answers."""
        self.failure_count, self.not_before = 0, float("-inf")

    def condense(self) -> int:
        """Keep of each schedule only what its last run was told to have done; return how many that leaves out.

        When a monitor is there again, it hears how things stand, and not of hours that have passed.
        """
        last: dict[str, str | None] = {}
        kept: deque[Addressed] = deque()
        for each in reversed(self.waiting):
            told = each.heartbeat
            is_of_last = told.schedule not in last or (told.run is not None and last[told.schedule] == told.run)
            if told.event != "log" and is_of_last:
                last[told.schedule] = told.run
                kept.appendleft(each)
        left_out, self.waiting = len(self.waiting) - len(kept), kept
        return left_out

    def schedules(self) -> Iterator[Addressed]:
        """Yield one of what waits for each schedule."""
        yield from {each.heartbeat.schedule: each for each in self.waiting}.values()


class Pace:
    """What may be sent of one schedule: no more in a minute than its monitor takes.

    Beyond that only what changes how the schedule stands is sent: a first failure, a first success after one, the end
    of a run whose start was told.
    """

    def __init__(self) -> None:
        self._sent: deque[float] = deque()
        self._last = ""

    def admits(self, event: str, kind: str, now: float) -> bool:
        """Return whether an event is to be sent now; if so, it counts as sent."""
        limit = _PER_MINUTE.get(kind)
        while self._sent and self._sent[0] <= now - 60:
            self._sent.popleft()
        if limit is not None and len(self._sent) >= limit - 1 and (event in ("start", "log") or event == self._last):
            return False
        self._sent.append(now)
        if event != "log":
            self._last = event
        return True
