"""Learning: what the ledger's schedules are now, and what became of their keys in Redis."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from kombu import Queue

from steadybeat.beat.edits import take_in
from steadybeat.beat.projection import Definition, Projection
from steadybeat.errors import ConfigurationError
from steadybeat.ledger import Ledger
from steadybeat.ledger.fires import Expected
from steadybeat.ledger.rows import FireRow, ScheduleRow
from steadybeat.schedule import from_json

logger = logging.getLogger(__name__)

_RESTORE_SECONDS = 5.0
_EDITS_SECONDS = 1.0
_STRANGERS_SECONDS = 60.0


@dataclass(slots=True)
class Changed:
    """What is new since the last time.

    Attributes:
        names: Of the schedules that were known, and have changed or were retired.
        expected: Those that are to be expected from now on, each with its watermark.
    """

    names: set[str] = field(default_factory=set)
    expected: list[tuple[Definition, datetime]] = field(default_factory=list)


class Learner:
    """The schedules of the ledger, kept up to date.

    Args:
        app: The Celery app.
        clock: The wall clock.

    Attributes:
        definitions: By name.
        projection: In RedBeat's keys.
        counted: Fires that were dispatched since the definition was read, of schedules that count them.
    """

    def __init__(self, app: Any, clock: Callable[[], datetime]) -> None:
        self._app = app
        self._clock = clock
        self._ledger = Ledger.of(app)
        self._horizon: int | None = None
        self._looked: dict[str, float] = {}
        self._strangers: frozenset[str] = frozenset()
        self.definitions: dict[str, Definition] = {}
        self.projection = Projection(app, self.definitions, clock)
        self.counted: Counter[str] = Counter()

    @property
    def busy(self) -> bool:
        """Whether there is more to be written into RedBeat's keys."""
        return self.projection.pending

    def learn(self, still_leading: Callable[[], bool]) -> Changed:
        """Read what was changed since the last call; everything, the first time.

        Args:
            still_leading: Renews the lock if need be; reading ends where it says no.
        """
        changed = Changed()
        if self._horizon is None:
            horizon = self._ledger.schedules.horizon()
            for page in self._ledger.schedules.pages():
                self._take(page, changed)
                if not still_leading():
                    return changed
            self._horizon = horizon
            self._account_for_retired()
        else:
            rows, self._horizon = self._ledger.schedules.changed(self._horizon)
            self._take(rows, changed)
            if any(row.retired_at is not None for row in rows):
                self._account_for_retired()
        return changed

    def _take(self, rows: Iterable[ScheduleRow], changed: Changed) -> None:
        for row in rows:
            known = self.definitions.get(row.name)
            if known is not None and known.row.revision >= row.revision:
                continue
            if row.retired_at is not None:
                if self.definitions.pop(row.name, None) is not None:
                    changed.names.add(row.name)
                    self.projection.remove(row)
                continue
            until = row.expected_until or self._clock()
            try:
                definition = Definition.of(replace(row, expected_until=None, generation=0))  # which take memory
            except ConfigurationError as error:
                logger.error("a schedule of a newer release", extra={"schedule": row.name, "error": str(error)})
                continue
            self.definitions[row.name] = definition
            self.counted.pop(row.name, None)
            self.projection.change(definition)
            self._declare(row.service)
            changed.expected.append((definition, until))
            if known is not None:
                changed.names.add(row.name)

    def _declare(self, service: str) -> None:
        """Know the queue of a service that the ledger has and this code does not: a release applies it first."""
        queues = self._app.amqp.queues
        if service not in queues:
            queues.add(Queue(service, routing_key=service))

    def _account_for_retired(self) -> None:
        """Give a reason to the fires of retired schedules that were due while no scheduler wrote fires."""
        reason = "no scheduler was there, and the schedule was retired since"
        for row in self._ledger.schedules.left_over():
            assert row.expected_until is not None and row.retired_at is not None
            fires = [
                FireRow(schedule=row.name, scheduled_for=at, due_at=at, state="missed", reason=reason, cause="retired")
                for at in from_json(row.spec).between(row.expected_until, row.retired_at)
            ]
            self._ledger.fires.expect([Expected(row.name, row.revision, row.retired_at, fires)])

    # RedBeat's keys

    def project(self, budget: timedelta) -> None:
        """Bring RedBeat's keys in step with the ledger, and take in what RedBeat's tools have edited there."""
        if self._is_time("restore", _RESTORE_SECONDS) and self.projection.restore():
            logger.warning("redis has lost schedules: they are written again")
        if self._is_time("edits", _EDITS_SECONDS):
            for edited in self.projection.edited():
                take_in(self._app, self.definitions[edited.name], edited)
                self.projection.forget_edit(edited.name)
        if self.projection.pending:
            self.projection.write(budget)
        elif self._is_time("strangers", _STRANGERS_SECONDS):
            self._warn_of_strangers()

    def _is_time(self, what: str, pause_seconds: float) -> bool:
        now = time.monotonic()
        if now < self._looked.get(what, 0.0):
            return False
        self._looked[what] = now + pause_seconds
        return True

    def _warn_of_strangers(self) -> None:
        """Say, once for each, that what is saved with RedBeat's tools is not executed."""
        strangers = self.projection.strangers()
        if strangers is None:
            return
        for name in sorted(strangers - self._strangers):
            logger.warning(
                "an entry of redbeat is not executed: `schedules import --from redbeat` takes it over",
                extra={"schedule": name},
            )
        self._strangers = strangers
