"""Attempt: one try of a run in the process that runs the user's code. Claim, work, finish, fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded
from celery.exceptions import Ignore, Reject

from steadybeat import telemetry
from steadybeat.errors import EffectRefused, FanOutRefused, LedgerUnavailable, Permanent, StaleAttempt
from steadybeat.ledger.keys import Found, Holder
from steadybeat.ledger.rows import Claim, NewRun
from steadybeat.task import measuring, memory, unrecorded
from steadybeat.task.failing import Failing
from steadybeat.task.turns import Turns
from steadybeat.task.verdicts import STATUS, duplicate_of, ending
from steadybeat.telemetry import metrics

logger = telemetry.get_logger(__name__)


class Attempt(Turns, Failing):
    """One try of a run."""

    def __init__(self, task: Any, request: Any) -> None:
        super().__init__(task, request)
        self._steps: set[str] = set()
        self._is_last_done = False

    def claim(self) -> Claim:
        """Take the right to work, waiting for the ledger if need be.

        Raises:
            Ignore: This delivery is not to be worked on; why is in the log and in the ledger.
            Reject: The worker ends, and gives its message back.
            Permanent: It is a dead letter now: too many workers died under it, or it is too late for another attempt.
        """
        if self.ending is not None and self.ending.begun:
            raise Reject("the worker ends", requeue=True)
        try:
            found = self._insist(self._claim_while_alive, shielded=False)
        except SoftTimeLimitExceeded:
            logger.warning("claim timed out", extra={"run_id": self.run, "task": self._task.name})
            raise Ignore("the ledger did not answer within the soft time limit") from None
        if found.verdict == "claimed":
            self.claimed = found
            self._bind(found)
            asked = self._request.get("steadybeat_asked")
            telemetry.heartbeats.follow(schedule=found.schedule, run=self.run, tenant=found.tenant, asked=asked)
            memory.begin()
            measuring.begun(self._app, self._request, found.waited_seconds)
            self.reach("after_claim")
            return found
        end = self._turn_away(found)
        if end is not None and end["state"] == "dead":
            self._request.errbacks = None  # the ledger knows of them
            raise Permanent(found.detail)
        raise Ignore(found.detail)

    def _claim_while_alive(self) -> Claim:
        """Claim once this instance counts as alive: its keeper says so before long, if it is not about to end.

        Raises:
            LedgerUnavailable: It does not.
        """
        found = self._claim_once()
        if found.verdict == "lapsed":
            raise LedgerUnavailable(found.detail)
        return found

    def _turn_away(self, found: Claim) -> dict[str, Any] | None:
        """Write down what becomes of a run, or of one delivery of it, that is not to be worked on.

        Returns:
            How the run ended, or None where it did not.

        Raises:
            Ignore: It waits for the result of another run, or has got it.
        """
        end = ending(found)
        measuring.turned_away(self._task.name, found, end)
        if found.verdict == "duplicate" and self._task.on_conflict == "return_result":
            self._share(found)
        if end is not None:
            self._insist(lambda: self._ledger.runs.end_unstarted(self.run, delivery_no=self.delivery_no, **end))
            if found.fan_out is not None:
                self._app.steadybeat.fan_outs.advance(found.fan_out)
        is_dead = end is not None and end["state"] == "dead"
        status = "dead" if is_dead else STATUS.get(found.verdict, "duplicate")
        of = {"tenant": found.tenant, "schedule": found.schedule}
        whose = {name: fact for name, fact in of.items() if fact is not None}
        self._bind_unclaimed(found, is_dead=is_dead)
        self._log(status, reason=found.detail, **whose, **self._counted(found))
        return end

    def _bind_unclaimed(self, found: Claim, *, is_dead: bool) -> None:
        """Let lines say whose run it is that is not worked on; of a dead one they speak of its last attempt."""
        schedule, scheduled_for = found.fire_of or (found.schedule, found.scheduled_for)
        facts = {
            "task": self._task.name,
            "service": self._app.steadybeat.service(self._task.name),
            "run_id": self.run,
            "schedule": schedule,
            "scheduled_for": scheduled_for,
            "tenant": found.tenant,
            "attempt": self._request.retries + 1,
        }
        if is_dead:
            facts |= self._insist(lambda: self._ledger.lines.facts_of([self.run])).get(self.run, {})
            facts = {name: value for name, value in facts.items() if name not in ("duration_seconds", "items", "asked")}
        self._binding = telemetry.bind_run(**facts)

    def _counted(self, found: Claim) -> dict[str, str]:
        """Count a duplicate, and return its cause for the log."""
        redelivered = bool((self._request.delivery_info or {}).get("redelivered"))
        cause = duplicate_of(found, redelivered=redelivered)
        if cause is None:
            return {}
        facts: dict[str, Any] = {"task": found.task, "schedule": found.schedule, "cause": cause}
        facts |= {"detail": found.detail, "instance": self._app.steadybeat.instance}
        self._insist(lambda: self._ledger.duplicates.note(self.run, **facts))
        metrics.count(metrics.table.DUPLICATES, self._task.name, cause)
        return {"cause": cause}

    def _share(self, found: Claim) -> None:
        """Give this run the result of the one that has its key, or have it wait for that.

        Raises:
            Ignore: Either was done. It returns where there is no result, and never will be.
        """
        sharing, other = self._ledger.sharing, found.key_run
        holder = self._insist(lambda: sharing.standing(other)) if other else None
        if holder is not None and holder.state == "succeeded":
            reason, next_runs = f"has the result of run {other}: {found.detail}", self._next_runs(holder.result)
            facts: dict[str, Any] = {"reason": reason, "result": holder.result, "next_runs": next_runs}
            self._insist(lambda: sharing.answer(self.run, delivery_no=self.delivery_no, **facts))
            self._log("duplicate", reason=reason, **self._counted(found))
            if self._request.chord:
                self._app.steadybeat.following.part_succeeded(self._request.group)
            raise Ignore(reason)
        if other is None or (holder is not None and holder.finished_at is None):
            reason = f"waits for the result of run {other or 'unknown yet'}, which has its key"
            facts = {"reason": reason, "delay_seconds": min(60.0, 0.5 * 2.0 ** min(self.delivery_no, 7))}
            self._insist(lambda: sharing.postpone(self.run, delivery_no=self.delivery_no, **facts))
            self._log("duplicate", reason=reason)
            raise Ignore(reason)

    def _claim_once(self) -> Claim:
        found = self._claim_recorded()
        if found.verdict == "unknown":
            self._ledger.runs.record(unrecorded.of_request(self._task, self._request))
            found = self._claim_recorded()
        return found

    def _claim_recorded(self) -> Claim:
        hard, _ = self._request.timelimit or (None, None)
        retry_for = self._task.retry_for
        return self._ledger.runs.claim(
            self.run,
            delivery_no=self.delivery_no,
            instance=self._app.steadybeat.instance,
            time_limit_seconds=float(hard or self._task.time_limit),
            crash_limit=self._settings.crash_count,
            claim_id=self._claim_id,
            retry_for_seconds=retry_for and retry_for.total_seconds(),
        )

    def _bind(self, claim: Claim) -> None:
        schedule, scheduled_for = claim.fire_of or (claim.schedule, claim.scheduled_for)
        self._binding = telemetry.bind_run(
            task=self._task.name,
            service=self._app.steadybeat.service(self._task.name),
            run_id=self.run,
            schedule=schedule,
            scheduled_for=scheduled_for,
            attempt=claim.attempt,
            correlation_id=claim.correlation_id,
            tenant=claim.tenant,
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
        if self.is_fanning_out and not step:
            raise EffectRefused(
                f"{said} after fan_out(): where it commits and the worker dies then, a run that is tried again ends at"
                " once, and no tenant has a turn. Give it a step= of its own, or make it before, with one."
            )
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

    def begin_fan_out(self) -> None:
        """Refuse to fan out where that could not be made up for, or has been done.

        Raises:
            FanOutRefused: The last effect has been made, or this attempt has fanned out before.
        """
        if self._is_last_done:
            raise FanOutRefused(
                "fan_out() after exactly_once(), which is the last effect of a run: a run that is tried again from"
                " there ends at once. Give that one a step= of its own."
            )
        if self.is_fanning_out:
            raise FanOutRefused(
                "fan_out(): a run fans out once; let it start a run for each of several fan-outs, or pass the tenants"
                " of all of them together."
            )
        self.is_fanning_out = True
        self.progress.begin(None, has_checkpoints=False)

    def fanned_out_to(self, count: int) -> None:
        """Note that so many tenants are dealt with.

        Raises:
            Stop: The run was cancelled, or its worker ends.
            StaleAttempt: Another attempt holds the run by now.
        """
        self.progress.moved(count, None, None)

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
