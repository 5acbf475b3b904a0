"""Watching: one look at the ledger every few seconds, from a thread of its own, so that it delays no message.

Of several watchdogs the one that has the duty acts. What a pass finds goes to the alerts, with the names of the rules
that were judged: a rule whose question failed, or that it is too early for, says nothing, and changes no alert.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from steadybeat.errors import BrokerUnavailable, LedgerUnavailable
from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import Finding
from steadybeat.rules import RULES
from steadybeat.telemetry import WATCH
from steadybeat.watchdog.looking import PLATFORM, Look, NotJudged
from steadybeat.watchdog.remembering import Memory
from steadybeat.watchdog.seeing import SEEN_BY, Rule

logger = logging.getLogger(__name__)

DUTY = "watch"

_PART = timedelta(seconds=2)
"""How long one part of a pass may take that the next pass can go on with."""

_KNOWN_SECONDS = 60.0
"""How long it counts that Redis did not answer, where nobody has anything to send since."""

_FAILED_COUNT = 2
_OTHERS = timedelta(minutes=2)
"""A watchdog that had not the duty says so much later that the ledger is away: unless the one that had it is gone."""


class Telling(Protocol):
    """Who is told: the alerts."""

    def take(self, findings: Sequence[Finding], judged: Collection[str]) -> None:
        """Take what one pass has found."""

    def work(self) -> None:
        """Do what is due: escalate, deliver."""

    def emergency(self, finding: Finding | None) -> None:
        """Say at once what the ledger cannot keep; None: it is over."""


class Watch:
    """What one watchdog sees.

    Args:
        app: A Celery app on which steadybeat is installed.
        alerts: Who is told; the app's alerts unless given.
    """

    def __init__(self, app: Any, alerts: Telling | None = None) -> None:
        self._platform = app.steadybeat
        self._ledger = Ledger.of(app)
        self._settings = self._ledger.settings
        self._alerts: Telling = alerts if alerts is not None else app.steadybeat.alerts
        self._memory: Memory | None = None
        self._expecting: Any = None
        self._began_at = datetime.now(UTC)
        self._answering_since: float | None = None
        self._asked_at = float("-inf")
        self._failed_count = 0
        self._away_since: datetime | None = None
        self._is_told = False
        self._rules: deque[tuple[str, Rule]] = deque(SEEN_BY.items())
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._redis: tuple[float, str] | None = None
        self._redis_away_at: datetime | None = None
        self._gap: tuple[datetime, datetime] | None = None

    # The thread

    def start(self) -> None:
        """Begin to watch."""
        self._thread = threading.Thread(target=self._watch, name="steadybeat-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the pass that goes on, and leave the duty to another watchdog."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * _PART.total_seconds() + self._settings.ledger_timeout_seconds)
        if self._memory is not None:
            try:
                self._ledger.duties.leave(DUTY, self._platform.instance)
            except LedgerUnavailable as error:
                logger.warning("duty not left", extra={"error": str(error)})

    def _watch(self) -> None:
        while not self._stopped.is_set():
            began = time.monotonic()
            self.tick()
            self._stopped.wait(max(0.1, self._settings.watch_seconds - (time.monotonic() - began)))
        self._platform.rest(WATCH)

    def tick(self) -> bool:
        """Make a pass, whatever goes wrong, and return whether the duty is this process's."""
        self._alive()
        try:
            acts = self._take_duty()
            if acts:
                self._pass()
        except LedgerUnavailable as error:
            self._ledger_away(error)
            return False
        except Exception:
            logger.exception("watch failed")
            return False
        self._ledger_answers()
        return acts

    def _alive(self) -> None:
        # A ledger that is away, and channels that do not answer, take their time to say so.
        patience = self._settings.health_seconds + 6 * self._settings.ledger_timeout_seconds
        self._platform.beat(WATCH, within=timedelta(seconds=patience + self._settings.watch_seconds))

    def _take_duty(self) -> bool:
        lease = timedelta(seconds=max(self._settings.lease_seconds, 3 * self._settings.watch_seconds))
        acts = self._ledger.duties.take(DUTY, self._platform.instance, lease)
        now = time.monotonic()
        if self._away_since is not None:
            self._gap = self._away_since, datetime.now(UTC)
        if self._answering_since is None or now - self._asked_at > lease.total_seconds():
            self._answering_since = now  # where nobody asked, nobody knows
        self._asked_at = now
        if not acts:
            self._memory = None
        elif self._memory is None:
            logger.info("watchdog watches")
            self._memory = Memory(self._ledger)
        return acts

    # One pass

    def _pass(self) -> None:
        assert self._memory is not None and self._answering_since is not None
        answering = timedelta(seconds=time.monotonic() - self._answering_since)
        seen = self._memory.deserted_at
        look = Look(
            self._ledger,
            self._settings,
            answering,
            self._redis_error(),
            self._began_at,
            seen,
            self._redis_away_at,
            self._memory.deserted_since,
        )
        look.leading  # noqa: B018 - where not even this is answered, the ledger is away
        with self._apart("queues not looked at"):
            self._memory.note_queues(look)
        with self._apart("ended runs not judged"):
            self._memory.gap = self._gap
            self._memory.catch_up(look.now, _PART)
        with self._apart("fires not written ahead"):
            self._expect(look)
        with self._apart("canaries not sent"):
            self._ask(look)
        findings, judged = self._see(look, self._memory)
        self._alive()
        self._alerts.take(findings, judged)
        self._alerts.work()

    def _see(self, look: Look, memory: Memory) -> tuple[list[Finding], set[str]]:
        """Return what is found, and by which rules; where the time is short, the others come first in the next pass."""
        end, findings, judged = time.monotonic() + 2 * _PART.total_seconds(), list[Finding](), set[str]()
        for name, rule in [*self._rules]:
            if time.monotonic() > end:
                logger.warning("a look at the ledger takes long", extra={"rules": len(judged)})
                break
            self._rules.rotate(-1)
            with self._apart("rule not judged", rule=name), suppress(NotJudged):
                findings += rule(look, memory)
                judged.add(name)
        return findings, judged

    @contextmanager
    def _apart(self, failed: str, **facts: str) -> Iterator[None]:
        """Let nothing that goes wrong in the block keep the rest of the pass from its work.

        Raises:
            LedgerUnavailable: It is not this question alone that the ledger does not answer.
        """
        try:
            yield
        except LedgerUnavailable as error:
            self._ledger.ping()
            logger.warning(failed, extra={**facts, "error": str(error)})
        except Exception:
            logger.exception(failed, extra=facts)

    def _expect(self, look: Look) -> None:
        """Write fires ahead while nobody leads: what is missed then is on record, and is decided by the next leader."""
        if not look.is_leaderless:
            self._expecting = None  # whoever leads writes them
            return
        self._expecting = self._expecting or self._platform.expecting()
        self._expecting(_PART)

    def _ask(self, look: Look) -> None:
        """Ask the queues that have workers whether these consume."""
        pause = self._settings.canary_seconds
        queues = sorted({queue for worker in look.workers for queue in worker.queues or ()})
        if not pause or not queues or not look.knows_consumers:
            return
        for queue, number in self._ledger.canaries.due(queues, timedelta(seconds=pause)).items():
            try:
                self._platform.canaries.send(queue, number)
            except BrokerUnavailable as error:
                self.redis_away(error)
                return
            self._redis = None
            self._ledger.canaries.sent(queue, number)

    # Redis

    def redis_away(self, error: BrokerUnavailable) -> None:
        """Know that Redis does not answer: what stands still, stands still because of that."""
        self._redis, self._redis_away_at = (time.monotonic(), str(error)), datetime.now(UTC)

    def _redis_error(self) -> str | None:
        """Return what Redis said when it did not answer, unless that is long ago or it has answered since."""
        known = self._redis
        return known[1] if known is not None and time.monotonic() - known[0] < _KNOWN_SECONDS else None

    # The ledger itself

    def _ledger_away(self, error: LedgerUnavailable) -> None:
        self._answering_since = None
        self._failed_count += 1
        self._away_since = self._away_since or datetime.now(UTC)
        is_sure = self._failed_count >= _FAILED_COUNT
        acted = self._memory is not None
        if is_sure and (acted or datetime.now(UTC) - self._away_since > _OTHERS):
            self._is_told = True
            self._tell(
                Finding(
                    rule="ledger_away",
                    subject=PLATFORM,
                    summary="Postgres does not answer: nothing starts, and nothing is recorded.",
                    severity=RULES["ledger_away"].severity,
                    since=self._away_since,
                    error=str(error),
                    facts={"failed_count": self._failed_count},
                )
            )

    def _ledger_answers(self) -> None:
        """Say so to those who were told, once it has answered for a lease: one that comes and goes is away once."""
        self._failed_count, self._away_since = 0, None
        assert self._answering_since is not None
        if self._is_told and time.monotonic() - self._answering_since >= self._settings.lease_seconds:
            self._is_told = False
            self._tell(None)

    def _tell(self, finding: Finding | None) -> None:
        try:
            self._alerts.emergency(finding)
        except Exception:
            logger.exception("emergency not told")
