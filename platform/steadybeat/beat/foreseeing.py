"""Foreseeing: fires are written ahead while nobody leads, so that what is missed then is on record. None is sent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from steadybeat.beat.expecting import Expectations
from steadybeat.beat.learning import Learner
from steadybeat.ledger import Ledger


class Expecting:
    """Writes fires ahead in place of a Beat that leads. To be made anew each time that nobody does.

    It writes what a leader would, and goes on from where the last one stopped. A leader that comes back meanwhile, or
    another that writes, finds its own rows: what was written before stays as it is. What becomes of the fires is the
    leader's to decide.

    Args:
        app: The Celery app.
        clock: The wall clock.
    """

    def __init__(self, app: Any, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._learner = Learner(app, clock)
        self._expectations = Expectations(Ledger.of(app), self._learner.definitions)

    def __call__(self, within: timedelta) -> None:
        """Write the fires that are to be written by now.

        Args:
            within: How long that may take; the next call goes on from there.

        Raises:
            LedgerUnavailable: The next call goes on from here.
        """
        for definition, until in self._learner.learn(lambda: True).expected:
            self._expectations.add(definition, until)
        now = self._clock()
        if self._expectations.is_due(now):
            self._expectations.write(now, within)
