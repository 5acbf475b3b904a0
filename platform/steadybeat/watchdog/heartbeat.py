"""The platform's own heartbeat: a monitor elsewhere hears each minute that a Beat leads and that messages are sent.

Where they do not, it hears once why, and then nothing: so that its own alarm goes off, whatever else is down here.
Where the ledger does not answer, it hears nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from steadybeat.monitor import Monitor
from steadybeat.telemetry.heartbeats import Heartbeat, Watched
from steadybeat.telemetry.heartbeats.lanes import Addressed

EVERY = timedelta(minutes=1)
OVERDUE = timedelta(minutes=1)
"""So long a message may be overdue until the relay counts as standing still."""

DUTY = "platform heartbeat"
NAME = "platform"

_LOOK_SECONDS = 5.0


class PlatformHeartbeat:
    """Tells the monitor of the platform, when called; of several watchdogs one does each minute.

    Args:
        app: A Celery app on which steadybeat is installed.
        clock: Seconds that only go up.
    """

    def __init__(self, app: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._platform = app.steadybeat
        self._clock = clock
        url = self._platform.settings.platform_heartbeat_url
        self._monitor = Monitor.read(url) if url else None
        self._look_at = self._called_at = float("-inf")
        self._answering_since: float | None = None
        self._has_complained = False

    def ledger_away(self) -> None:
        """Know that the ledger did not answer: nobody could say that he goes on."""
        self._answering_since = None

    def __call__(self) -> None:
        """Tell it if it is time; the telling itself is done in a thread.

        What seems to stand still has a lease to show that it does not, after the ledger was away, and at first.

        Raises:
            LedgerUnavailable: Nobody knows how things stand, and nothing is told.
        """
        now = self._clock()
        if self._monitor is None or self._monitor.is_off or now < self._look_at:
            return
        self._look_at, settings = now + _LOOK_SECONDS, self._platform.settings
        wrong = self.wrong()
        if self._answering_since is None or now - self._called_at >= settings.lease_seconds - settings.keeper_seconds:
            self._answering_since = now
        self._called_at = now
        if wrong and now - self._answering_since < settings.lease_seconds:
            return
        if not self._platform.ledger.duties.take_now_and_then(DUTY, self._platform.instance, EVERY):
            return
        if not (wrong and self._has_complained):
            said = {"event": "fail", "text": wrong, "status": 1} if wrong else {"event": "success", "text": "goes on"}
            told = Heartbeat(schedule=NAME, **said)
            self._platform.heartbeats.tell_monitor(Addressed(told, Watched(schedule=NAME), self._monitor))
        self._has_complained = bool(wrong)

    def wrong(self) -> str:
        """Return what stands still, in words, or an empty text."""
        moving, lease = self._platform.ledger.monitors.platform(), self._platform.settings.lease_seconds
        if moving.leader_silence is None:
            return "no Beat leads"
        if moving.leader_silence > timedelta(seconds=lease):
            return f"the Beat that led has been silent for {moving.leader_silence.total_seconds():.0f} s"
        if moving.overdue is not None and moving.overdue > OVERDUE:
            return f"messages wait to be sent since {moving.overdue.total_seconds():.0f} s: the relay stands still"
        return ""
