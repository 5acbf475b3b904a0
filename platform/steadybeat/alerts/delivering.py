"""Delivering: what waits in `notices` goes out, each channel in a thread of its own, so that none holds up another."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from steadybeat.alerts.channels import THREAD, Channels, Post
from steadybeat.errors import LedgerError, LedgerUnavailable
from steadybeat.ledger.notices import Notice, Notices
from steadybeat.ledger.rows import Finding

logger = logging.getLogger(__name__)

PAUSES = (timedelta(seconds=5), timedelta(seconds=20))
"""After a failed try; then the next channel gets the notice."""

LONGEST_PAUSE = timedelta(minutes=10)
"""Between two tries where there is no other channel."""

PATIENCE = timedelta(days=1)
"""A notice that no channel has taken for so long is given up."""

MARGIN = timedelta(seconds=5)

_AT_ONCE = 20  # so many notices of one channel in one pass


@dataclass(slots=True)
class _Trip:
    """A thread that sends what one channel is to have.

    Attributes:
        notice: What it sends now.
        began_at: Since when, by the monotonic clock.
    """

    thread: threading.Thread
    notice: Notice | None = None
    began_at: float = 0.0


class Delivering:
    """Sends notices.

    Args:
        notices: The ledger's.
        channels: All channels.
        app: Of which app the alerts are; a part of the keys of incidents.
    """

    def __init__(self, notices: Notices, channels: Channels, app: str) -> None:
        self._notices = notices
        self._channels = channels
        self._app = app
        self._trips: dict[str, _Trip] = {}
        self._unmarked: set[int] = set()
        self.failing: frozenset[str] = frozenset()
        """Channels that are known to take nothing: a notice is tried once there, and goes to the next."""

    def __call__(self, within: timedelta) -> None:
        """Send what is due; return when that is done, or after a while: what is under way then goes on.

        Args:
            within: How long this may take.

        Raises:
            LedgerUnavailable: Postgres does not answer.
        """
        deadline = time.monotonic() + within.total_seconds()
        self._end_those_that_hang()
        started = []
        for channel in self._notices.due(tuple(self._trips)):
            trip = _Trip(threading.Thread(target=self._go, args=(channel,), name=THREAD + channel, daemon=True))
            self._trips[channel] = trip
            started.append(trip)
            trip.thread.start()
        for trip in started:
            trip.thread.join(max(0.0, deadline - time.monotonic()))

    def findings(self) -> list[Finding]:
        """Return which channels fail, and remember them.

        Raises:
            LedgerUnavailable: Postgres does not answer.
        """
        failing = self._notices.failing()
        self.failing = frozenset(each.channel for each in failing)
        return [
            Finding(
                rule="channel_failing",
                subject=each.channel,
                summary=f"Channel {each.channel} has taken nothing in {each.try_count} tries.",
                severity="critical" if each.severity == "critical" else "error",
                since=each.since,
                error=each.error,
                facts={"try_count": each.try_count},
            )
            for each in failing
        ]

    def _go(self, channel: str) -> None:
        trip = self._trips[channel]
        try:
            for _ in range(_AT_ONCE):
                if not self._send_next(channel, trip):
                    break
        except LedgerError as error:
            logger.warning("notice not marked", extra={"channel": channel, "error": str(error)})
        except Exception:
            logger.exception("sending notices failed", extra={"channel": channel})
        finally:
            if self._trips.get(channel) is trip:
                del self._trips[channel]

    def _send_next(self, channel: str, trip: _Trip) -> bool:
        if self._trips.get(channel) is not trip:
            return False
        notice = self._notices.claim(channel, self._channels.bound + MARGIN)
        if notice is None:
            return False
        trip.notice, trip.began_at = notice, time.monotonic()
        error = None if notice.id in self._unmarked else self._channels.send(channel, self._post(notice))
        if error is None:
            self._sent(notice)
        elif self._trips.get(channel) is trip:
            self._failed(notice, error)
        trip.notice = None
        return True

    def _sent(self, notice: Notice) -> None:
        """Say that it was sent; what cannot be marked now is when it comes again, and is not sent once more."""
        self._unmarked.add(notice.id)
        deadline = time.monotonic() + MARGIN.total_seconds()
        while True:
            try:
                self._notices.sent(notice.id)
            except LedgerUnavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                self._unmarked.discard(notice.id)
                return

    def _post(self, notice: Notice) -> Post:
        return Post(
            kind=notice.kind,
            severity=notice.severity,
            title=notice.title,
            body=notice.body,
            key=None if notice.alert is None else f"steadybeat-{self._app}-{notice.alert}",
            markdown=notice.facts.get("markdown"),
            html=notice.html,
            short=notice.facts.get("short"),
        )

    def _failed(self, notice: Notice, error: str) -> None:
        """Try again later, or have the next channel try."""
        tries = 1 if notice.channel in self.failing else len(PAUSES) + 1
        old = datetime.now(UTC) - notice.created_at > PATIENCE
        facts = {"channel": notice.channel, "alert": notice.alert, "try_count": notice.try_count, "error": error}
        logger.warning("notice not sent", extra={name: fact for name, fact in facts.items() if fact is not None})
        if old or (notice.fallbacks and notice.try_count >= tries):
            self._notices.give_up(notice, error)
            return
        number = notice.try_count - 1
        pause = PAUSES[number] if number < len(PAUSES) else min(PAUSES[-1] * 2 ** (number - 1), LONGEST_PAUSE)
        self._notices.later(notice, error, pause)

    def _end_those_that_hang(self) -> None:
        """Give up on threads that take longer than any time-out: their channel counts as failed."""
        for channel, trip in list(self._trips.items()):
            notice, took = trip.notice, time.monotonic() - trip.began_at
            if notice is not None and took > self._channels.bound.total_seconds():
                del self._trips[channel]
                self._failed(notice, f"no answer within {self._channels.bound.total_seconds():g} s")
