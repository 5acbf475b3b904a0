"""SteadyScheduler: who leads, and what every Beat does at each tick."""

from __future__ import annotations

import logging
import random
import socket
import time
from datetime import timedelta
from typing import Any

from celery.beat import SchedulingError
from celery.signals import beat_init
from redbeat.schedulers import RedBeatScheduler, acquire_distributed_beat_lock

from steadybeat.beat.definitions import definitions
from steadybeat.beat.leading import Hooks, Leader
from steadybeat.beat.projection import SteadyEntry
from steadybeat.channel import client_of_schedules
from steadybeat.errors import BrokerUnavailable, LedgerUnavailable
from steadybeat.ledger import Ledger
from steadybeat.locks import Leadership
from steadybeat.stopping import StopSignals
from steadybeat.telemetry import TICK, metrics

logger = logging.getLogger(__name__)


class SteadyScheduler(RedBeatScheduler):
    """RedBeat's scheduler over the ledger.

    Any number of Beats may run. One leads; the others stand by, change nothing, and ask for the lock every
    ``steadybeat_leader_poll_seconds``. A leader that loses the lock stands by. Every Beat relays the outbox.
    """

    Entry = SteadyEntry

    def __init__(self, app: Any, **options: Any) -> None:
        # RedBeat takes its lock in this handler, once, waiting as long as it takes; Celery swallows what it raises.
        beat_init.disconnect(acquire_distributed_beat_lock)
        self._signals = StopSignals()
        beat_init.connect(self._take_signals)
        app.steadybeat.check_servers()
        self._platform = app.steadybeat
        self._settings = app.steadybeat.settings
        self._leader: Leader | None = None
        self._sign_at = 0.0
        self._clock_is_right = False
        self._troubled = False
        super().__init__(app, **options)
        self._leadership = self._new_leadership()
        self._hooks = Hooks(
            publish=self._publish,
            ahead=app.steadybeat.ahead(self._timeout_seconds),
            alive=lambda: self._platform.beat(TICK),  # a herd of fires may take longer than a tick should
        )
        self._acquired = 0
        self._platform.become("beat")
        self._warn_of_other_code()

    def _take_signals(self, sender: Any = None, **_: Any) -> None:
        """Celery signal `beat_init`: the process has its handlers, and its log."""
        if sender.scheduler is self:
            self._signals.install()
            metrics.tell()

    @property
    def _timeout_seconds(self) -> float:
        """How long Redis may take to answer: so long that a lock can still be renewed after it did not."""
        return float(min(1.0, self._settings.leader_lock_seconds / 3))

    def _new_leadership(self) -> Leadership:
        client = client_of_schedules(self.app, timeout_seconds=self._timeout_seconds)
        return Leadership(client, self.lock_key, self._settings.leader_lock_seconds)

    def _warn_of_other_code(self) -> None:
        """Say where this release's code defines other schedules than the ledger has: it executes the ledger."""
        ledger = Ledger.of(self.app)
        for change in ledger.schedules.difference(definitions(self.app), self._platform.own_services()):
            logger.warning(
                "code differs from the ledger: `schedules apply` would change it",
                extra={"schedule": change.name, "change": change.verb, "fields": list(change.fields)},
            )

    def setup_schedule(self) -> None:
        """Write nothing: schedules come into the ledger by `schedules apply`, and into Redis from there."""

    def tick(self, *_: Any, **__: Any) -> float:
        """Do what is due, whatever goes wrong, and return the seconds until the next tick.

        Raises:
            SystemExit: This Beat was asked to stop meanwhile.
        """
        with self._signals.held_back():
            return self._tick()

    def _tick(self) -> float:
        # Beats that were started together do not all ask at the same moment.
        poll = timedelta(seconds=self._settings.leader_poll_seconds * random.uniform(0.8, 1.0))  # noqa: S311
        pause = poll
        self._platform.beat(TICK)
        began = time.monotonic()
        try:
            self._give_sign_of_life()
            leader = self._elect()
            if leader is not None:
                pause = leader.tick(poll)
                self._platform.rescue()
            metrics.observe(metrics.table.TICK_SECONDS, value=time.monotonic() - began)
            pause = self._relay(pause)
            self._trouble_is_over()
        except (LedgerUnavailable, BrokerUnavailable) as error:
            self._trouble(error)
        except Exception:
            logger.exception("tick failed")
        return pause.total_seconds()

    def _relay(self, pause: timedelta) -> timedelta:
        """Move fan-outs on and relay the outbox until the pause is over, and return what is left of it."""
        until = time.monotonic() + pause.total_seconds()
        self._platform.fan_outs(pause / 2)
        self._platform.relay(timedelta(seconds=max(0.0, until - time.monotonic())))
        return self._platform.relay.pause(timedelta(seconds=max(0.0, until - time.monotonic())))

    def close(self) -> None:
        """Give the lock back, so that another Beat leads at its next poll, and sign off."""
        former, self._leader = self._leader, None
        self._leadership.release()
        if former is not None:
            self._lead_no_more(former)
        self._hooks.ahead.close()
        try:
            self._platform.sign_off()
        except LedgerUnavailable as error:
            logger.warning("instance not signed off", extra={"error": str(error)})
        super().close()

    @property
    def info(self) -> str:
        """What Beat shows when it starts."""
        return f"       . lock -> {self.lock_key} ({self._settings.leader_lock_seconds:g} s)"

    def _give_sign_of_life(self) -> None:
        now = time.monotonic()
        if now < self._sign_at:
            return
        offset = self._platform.sign_of_life()
        self._sign_at = now + self._settings.keeper_seconds
        self._say_who_leads()
        right = abs(offset) <= self._settings.clock_skew_seconds
        if not right:
            logger.error("clock is off: this beat does not lead", extra={"clock_offset_seconds": offset})
        self._clock_is_right = right

    def _say_who_leads(self) -> None:
        if self._leader is not None:
            Ledger.of(self.app).leaderships.renew(
                self._leader.term, instance=self._platform.instance, host=socket.gethostname()
            )

    def _lead_no_more(self, leader: Leader) -> None:
        """Say so; where Postgres does not answer, the term ends by its silence."""
        metrics.show(metrics.table.LEADS, value=0)
        try:
            Ledger.of(self.app).leaderships.end(leader.term)
        except LedgerUnavailable as error:
            logger.warning("end of leadership not recorded", extra={"term": leader.term, "error": str(error)})

    def _elect(self) -> Leader | None:
        """Return the leader's work if this Beat leads."""
        leads = self._clock_is_right and self._leadership.hold()
        if self._leadership.error is not None:
            metrics.count(metrics.table.LOCK_FAILURES, "leader", "unavailable")
        if not self._clock_is_right:
            self._leadership.release()
        if self._leader is not None and not (leads and self._leadership.acquired_count == self._acquired):
            logger.warning("beat stands by", extra={"term": self._leader.term, "error": str(self._leadership.error)})
            former, self._leader = self._leader, None
            metrics.count(metrics.table.LOCK_FAILURES, "leader", "lost")
            self._lead_no_more(former)
        if leads and self._leader is None:
            self._acquired = self._leadership.acquired_count
            term = Ledger.of(self.app).fires.next_term()
            self._leader = Leader(self.app, term, self._leadership, self._hooks)
            logger.info("beat leads", extra={"term": term})
            metrics.count(metrics.table.TERMS)
            metrics.show(metrics.table.LEADS, value=1)
            self._say_who_leads()
        return self._leader

    def _publish(self, entry: SteadyEntry, producer: Any) -> None:
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as error:
            raise error.__context__ or error from None

    def _trouble(self, error: Exception) -> None:
        if not self._troubled:
            logger.error("beat waits", extra={"error": str(error)})
        self._troubled = True
        metrics.show(metrics.table.LEDGER_AWAY, value=isinstance(error, LedgerUnavailable))
        metrics.show(metrics.table.BROKER_AWAY, value=isinstance(error, BrokerUnavailable))

    def _trouble_is_over(self) -> None:
        if self._troubled:
            logger.warning("beat goes on")
            metrics.show(metrics.table.LEDGER_AWAY, value=0)
            metrics.show(metrics.table.BROKER_AWAY, value=0)
        self._troubled = False
