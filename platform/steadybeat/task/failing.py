"""Failing: what becomes of a run whose attempt raised an error, or asked for another attempt."""

from __future__ import annotations

from datetime import UTC, datetime

from billiard.common import terminate_handler_fired
from billiard.exceptions import SoftTimeLimitExceeded
from celery.exceptions import Ignore, Reject, Retry

from steadybeat.errors import Cancel, LedgerUnavailable, LockLost, Permanent, Snooze, StaleAttempt
from steadybeat.ledger.retries import Bound
from steadybeat.ledger.rows import NewRun
from steadybeat.task.classifying import Decision
from steadybeat.task.outcomes import Outcomes
from steadybeat.task.retrying import decision_on, no_retry_left, pause_seconds, said_on
from steadybeat.task.wording import line, short, spoken


class Failing(Outcomes):
    """What an attempt writes when it ends with an error.

    Attributes:
        gave_up: Celery's ``retry()`` has said in this attempt that no retry is left.
        decision: What was said of the error before Celery's ``autoretry_for`` saw it.
    """

    gave_up = False
    decision: Decision | None = None

    def fail(self, error: Exception) -> None:
        """Have a failed attempt followed by another, or end its run; it returns where Celery is to see the error.

        Raises:
            Retry: Another attempt follows.
            Ignore: Celery is to see no failure: the run begins again later, is cancelled, or was taken over.
        """
        if isinstance(error, LedgerUnavailable | LockLost):
            self.hand_back(error)
        if isinstance(error, StaleAttempt) or terminate_handler_fired():
            self.die(error)
            return
        retries = self._request.retries
        decision = decision_on(self._task, error, retries, gave_up=self.gave_up, found=self.decision)
        if decision.verdict == "snooze":
            self._snooze(error, decision)
        elif decision.verdict == "cancel":
            self._cancel(error, decision)
        elif decision.verdict == "retry" and not self._is_of_the_call(error):
            self._retry(error, decision)
        else:
            self.die(error, decision.because if decision.verdict == "dead" else "its arguments do not fit")

    def speaks_before_autoretry(self, error: Exception) -> tuple[bool, Decision | None]:
        """Return whether somebody is to be heard on an error before Celery's ``autoretry_for``, and what was said."""
        if isinstance(error, LedgerUnavailable | LockLost | StaleAttempt):
            return True, None
        decision = said_on(self._task, error)
        return decision is not None, decision

    def try_again(self, retry: Retry, diverted: list[NewRun]) -> None:
        """Record that another attempt follows, as Celery's ``retry()`` asked for it: when, and with what message.

        Raises:
            Exception: The error that it was asked for: the attempt would begin too late, and the run is dead.
        """
        message = diverted[-1] if diverted else None
        cause: BaseException = retry if retry.exc is None else retry.exc
        delay = 0.0 if message else float(self._task.default_retry_delay)
        bound = self._bound(delay, message.not_before if message else None)
        if bound is not None:
            error = cause if isinstance(cause, Exception) and cause is not retry else Permanent(str(bound))
            self.die(error, str(bound))
            raise error
        if message and message.not_before:
            delay = max(0.0, (message.not_before - datetime.now(UTC)).total_seconds())
        listed = isinstance(cause, tuple(getattr(self._task, "autoretry_for", None) or ()))
        asked = "autoretry_for has it" if listed else "the task asked for it"
        reason = _retry_reason(delay, cause, asked)
        outcome = _outcome(cause, "retried")
        if message:
            self._continue(message, reason, outcome=outcome, cause=cause)
        else:
            self._again(reason, outcome=outcome, cause=cause, delay_seconds=delay, retries=1)

    def rejected(self, reject: Reject) -> None:
        """Record a rejected message: to be tried again, later rather than at once, or a dead letter.

        Raises:
            Ignore: Instead of a requeue, which would come straight back.
        """
        reason = f"the task rejected its message: {reject.reason}"
        if not reject.requeue:
            self._end(reason, state="dead", outcome="failed")
            return
        pause = self.backoff_seconds()
        spent = no_retry_left(self._task, self._request.retries) or self._bound(pause)
        if spent:
            self._end(f"{reason}; {spent}", state="dead", outcome="failed")
        else:
            self._again(reason, outcome="retried", cause=reject, delay_seconds=pause, retries=1)
        raise Ignore(reason)

    def _retry(self, error: Exception, decision: Decision) -> None:
        pause = pause_seconds(self._task, self._request.retries, decision)
        bound = self._bound(pause)
        if bound is not None:
            self.die(error, str(bound))
            return
        reason = _retry_reason(pause, error, decision.because)
        self._again(reason, outcome=_outcome(error, "retried"), cause=error, delay_seconds=pause, retries=1)
        raise Retry(exc=error, when=pause) from error

    def _snooze(self, error: Exception, decision: Decision) -> None:
        pause = pause_seconds(self._task, 0, decision)
        own = isinstance(error, Snooze)
        why = short(error.message) if isinstance(error, Snooze) else _with(line(error), decision.because)
        bound = self._bound(pause)
        if bound is not None and bound.name == "deadline":
            self._end(f"snoozed: {why}; {bound}", state="cancelled", outcome="cancelled", cause=None if own else error)
            raise Ignore(str(bound))
        if bound is not None:
            self.die(error, str(bound))
            return
        reason = f"snoozed for {spoken(pause)}: {why}"
        outcome = _outcome(error, "snoozed")
        self._again(reason, outcome=outcome, cause=None if own else error, delay_seconds=pause, status="snoozed")
        raise Ignore(reason)

    def _cancel(self, error: Exception, decision: Decision) -> None:
        own = isinstance(error, Cancel)
        reason = short(error.message) if isinstance(error, Cancel) else _with(line(error), decision.because)
        self._end(reason, state="cancelled", outcome="cancelled", cause=None if own else error)
        raise Ignore(reason)

    def _bound(self, delay_seconds: float, not_before: datetime | None = None) -> Bound | None:
        return self._insist(
            lambda: self._ledger.retries.bound(self.run, delay_seconds=delay_seconds, not_before=not_before)
        )

    def _is_of_the_call(self, error: Exception) -> bool:
        """Return whether the run's arguments do not fit its task: no attempt can mend that."""
        check_arguments = getattr(self._task, "__header__", None)  # Celery's; a task that is a class has none
        if not isinstance(error, TypeError) or not self._task.typing or check_arguments is None:
            return False
        try:
            check_arguments(*(self._request.args or ()), **(self._request.kwargs or {}))
        except TypeError:
            return True
        return False


def _outcome(error: BaseException, otherwise: str) -> str:
    return "timed_out" if isinstance(error, SoftTimeLimitExceeded) else otherwise


def _retry_reason(pause_seconds: float, error: BaseException, because: str) -> str:
    return _with(f"retry in {spoken(pause_seconds)}: {line(error)}", because)


def _with(text: str, because: str) -> str:
    return f"{text} ({short(because)})" if because else text
