"""Facts: figures of the ledger and of Redis' queues that this watchdog serves as metrics. A thread reads them.

They are true of the whole installation, so that each watchdog says the same, and they outlive every process that they
speak of. A scrape is answered from what was read last, and says how old that is.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from steadybeat.channel import depths
from steadybeat.errors import BrokerUnavailable, LedgerUnavailable
from steadybeat.ledger import Ledger
from steadybeat.ledger.gauges import Gauges, Term
from steadybeat.telemetry import metrics
from steadybeat.telemetry.metrics import Facts, Sample, table

logger = logging.getLogger(__name__)

REDIS_SECONDS = 1.0

_Read = Callable[[], Iterable[Sample]]


class LedgerFacts:
    """Reads what this watchdog serves of the ledger; nothing where it serves no metrics.

    Args:
        app: A Celery app on which steadybeat is installed, after `Steadybeat.become`.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._settings = app.steadybeat.settings
        self._gauges = Ledger.of(app).gauges
        self._leading = Leading(self._gauges, 2 * self._settings.keeper_seconds, self._settings.lease_seconds)
        self._duplicates = Duplicates(self._gauges)
        self._failures: dict[str, int] = {}
        self._stopped = threading.Event()
        self.facts = Facts(table.FACTS_AGE, self._settings.metrics_schedules_count)

    def start(self) -> None:
        """Read from now on, and serve what was read."""
        endpoint = self._app.steadybeat.metrics
        if endpoint is not None:
            endpoint.add(self.facts)
            metrics.tell()
            threading.Thread(target=self._keep_reading, name="steadybeat-facts", daemon=True).start()

    def stop(self) -> None:
        """Read no more."""
        self._stopped.set()

    def _keep_reading(self) -> None:
        while not self._stopped.is_set():
            try:
                self.read()
            except Exception:
                logger.exception("facts not read")
            self._stopped.wait(self._settings.metrics_seconds)

    def read(self) -> None:
        """Read everything once. What cannot be read is left out; while the ledger is away, nothing else is asked."""
        read: dict[str, list[Sample]] = {}
        away = False
        for fact, ask in self._asked().items():
            try:
                read[fact] = [*ask()]
            except BrokerUnavailable:
                continue
            except LedgerUnavailable as error:
                self._failed(fact, error)
                if not self._answers():
                    away = True
                    break
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one, the others are read
                self._failed(fact, error)
        metrics.show(table.LEDGER_AWAY, value=away)
        read["failures_of_facts"] = [
            Sample(table.FACTS_FAILURES, (fact,), float(count)) for fact, count in self._failures.items()
        ]
        self.facts.put(read, complete=not away)

    def _failed(self, fact: str, error: Exception) -> None:
        self._failures[fact] = self._failures.get(fact, 0) + 1
        logger.warning("fact not read", extra={"fact": fact, "error": str(error)})

    def _answers(self) -> bool:
        """Whether the ledger answers at all, where one statement was not answered in time."""
        try:
            Ledger.of(self._app).ping()
        except LedgerUnavailable:
            return False
        return True

    def _asked(self) -> dict[str, _Read]:
        one = self._figures
        return {
            "leading": self._leading,
            "duplicates": self._duplicates,
            "instances": self._instances,
            "enqueued": self._enqueued,
            "overdue": lambda: one("overdue", (), n=table.FIRES_OVERDUE, oldest_seconds=table.OLDEST_OVERDUE),
            "outbox": lambda: one("outbox", (), n=table.OUTBOX_DUE, oldest_seconds=table.OUTBOX_AGE),
            "dead_letters": lambda: one("dead_letters", ("task",), n=table.DEAD_LETTERS),
            "running": lambda: one("running", ("service",), n=table.RUNS_RUNNING),
            "missed": lambda: one("missed", ("schedule",), n=table.FIRES_MISSED),
            "failures": lambda: one("failures", ("schedule",), n=table.SCHEDULE_FAILURES),
            "paused": lambda: one("paused", (), n=table.SCHEDULES_PAUSED),
            "alerts": lambda: one("alerts", ("rule", "severity", "state"), n=table.ALERTS_OPEN),
            "canaries": lambda: one("canaries", ("queue",), unanswered_seconds=table.CANARY),
            "monitors": lambda: one("monitors", ("kind",), n=table.HEARTBEATS_FAILING),
            "queues": self._queues,
        }

    def _figures(self, name: str, labels: tuple[str, ...], **columns: metrics.table.Metric) -> Iterator[Sample]:
        """Yield the figures of a statement: a sample for each row and column."""
        for row in self._gauges.rows(name):
            shown = tuple(str(getattr(row, label)) for label in labels)
            for column, metric in columns.items():
                yield Sample(metric, shown, float(getattr(row, column)))

    def _instances(self) -> Iterator[Sample]:
        found = {row.role: row for row in self._gauges.rows("instances")}
        for role in {"worker", "beat", "watchdog", *found}:
            yield Sample(table.INSTANCES, (role,), float(found[role].n) if role in found else 0.0)
        for role, row in found.items():
            if row.clock_offset_seconds is not None:
                yield Sample(table.CLOCK_OFFSET, (role,), float(row.clock_offset_seconds))

    def _enqueued(self) -> Iterator[Sample]:
        """Yield what waits by queue: also 0 for the queues of which it is known that there is one."""
        found = {row.queue: row for row in self._gauges.rows("enqueued")}
        for queue in {*found, *self._known_queues()}:
            row = found.get(queue)
            yield Sample(table.RUNS_ENQUEUED, (queue,), float(row.n) if row else 0.0)
            yield Sample(table.QUEUE_HEAD, (queue,), float(row.oldest_seconds) if row else 0.0)

    def _queues(self) -> Iterator[Sample]:
        messages, unacknowledged = depths(self._app, sorted(self._known_queues()), timeout_seconds=REDIS_SECONDS)
        for queue, count in messages.items():
            yield Sample(table.QUEUE_MESSAGES, (queue,), float(count))
        yield Sample(table.UNACKNOWLEDGED, (), float(unacknowledged))

    def _known_queues(self) -> set[str]:
        return {row.queue for row in self._gauges.rows("queues")}


class Leading:
    """Who leads, how often that has changed, and for how long nobody has, since this was made.

    Args:
        gauges: Of the ledger.
        quiet_seconds: So long a Beat that leads may say nothing.
        lease_seconds: After so long it counts as gone.
    """

    def __init__(self, gauges: Gauges, quiet_seconds: float, lease_seconds: float) -> None:
        self._gauges = gauges
        self._quiet_seconds = quiet_seconds
        self._lease_seconds = lease_seconds
        self._last: Term | None = None
        self._is_first = True
        self._changes = 0
        self._leaderless_before = 0.0
        self._leaderless = 0.0

    def __call__(self) -> Iterator[Sample]:
        """Yield what is known now."""
        terms = self._gauges.terms(self._gauges.last_term() if self._last is None else self._last.term)
        for term in terms:
            self._take(term)
        silent = 0.0
        if self._last is not None:
            silent = self._last.silent_seconds
            yield Sample(table.LEADER_SILENCE, (), silent)
        leads = self._last is not None and not self._last.has_ended and silent < self._lease_seconds
        since = silent if self._last is not None and (self._last.has_ended or silent > self._quiet_seconds) else 0.0
        if self._is_first:
            self._leaderless_before = -since  # what was before this watchdog is not its own to count
        self._is_first = False
        self._leaderless = max(self._leaderless, self._leaderless_before + since)
        yield Sample(table.LEADER, (), float(leads))
        yield Sample(table.LEADER_CHANGES, (), float(self._changes))
        yield Sample(table.LEADERLESS, (), self._leaderless)

    def _take(self, term: Term) -> None:
        """Count a term that was not there before, and the time that nobody had led before it."""
        if self._last is not None and term.term > self._last.term:
            gap = (term.began_at - self._last.heard_at).total_seconds()
            self._leaderless_before += max(0.0, gap)
        if not self._is_first and (self._last is None or term.term > self._last.term):
            self._changes += 1
        self._last = term


class Duplicates:
    """How many duplicates of fires were noted, since this was made.

    Args:
        gauges: Of the ledger.
    """

    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges
        self._after: int | None = None
        self._counts: dict[tuple[str, str], int] = {}

    def __call__(self) -> Iterator[Sample]:
        """Yield what was counted until now."""
        if self._after is None:
            self._after = self._gauges.last_duplicate()
        rows = self._gauges.duplicates(self._after)
        for row in rows:
            self._after = max(self._after, row.last_id)
            if row.schedule is not None:
                key = row.schedule, row.cause
                self._counts[key] = self._counts.get(key, 0) + row.n
        for (schedule, cause), count in self._counts.items():
            yield Sample(table.SCHEDULE_DUPLICATES, (schedule, cause), float(count))
