"""Attempt: one try of a run in the process that runs the user's code. Claim, work, finish, fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from billiard.exceptions import SoftTimeLimitExceeded
from celery.exceptions import Ignore, Reject
from sqlalchemy import Connection, text

from steadybeat import telemetry
from steadybeat.errors import Permanent, StaleAttempt
from steadybeat.ledger.rows import Claim, NewRun
from steadybeat.task import memory
from steadybeat.task.outcomes import Outcomes
from steadybeat.task.verdicts import STATUS, ending

logger = telemetry.get_logger(__name__)


class Attempt(Outcomes):
    """One try of a run."""

    def claim(self) -> Claim:
        """Take the right to work, waiting for the ledger if need be.

        Raises:
            Ignore: This delivery is not to be worked on; why is in the log and in the ledger.
            Reject: The worker ends, and gives its message back.
            Permanent: Too many workers died under this run; it is a dead letter now.
        """
        if self.ending is not None and self.ending.begun:
            raise Reject("the worker ends", requeue=True)
        try:
            found = self._insist(self._claim_once, shielded=False)
        except SoftTimeLimitExceeded:
            logger.warning("claim timed out", extra={"run_id": self.run, "task": self._task.name})
            raise Ignore("the ledger did not answer within the soft time limit") from None
        if found.verdict == "claimed":
            self.claimed = found
            self._bind(found)
            memory.begin()
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
        """Divert what the task sends under its own id (a retry, a replacement) while the block runs.

        However it ends, the ledger is told how far it came.
        """
        with self._app.amqp.diverting(self.run) as diverted:
            try:
                yield diverted
            finally:
                self.progress.flush()

    def before(self, *, succeeded: bool) -> datetime | None:
        """Return the nominal time of the fire before this run's own, or of the latest that succeeded."""
        schedule, at = self.claimed.schedule, self.claimed.scheduled_for
        if schedule is None or at is None:
            return None
        return self._insist(lambda: self._ledger.story.fire_before(schedule, at, succeeded=succeeded))

    def guard(self, connection: Connection) -> None:
        """Prepare the transaction of an effect: long statements are allowed, a stopped process is not."""
        milliseconds = int(self._settings.lease_seconds * 1000)
        connection.execute(
            text(
                "SELECT set_config('statement_timeout', '0', true),"
                f" set_config('idle_in_transaction_session_timeout', '{milliseconds}', true)"
            )
        )

    def commit_effect(self, connection: Connection) -> None:
        """Mark the processed key as done, as the last statement before COMMIT.

        Raises:
            StaleAttempt: The fence has moved on.
        """
        claim = self.claimed
        if not self._ledger.runs.commit_effect(
            connection, task=claim.task, key=claim.idempotency_key, run=self.run, fence=claim.fence
        ):
            raise StaleAttempt(run=self.run, fence=claim.fence)
