"""Rescue: what was lost is put into the outbox, once the ledger has answered long enough to be believed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kombu.exceptions import OperationalError

from steadybeat import telemetry
from steadybeat.delivery.patience import patience
from steadybeat.errors import LedgerUnavailable
from steadybeat.ledger import Ledger
from steadybeat.ledger.rescue import Rescued
from steadybeat.telemetry import metrics

_STATUS = {"waiting": "rescued"}


class Rescuer:
    """Finds runs whose worker or whose message is gone.

    After an outage of Postgres every instance looks dead: nobody could give a sign of life. So it waits until the
    ledger has answered for a whole lease without a gap. Where it did not ask for as long as a lease can lapse in, it
    knows nothing of that time, and waits as well.
    """

    def __init__(self, app: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._clock = clock
        self._answering_since: float | None = None
        self._last_pass = float("-inf")

    def __call__(self) -> int:
        """Make a pass if a second has gone by since the last, and return how many runs it rescued.

        Raises:
            LedgerUnavailable: The wait for a whole lease starts again.
        """
        now, last = self._clock(), self._last_pass
        if now - last < 1.0:
            return 0
        settings = self._app.steadybeat.settings
        if now - last >= settings.lease_seconds - settings.keeper_seconds:
            self._answering_since = None
        self._last_pass = now
        try:
            self._app.steadybeat.following()  # what workers left that died in between
            return self._pass(now)
        except LedgerUnavailable:
            self._answering_since = None
            raise

    def _pass(self, now: float) -> int:
        ledger = Ledger.of(self._app)
        if self._answering_since is None:
            ledger.ping()
            self._answering_since = now
        if now - self._answering_since < ledger.settings.lease_seconds:
            return 0
        rescued = ledger.rescue.lost()
        self._tell(rescued, "worker")
        overdue = ledger.rescue.overdue_queues()
        unstarted = ledger.rescue.unstarted(overdue, self._empty(overdue)) if overdue else []
        self._tell(unstarted, "message")
        return len(rescued) + len(unstarted)

    def _empty(self, queues: Iterable[str]) -> list[str]:
        """Return those of the queues that hold no message; none while Redis does not answer."""
        try:
            with self._app.connection_for_read(transport_options=patience()) as connection:
                return [queue for queue in queues if connection.default_channel._size(queue) == 0]
        except (OperationalError, *self._app.connection_for_read().connection_errors):
            return []

    def _tell(self, rescued: Sequence[Rescued], cause: str) -> None:
        known = Ledger.of(self._app).lines.facts_of([run.run for run in rescued]) if rescued else {}
        for run in rescued:
            metrics.count(metrics.table.RESCUED, run.task, cause, run.state)
            facts = {"run_id": run.run, "task": run.task, **known.get(run.run, {})}
            telemetry.log_outcome(_STATUS.get(run.state, run.state), **facts, reason=run.reason)
