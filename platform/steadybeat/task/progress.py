"""Progress: how far one attempt is, told to the ledger at its pace, and whether it may go on, asked with the same."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from steadybeat import telemetry
from steadybeat.errors import ConfigurationError, LedgerUnavailable, StaleAttempt
from steadybeat.ledger.progress import Orders
from steadybeat.task.ending import Stop

logger = telemetry.get_logger(__name__)

PACE = timedelta(seconds=1)
"""How often the ledger is told, and asked, unless the task says otherwise."""


class Progress:
    """How far one attempt is, and whether it may go on.

    Args:
        attempt: The attempt.
    """

    def __init__(self, attempt: Any) -> None:
        self._attempt = attempt
        self._stop: Stop | None = None
        self._total: int | None = None
        self._mark: Any = None
        self._reached: tuple[Any, int] | None = None
        self._has_checkpoints = False
        self._unwritten = 0
        self._written_at = self._asked_at = float("-inf")
        self.done: int | None = None

    @property
    def checkpoint(self) -> Any:
        """Where this attempt goes on: what an earlier one has reached, or None."""
        return self._before()[0]

    def _before(self) -> tuple[Any, int]:
        if self._reached is None:
            attempt = self._attempt
            first = attempt.claimed.attempt <= 1
            self._reached = (None, 0) if first else attempt.insist(lambda ledger: ledger.progress.reached(attempt.run))
        return self._reached

    def begin(self, total: int | None, *, has_checkpoints: bool) -> None:
        """Begin a loop.

        Raises:
            ConfigurationError: A loop of this attempt had checkpoints already.
            Stop: The attempt is not to go on.
        """
        if has_checkpoints and self._has_checkpoints:
            raise ConfigurationError(
                "iterate(checkpoint=): a run has one loop with checkpoints; leave it out of others."
            )
        self._has_checkpoints = self._has_checkpoints or has_checkpoints
        resumed = has_checkpoints and self.checkpoint is not None
        self.done, self._total = (self._before()[1] if resumed else 0), total
        self._asked_at = time.monotonic()
        self._written_at = float("-inf")  # the first item is told at once: a loop that then stands still is seen
        self._raise_if_stopped()

    def moved(
        self, done: int, total: int | None, checkpoint: Any, *, count: int | None = None, pace: timedelta = PACE
    ) -> None:
        """Note how far the attempt is, and tell the ledger when it is time.

        Args:
            done: Items that are done.
            total: Of how many, where that is known.
            checkpoint: Where the next attempt goes on; None leaves the last.
            count: The ledger is told after so many items even if it is not time.
            pace: How often it is told.

        Raises:
            Stop: The run was cancelled, or its worker ends.
            StaleAttempt: Another attempt holds the run by now.
        """
        self.done, self._total = done, self._total if total is None else total
        self._mark = self._mark if checkpoint is None else checkpoint
        self._unwritten += 1
        passed = time.monotonic() - self._written_at
        if passed >= pace.total_seconds() or (count is not None and self._unwritten >= count):
            self.write()
        self._raise_if_stopped()

    def write(self) -> None:
        """Tell the ledger how far the attempt is.

        Raises:
            StaleAttempt: Another attempt holds the run by now.
            ConfigurationError: The checkpoint cannot be stored.
        """
        mark, done, total = _storable(self._mark), self.done, self._total
        self._written_at = time.monotonic()
        self._unwritten = 0
        run, fence = self._attempt.run, self._attempt.claimed.fence
        self._ask(lambda ledger: ledger.progress.write(run, fence, done=done, total=total, checkpoint=mark))

    def flush(self) -> None:
        """Tell the ledger what it has not been told, however the attempt ends: that must not be in the way."""
        if not self._unwritten:
            return
        try:
            self.write()
        except (StaleAttempt, ConfigurationError) as error:
            logger.warning("progress not recorded", extra={"run_id": self._attempt.run, "error": str(error)})

    def stop(self) -> Stop | None:
        """Return why the attempt is not to go on, or None; the ledger is asked at its pace at the most.

        Raises:
            StaleAttempt: Another attempt holds the run by now.
        """
        ending = self._attempt.ending
        if ending is not None and ending.begun:
            return Stop("interrupted", "its worker ends")
        if self._stop is None and time.monotonic() - self._asked_at >= PACE.total_seconds():
            run, fence = self._attempt.run, self._attempt.claimed.fence
            self._ask(lambda ledger: ledger.progress.ask(run, fence))
        return self._stop

    def _raise_if_stopped(self) -> None:
        stop = self.stop()
        if stop is not None:
            raise stop

    def _ask(self, ask: Callable[[Any], Orders]) -> None:
        self._asked_at = time.monotonic()
        try:
            orders = ask(self._attempt.ledger)
        except LedgerUnavailable as error:  # the work goes on; only its effects need the ledger
            logger.warning("progress not recorded", extra={"run_id": self._attempt.run, "error": str(error)})
            return
        if not orders.held:
            raise StaleAttempt(run=self._attempt.run, fence=self._attempt.claimed.fence)
        if orders.cancelled is not None:
            self._stop = Stop("cancelled", orders.cancelled)


def _storable(mark: Any) -> Any:
    """Return a checkpoint that Postgres can hold as JSON.

    Raises:
        ConfigurationError: It cannot.
    """
    try:
        if "\\u0000" not in json.dumps(mark, allow_nan=False):
            return mark
    except (TypeError, ValueError, RecursionError):
        pass
    raise ConfigurationError(f"checkpoint={mark!r}: must be JSON without NaN or NUL, such as the id of an item.")
