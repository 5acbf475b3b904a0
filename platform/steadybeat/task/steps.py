"""Steps: what was done outside of any transaction, with what it gave back, for the attempts that come later.

external    (nothing) ──▶ pending ──▶ sent ──▶ confirmed
                             ▲          │          ▲
                             │          ▼          │
                             └─────── unknown ─────┘      resolve(key): did not happen, or did
step        (nothing) ──▶ done
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from steadybeat import telemetry
from steadybeat.errors import EffectRefused, NotSent, StaleAttempt
from steadybeat.ledger.keys import Found
from steadybeat.task.attempt import Attempt
from steadybeat.task.transactions import refuse_nesting
from steadybeat.task.wording import kept

logger = telemetry.get_logger(__name__)

T = TypeVar("T")


class Recorded:
    """A part of a run that has a row of its own beside the run's processed key.

    Args:
        attempt: Whose it is; None where the task is called as a plain function.
        step: Its name.
        said: How a task calls it, for errors.
    """

    states: tuple[str, ...]

    def __init__(self, attempt: Attempt | None, step: str, said: str) -> None:
        if not step or not isinstance(step, str):
            raise EffectRefused(f"{said}: its name must be a text such as 'charge'.")
        self._attempt = attempt
        self._step = step
        self._said = said
        self._found = Found()

    def _begin(self, attempt: Attempt) -> str:
        """Return the state that is on record, or an empty text."""
        refuse_nesting(self._said)
        attempt.begin_step(self._step, self._said)
        self._found = attempt.step_found(self._step)
        if self._found.state not in ("", *self.states):
            raise EffectRefused(
                f"{self._said}: {self._step!r} names another kind of effect in this run; give each its own name."
            )
        return self._found.state

    def _end(self, attempt: Attempt, state: str, result: Any, *instead_of: str) -> Any:
        """Record what it gave back, and return that as later attempts will get it."""
        written = kept(result, self._said)
        former = self._found.former_run
        attempt.write_step(self._step, state, *instead_of, shielded=True, result=written, former_run=former)
        attempt.end_step(self._step)
        return None if written is None else json.loads(written)


class Step(Recorded):
    """A part of a run that later attempts do not do again."""

    states = ("done",)

    def __init__(self, attempt: Attempt | None, step: str) -> None:
        super().__init__(attempt, step, f"step({step!r})")

    def run(self, function: Callable[[], T]) -> T:
        """Do it, or return what it gave back before."""
        if self._attempt is None:
            return function()
        if self._begin(self._attempt):
            self._attempt.end_step(self._step)
            result: T = self._found.result
            return result
        done: T = self._end(self._attempt, "done", function())
        return done


class External(Recorded):
    """An effect outside of any database.

    Args:
        attempt: See `Recorded`.
        step: Its name.
        key: Of the task that is called as a plain function.
    """

    states = ("pending", "sent", "unknown", "confirmed")

    def __init__(self, attempt: Attempt | None, step: str, key: str) -> None:
        super().__init__(attempt, step, f"external({step!r})")
        self._key = f"{key}:{step}"
        if attempt is not None:
            claim = attempt.claimed
            self._key = f"{claim.task}:{claim.idempotency_key}:{attempt.step_of(step)}"

    def run(self, send: Callable[[str], T], resolve: Callable[[str], T | None]) -> T:
        """Do it; or find out what became of it, and then do it if it did not happen."""
        attempt = self._attempt
        if attempt is None:
            return send(self._key)
        state = self._begin(attempt)
        if state == "confirmed":
            attempt.end_step(self._step)
            result: T = self._found.result
            return result
        if state in ("sent", "unknown"):
            happened = self._resolve(attempt, resolve)
            if happened is not None:
                confirmed: T = self._end(attempt, "confirmed", happened, "unknown")
                return confirmed
        former = self._found.former_run
        attempt.write_step(self._step, "pending", "unknown", shielded=False, former_run=former)
        return self._send(attempt, send)

    def _resolve(self, attempt: Attempt, resolve: Callable[[str], T | None]) -> T | None:
        """Ask the other side; whoever held the run before can change nothing here any more."""
        attempt.write_step(self._step, "unknown", "sent", shielded=False)
        logger.warning("external effect unknown", extra={"run_id": attempt.run, "step": self._step})
        return resolve(self._key)

    def _send(self, attempt: Attempt, send: Callable[[str], T]) -> T:
        attempt.write_step(self._step, "sent", "pending", shielded=False)
        try:
            result = send(self._key)
            attempt.reach("after_effect")
            kept(result, self._said)
        except NotSent:
            attempt.write_step(self._step, "pending", "sent", shielded=True)
            raise
        except Exception as error:
            self._say_unknown(attempt, error)
            raise
        confirmed: T = self._end(attempt, "confirmed", result, "sent")
        return confirmed

    def _say_unknown(self, attempt: Attempt, error: Exception) -> None:
        """Record that nobody knows; another attempt that has taken over finds out for itself."""
        try:
            attempt.write_step(self._step, "unknown", "sent", shielded=True)
        except StaleAttempt:
            logger.warning("stale attempt", extra={"run_id": attempt.run, "step": self._step, "error": str(error)})
