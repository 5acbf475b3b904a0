"""The parent process' side of a run: time-outs, lost children, revokes. No child learns of these."""

from __future__ import annotations

import random
from typing import Any

from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery.utils.log import get_logger
from celery.worker.request import Request
from celery.worker.state import task_ready

from steadybeat import telemetry
from steadybeat.errors import LedgerUnavailable
from steadybeat.ledger import Ledger
from steadybeat.task.turns import give_back_left

logger = get_logger(__name__)


class SteadyRequest(Request):
    """Celery's request, which writes into the ledger what only the parent process sees, before it acknowledges."""

    _settled = False

    @property
    def _recorded(self) -> bool:
        return bool(getattr(self.task, "recorded", False))

    @property
    def _delivery_no(self) -> int:
        return int(self.request_dict.get("steadybeat_delivery") or 1)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Record a hard time-out or a lost child; everything else the child has recorded itself."""
        error = exc_info.exception
        error = getattr(error, "exc", error)
        if isinstance(error, SystemExit | KeyboardInterrupt) and not (self._already_cancelled or self._already_revoked):
            error = WorkerLostError(f"the process ended itself: {error!r}")
        if not self._recorded or not isinstance(error, TimeLimitExceeded | WorkerLostError):
            return super().on_failure(exc_info, send_failed_event, return_ok)
        return self._settle(error, exc_info)

    def on_timeout(self, soft: bool, timeout: float) -> Any:
        """Record a hard time-out, unless `on_failure` came first."""
        if soft or not self._recorded:
            return super().on_timeout(soft, timeout)
        if not self._settled:
            return self._settle(TimeLimitExceeded(timeout), None)
        return None

    def _settle(self, error: Exception, exc_info: Any) -> None:
        self._settled = True
        timed_out = isinstance(error, TimeLimitExceeded)
        try:
            followed = self._try_again(error, timed_out)
        except LedgerUnavailable as away:
            # Not acknowledged: Redis delivers it again, and the claim sorts it out.
            task_ready(self)
            logger.warning("outcome not recorded", extra={"run_id": self.id, "error": str(away)})
            return
        if not timed_out:  # a child that was too slow is killed after this
            give_back_left(self)
        status = "timed_out" if timed_out else "lost"
        telemetry.log_outcome(status, task=self.name, run_id=self.id, error=str(error))
        if followed:
            task_ready(self)
            self.acknowledge()
            self.send_event("task-retried", exception=repr(error), traceback="")
        elif exc_info is not None:
            super().on_failure(exc_info)
        else:
            super().on_timeout(False, error.args[0] if error.args else 0)

    def _try_again(self, error: Exception, timed_out: bool) -> bool:
        """Return whether another attempt follows, or was recorded by somebody else; False: it is dead now."""
        steadybeat, runs = self.app.steadybeat, Ledger.of(self.app).runs
        retries = int(self.request_dict.get("retries") or 0)
        limit = self.task.max_retries
        outcome: dict[str, Any] = {
            "instance": steadybeat.instance,
            "error": repr(error),
            "reason": str(error) or repr(error),
        }
        if timed_out:
            outcome |= {"outcome": "timed_out", "reason": f"time limit of {error.args[0]:g} s exceeded"}
            if limit is not None and retries >= limit:
                return not runs.give_up(self.id, **outcome)
        else:
            outcome |= {"outcome": "lost"}
        pause = steadybeat.settings.retry_backoff_seconds * 2.0 ** min(retries, 30)
        landed = runs.try_again(
            self.id,
            **outcome,
            retry_count=retries + timed_out,
            crashes=int(not timed_out),
            delay_seconds=min(pause, steadybeat.settings.retry_backoff_max_seconds) * random.uniform(0.5, 1.0),  # noqa: S311
        )
        if not landed and runs.waits_for(self.id, self._delivery_no):
            runs.send_through_outbox([self.id], "rescue")  # it died before its claim
        return True

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        """Record that a person, or an ``expires``, ended the run."""
        if self._recorded:
            self._cancel(f"{reason} through Celery")
        super()._announce_revoked(reason, terminated, signum, expired)

    def _cancel(self, reason: str) -> None:
        steadybeat, runs = self.app.steadybeat, Ledger.of(self.app).runs
        ending: dict[str, Any] = {"state": "cancelled", "reason": reason}
        try:
            if not runs.give_up(self.id, instance=steadybeat.instance, error=reason, outcome="cancelled", **ending):
                runs.end_unstarted(self.id, delivery_no=self._delivery_no, **ending)
        except LedgerUnavailable as away:
            logger.warning("cancellation not recorded", extra={"run_id": self.id, "error": str(away)})
        telemetry.log_outcome("cancelled", task=self.name, run_id=self.id, reason=reason)
