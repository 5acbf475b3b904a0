"""The process: keeps work moving without a Beat. Any number may run; none leads, and any may die at any point.

It sends what the outbox holds when it is time, rescues runs whose worker or whose message is lost, and moves fan-outs
on. Each statement takes only rows that nobody else has taken, so that watchdogs and Beats do not get in each other's
way. Beside that, in a thread of its own, it watches.
"""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import Any

from steadybeat.errors import BrokerUnavailable, ConfigurationError, LedgerUnavailable, SchemaTooOld
from steadybeat.stopping import StopSignals
from steadybeat.telemetry import TICK
from steadybeat.watchdog.facts import LedgerFacts
from steadybeat.watchdog.heartbeat import PlatformHeartbeat
from steadybeat.watchdog.watching import Watch

logger = logging.getLogger(__name__)

LONGEST_PAUSE = timedelta(seconds=0.5)


class Watchdog:
    """One watchdog.

    Args:
        app: A Celery app on which steadybeat is installed.

    One that starts while Postgres or Redis is away waits for them as one does that was there before: that they are away
    is what it is to tell.

    Raises:
        SchemaTooOld: Names the command that mends it.
        ConfigurationError: A way to people, or a route to one, is wrong; or Redis cannot be used as it is.
    """

    def __init__(self, app: Any) -> None:
        self._platform = app.steadybeat
        self._platform.alerts.check()
        self._is_checked = self._troubled = False
        self._check()
        self._platform.become("watchdog")
        self._watch = Watch(app)
        self._heartbeat = PlatformHeartbeat(app)
        LedgerFacts(app).start()
        self._sign_at = float("-inf")

    def run(self) -> None:
        """Work until SIGTERM or SIGINT, then sign off."""
        signals = StopSignals()
        try:
            signals.install()
            logger.info("watchdog started")
            self._watch.start()
            while True:
                with signals.held_back():
                    pause = self.tick()
                time.sleep(pause.total_seconds())
        except SystemExit:
            self._sign_off()

    def _sign_off(self) -> None:
        self._watch.stop()
        try:
            self._platform.sign_off()
        except LedgerUnavailable as error:
            logger.warning("instance not signed off", extra={"error": str(error)})

    def _check(self) -> None:
        """Look once whether the servers can be used as they are, as soon as they answer."""
        try:
            self._platform.check_servers()
            self._is_checked = True
        except (LedgerUnavailable, BrokerUnavailable) as error:
            self._wait(error)

    def _wait(self, error: LedgerUnavailable | BrokerUnavailable) -> None:
        if not self._troubled:
            logger.error("watchdog waits", extra={"error": str(error)})
        self._troubled = True

    def tick(self) -> timedelta:
        """Do what is due, whatever goes wrong, and return the pause until the next tick."""
        pause = LONGEST_PAUSE
        self._platform.beat(TICK)
        try:
            if not self._is_checked:
                self._platform.check_servers()
                self._is_checked = True
            self._give_sign_of_life()
            self._heartbeat()
            self._platform.rescue()
            self._platform.fan_outs()
            self._platform.relay()
            pause = self._platform.relay.pause(pause)
        except (LedgerUnavailable, BrokerUnavailable) as error:
            self._wait(error)
            if isinstance(error, BrokerUnavailable):
                self._watch.redis_away(error)
            else:
                self._heartbeat.ledger_away()
        except (SchemaTooOld, ConfigurationError):
            raise
        except Exception:
            logger.exception("tick failed")
        else:
            if self._troubled:
                logger.warning("watchdog goes on")
            self._troubled = False
        return pause

    def _give_sign_of_life(self) -> None:
        now = time.monotonic()
        if now >= self._sign_at:
            self._platform.sign_of_life()
            self._sign_at = now + self._platform.settings.keeper_seconds
