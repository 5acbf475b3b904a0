"""Attempt: one try of a run in the process that runs the user's code. Claim, work, finish, fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded
from celery.exceptions import Ignore

from steadybeat import telemetry
from steadybeat.errors import EffectRefused, Permanent, StaleAttempt
from steadybeat.ledger.keys import Found, Holder
from steadybeat.ledger.rows import Claim, NewRun
from steadybeat.task.turns import Turns
from steadybeat.task.verdicts import STATUS, ending

logger = telemetry.get_logger(__name__)


class Attempt(Turns):
    """One try of a run."""

    def __init__(self, task: Any, request: Any) -> None:
        super().__init__(task, request)
        self._steps: set[str] = set()
        self._is_last_done = False

    def claim(self) -> Claim:
        """Take the right to work, waiting for the ledger if need be.

        Raises:
            Ignore: This delivery is not to be worked on; why is in the log and in the ledger.
            Permanent: Too many workers died under this run; it is a dead letter now.
        """
        try:
            found = self._insist(self._claim_once, shielded=False)
        except SoftTimeLimitExceeded:
            logger.warning("claim timed out", extra={"run_id": self.run, "task": self._task.name})
            raise Ignore("the ledger did not answer within the soft time limit") from None
        if found.verdict == "claimed":
            self.claimed = found
            self._bind(found)
            return found
        end = ending(found)
        if end is not None:
            self._insist(lambda: self._ledger.runs.end_unstarted(self.run, delivery_no=self.delivery_no, **end))
        self._log(STATUS.get(found.verdict, "duplicate"), reason=found.detail)
        if found.verdict == "poisonous":
            raise Permanent(found.detail)
        raise Ignore(found.detail)

    def _claim_once(self) -> Claim:
        found = self._claim_recorded()
        if found.verdict == "unknown":
            self._ledger.runs.record(self._unrecorded())
            found = self._claim_recorded()
        return found

    def _claim_recorded(self) -> Claim:
        hard, _ = self._request.timelimit or (None, None)
        return self._ledger.runs.claim(
            self.run,
            delivery_no=self.delivery_no,
            instance=self._app.steadybeat.instance,
            time_limit_seconds=float(hard or self._task.time_limit),
            crash_limit=self._settings.crash_count,
        )

    def _unrecorded(self) -> NewRun:
        """Return the run of a message that somebody sent without steadybeat."""
        request = self._request
        delivery = request.delivery_info or {}
        kept = ("root_id", "parent_id", "group", "retries", "timelimit", "argsrepr", "kwargsrepr", "ignore_result")
        headers = {"lang": "py", "task": self._task.name, "id": self.run}
        headers |= {name: getattr(request, name, None) for name in kept}
        body = [
            request.args,
            request.kwargs,
            {name: getattr(request, name) for name in ("callbacks", "errbacks", "chain", "chord")},
        ]
        return NewRun(
            id=self.run,
            task=self._task.name,
            service=self._app.steadybeat.service(self._task.name),
            queue=delivery.get("routing_key") or self._app.conf.task_default_queue,
            priority=delivery.get("priority"),
            idempotency_key=self.run,
            message={"headers": headers, "properties": {"correlation_id": self.run}},
            body=json.dumps(body, default=str),
            correlation_id=request.get(telemetry.correlation.HEADER),
        )

    def _bind(self, claim: Claim) -> None:
        self._binding = telemetry.bind_run(
            task=self._task.name,
            service=self._app.steadybeat.service(self._task.name),
            run_id=self.run,
            schedule=claim.schedule,
            scheduled_for=claim.scheduled_for,
            attempt=claim.attempt,
            correlation_id=claim.correlation_id,
        )

    @contextmanager
    def working(self) -> Iterator[list[NewRun]]:
        """Divert what the task sends under its own id (a retry, a replacement) while the block runs."""
        with self._app.amqp.diverting(self.run) as diverted:
            yield diverted

    def before(self, *, succeeded: bool) -> datetime | None:
        """Return the nominal time of the fire before this run's own, or of the latest that succeeded."""
        schedule, at = self.claimed.schedule, self.claimed.scheduled_for
        if schedule is None or at is None:
            return None
        return self._insist(lambda: self._ledger.story.fire_before(schedule, at, succeeded=succeeded))

    @property
    def holder(self) -> Holder:
        """Who this attempt is to the processed keys."""
        claim, ttl = self.claimed, self._task.key_ttl
        return Holder(
            task=claim.task,
            key=claim.idempotency_key,
            run=self.run,
            fence=claim.fence,
            key_ttl_seconds=ttl and ttl.total_seconds(),
        )

    def step_of(self, step: str) -> str:
        """Return what a step is called in the ledger: a task that has replaced another has steps of its own."""
        return step if not step or self._task.name == self.claimed.task else f"{self._task.name}:{step}"

    def begin_step(self, step: str, said: str) -> None:
        """Refuse an effect or a step that a later attempt could not tell from another.

        Raises:
            EffectRefused: The last effect has been made, or this attempt has done a step of this name.
        """
        if self._is_last_done:
            raise EffectRefused(
                f"{said} after exactly_once(), which is the last effect of a run: a run that is tried again from there"
                " ends at once. Give that one a step= of its own."
            )
        if step in self._steps:
            example = f"{step or 'debit'}:7"
            raise EffectRefused(
                f"{said} for the second time in one run, which would do nothing; give each effect and each step a name"
                f" of its own, such as {example!r}."
            )

    def step_found(self, step: str) -> Found:
        """Return what is on record of a step."""
        return self._insist(lambda: self._ledger.keys.found(self.holder, self.step_of(step)), shielded=False)

    def write_step(self, step: str, state: str, *instead_of: str, shielded: bool, **facts: Any) -> None:
        """Record the state of a step, as `Keys.write` does, however long the ledger is away.

        Args:
            step: Its name.
            state: The new state.
            instead_of: See `Keys.write`; the new state itself may be on record, written by this attempt.
            shielded: Whether a soft time limit that strikes meanwhile does not count.
            facts: See `Keys.write`.

        Raises:
            StaleAttempt: The fence has moved on.
        """
        keys, name = self._ledger.keys, self.step_of(step)
        states = (*instead_of, state)
        written = self._insist(
            lambda: keys.write(self.holder, name, state, instead_of=states, **facts), shielded=shielded
        )
        if not written:
            raise StaleAttempt(run=self.run, fence=self.claimed.fence)

    def end_step(self, step: str, *, last: bool = False) -> None:
        """Remember that this attempt has done a step, or found it done."""
        self._steps.add(step)
        self._is_last_done = last
