"""The parent process' side of a run: time-outs, lost children, revokes. No child learns of these."""

from __future__ import annotations

import functools
from typing import Any

from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery.utils.log import get_logger
from celery.worker.request import Request
from celery.worker.state import task_ready

from steadybeat import telemetry
from steadybeat.errors import LedgerUnavailable
from steadybeat.ledger import Ledger
from steadybeat.task import measuring, unrecorded
from steadybeat.task.classifying import Decision
from steadybeat.task.retrying import decision_on, pause_seconds
from steadybeat.task.turns import give_back_left
from steadybeat.task.wording import short, spoken

logger = get_logger(__name__)


class SteadyRequest(Request):
    """Celery's request, which writes into the ledger what only the parent process sees, before it acknowledges."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        telemetry.received(self.request_dict)

    _settled = False
    _handed_back = False
    cancel_reason: str | None = None

    @property
    def _recorded(self) -> bool:
        return bool(getattr(self.task, "recorded", False))

    @property
    def argsrepr(self) -> str:
        """The arguments as events and Flower show them, without secrets."""
        return telemetry.redact_text(str(self._argsrepr))

    @property
    def kwargsrepr(self) -> str:
        """The keyword arguments as events and Flower show them, without secrets."""
        return telemetry.redact_text(str(self._kwargsrepr))

    def info(self, safe: bool = False) -> dict[str, Any]:
        """Return what `celery inspect` and Flower are told of the task, without secrets."""
        told: dict[str, Any] = super().info(safe)
        if not isinstance(told["args"], str):
            told["args"] = telemetry.shown_arguments(self.request_dict, told["args"])
        return told | {name: telemetry.redact(told[name]) for name in ("args", "kwargs")}

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's name
        """Send an event of the task, as Flower shows it, without secrets."""
        if self._eventer and self._eventer.enabled:
            super().send_event(type, **{name: _shown(fields[name]) for name in fields})

    @property
    def delivery_no(self) -> int:
        """Which delivery of its run this is."""
        return int(self.request_dict.get("steadybeat_delivery") or 1)

    @property
    def _facts(self) -> dict[str, Any]:
        """Whose run it is, for a line."""
        said = self.request_dict
        told = ("tenant", "schedule", "asked")
        facts = {name: said.get(f"steadybeat_{name}") for name in told}
        return {
            "task": self.name,
            "run_id": self.id,
            **{name: fact for name, fact in facts.items() if fact is not None},
        }

    def _known(self) -> dict[str, Any]:
        """Return whose run it is and what is known of its attempt, for a line about its end."""
        try:
            return {**self._facts, **Ledger.of(self.app).lines.facts_of([self.id]).get(self.id, {})}
        except LedgerUnavailable:
            return self._facts

    def acknowledge(self) -> None:
        """Tell Redis that the message is dealt with."""
        if self._recorded:
            self.app.steadybeat.reach("before_ack", self.name)
        super().acknowledge()

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Record a hard time-out or a lost child; everything else the child has recorded itself."""
        error = exc_info.exception
        error = getattr(error, "exc", error)
        if isinstance(error, SystemExit | KeyboardInterrupt) and not (self._already_cancelled or self._already_revoked):
            error = WorkerLostError(f"the process ended itself: {error!r}")
        if self._recorded and self._already_cancelled and isinstance(error, Terminated | WorkerLostError | SystemExit):
            if not self._handed_back:
                self._hand_back()  # it may have claimed its run since
            return None
        if not self._recorded or not isinstance(error, TimeLimitExceeded | WorkerLostError):
            return super().on_failure(exc_info, send_failed_event, return_ok)
        return self._settle(error, exc_info)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """End the work and hand its run back at once: the worker ends, or has lost its broker. No failure, no crash."""
        if not self._recorded or not self.time_start:
            super().cancel(pool, signal, emit_retry=emit_retry)
            return
        try:
            super().cancel(pool, signal, emit_retry=False)
        except NotImplementedError:  # in a pool of threads; it ends with its process
            if not self.app.steadybeat.ending.begun:
                raise
        self._hand_back()

    def _hand_back(self) -> None:
        platform = self.app.steadybeat
        reason = "its worker ends" if platform.ending.begun else "its worker lost the broker"
        try:
            self._handed_back = Ledger.of(self.app).runs.try_again(
                self.id,
                instance=platform.instance,
                delivery_no=self.delivery_no,
                reason=reason,
                error=None,
                outcome="interrupted",
                retry_count=int(self.request_dict.get("retries") or 0),
            )
        except LedgerUnavailable as away:
            logger.warning("run not handed back", extra={"run_id": self.id, "error": str(away)})
            return
        if self._handed_back:
            measuring.ended(self.app, self.name, "interrupted", None)
            telemetry.log_outcome("interrupted", **self._known(), reason=reason)
            self.acknowledge()

    def on_timeout(self, soft: bool, timeout: float) -> Any:
        """Record a hard time-out, unless `on_failure` came first."""
        if soft or not self._recorded:
            return super().on_timeout(soft, timeout)
        if not self._settled:
            return self._settle(TimeLimitExceeded(timeout), None)
        return None

    def _settle(self, error: Exception, exc_info: Any) -> None:
        self._settled = True
        if self._already_revoked:
            return  # on record since; the pool only learns of the child's end now
        timed_out = isinstance(error, TimeLimitExceeded)
        try:
            unrecorded.record(self.app, self)
            followed, state, reason = self._try_again(error, timed_out)
        except LedgerUnavailable as away:
            # Nobody else would say so before its time limit has passed: its worker lives.
            self.app.steadybeat.unrecorded.append(functools.partial(self._settle, error, exc_info))
            task_ready(self)
            logger.warning("outcome not recorded", extra={"run_id": self.id, "error": str(away)})
            return
        if not timed_out:  # a child that was too slow is killed after this
            give_back_left(self)
        status, known = "timed_out" if timed_out else "lost", self._known()
        measuring.ended(self.app, self.name, status, error.args[0] if timed_out else None)
        telemetry.log_outcome(status, **known, error=error, state=state, reason=reason)
        with telemetry.told(known):
            self._tell_celery(error, exc_info, followed=followed)

    def _tell_celery(self, error: Exception, exc_info: Any, *, followed: bool) -> None:
        if followed:
            task_ready(self)
            self.acknowledge()
            self.send_event("task-retried", exception=repr(error), traceback="")
        elif exc_info is not None:
            self._context.errbacks = None  # the ledger knows of them
            super().on_failure(exc_info)
        else:
            super().on_timeout(False, error.args[0] if error.args else 0)

    def _span(self, error: Exception, status: str) -> str | None:
        """Make the span of the attempt, which it could not make itself; return what the next one links to."""
        facts = self._known()
        started_at = facts.get("started_at")
        if started_at is None:
            return None
        headers = self.request_dict
        return telemetry.traces.seen(headers, started_at=started_at, status=status, error=error, facts=facts)

    def _try_again(self, error: Exception, timed_out: bool) -> tuple[bool, str | None, str]:
        """Return whether Celery is to see no failure, how the run ended, if it did, and what becomes of it.

        It sees none where another attempt follows, where the run was cancelled, and where somebody else has recorded
        what became of it.
        """
        ledger, retries = Ledger.of(self.app), int(self.request_dict.get("retries") or 0)
        happened = f"time limit of {error.args[0]:g} s exceeded" if timed_out else str(error) or repr(error)
        decision = decision_on(self.task, error, retries) if timed_out else Decision("retry")
        pause = pause_seconds(self.task, retries, decision)
        bound = ledger.retries.bound(self.id, delay_seconds=pause)
        because = str(bound) if bound is not None and decision.verdict != "cancel" else decision.because
        reason = f"{happened}; {short(because)}" if because else happened
        facts: dict[str, Any] = {
            "instance": self.app.steadybeat.instance,
            "delivery_no": self.delivery_no,
            "error": repr(error),
            "outcome": "timed_out" if timed_out else "lost",
        }
        former = self._span(error, facts["outcome"]) if telemetry.traces.are_on() else None
        state = {"dead": "dead", "cancel": "cancelled"}.get(decision.verdict, "dead" if bound is not None else None)
        if state is not None and ledger.runs.give_up(self.id, state=state, reason=reason, **facts):
            return state == "cancelled", state, reason
        reason = f"retry in {spoken(pause)}: {reason}"
        landed = state is None and ledger.runs.try_again(
            self.id,
            **facts,
            reason=reason,
            retry_count=retries + (timed_out and decision.verdict == "retry"),
            crashes=int(not timed_out),
            delay_seconds=pause,
            former=former,
        )
        if not landed and ledger.retries.waits_for(self.id, self.delivery_no):
            ledger.runs.send_through_outbox([self.id], "rescue")  # it died before its claim
        return True, "waiting" if landed else None, reason if landed else happened

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        """Record that a person, or an ``expires``, ended the run."""
        if self._recorded:
            self._cancel(self.cancel_reason or f"{reason} through Celery")
        super()._announce_revoked(reason, terminated, signum, expired)

    def _cancel(self, reason: str) -> None:
        steadybeat, runs = self.app.steadybeat, Ledger.of(self.app).runs
        ending: dict[str, Any] = {"state": "cancelled", "reason": reason}
        try:
            unrecorded.record(self.app, self)
            ours = {"instance": steadybeat.instance, "delivery_no": self.delivery_no}
            if runs.give_up(self.id, error=reason, outcome="cancelled", **ours, **ending):
                measuring.ended(self.app, self.name, "cancelled", None)
            else:
                runs.end_unstarted(self.id, delivery_no=self.delivery_no, **ending)
        except LedgerUnavailable as away:
            logger.warning("cancellation not recorded", extra={"run_id": self.id, "error": str(away)})
        telemetry.log_outcome("cancelled", **self._known(), reason=reason)


def _shown(value: Any) -> Any:
    """Return a field of an event: results, errors and stacks are texts, and may hold secrets."""
    return value if value is None or isinstance(value, bool | int | float) else telemetry.redact_text(str(value))
