"""Advancing: who may begin, when a fan-out is given up, and what follows when all have ended.

Whatever is to be done is seen from the ledger alone, so that whoever comes next does it: the worker in which a run
has just ended, at once; or a Beat or a watchdog, which look twice a second. One at a time does it for each fan-out.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded
from celery.canvas import maybe_signature
from kombu.exceptions import OperationalError
from kombu.utils.json import loads

from steadybeat.errors import BrokerUnavailable, LedgerUnavailable
from steadybeat.fanout import leaving
from steadybeat.fanout.plan import FanOut
from steadybeat.fanout.writing import Whole, Writer, named
from steadybeat.ledger import Ledger
from steadybeat.ledger.admitting import Held, Standing
from steadybeat.ledger.fan_outs import Counts
from steadybeat.ledger.rows import Envelope, NewRun
from steadybeat.telemetry import correlation, heartbeats

logger = logging.getLogger(__name__)

WITHIN = timedelta(seconds=0.2)
_MOST_OPEN = 5_000

# What may be otherwise at the next try.
_PASSING = (LedgerUnavailable, BrokerUnavailable, OperationalError, OSError, SoftTimeLimitExceeded)


class FanOuts:
    """Writes the fan-outs of an app, and moves them on.

    Args:
        app: The Celery app.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    @property
    def _ledger(self) -> Ledger:
        return Ledger.of(self._app)

    @staticmethod
    def planned(given: Any, **options: Any) -> FanOut:
        """Return a plan: `given` itself, or one for those tenants.

        Raises:
            FanOutRefused: Names the option, its value and the way out.
        """
        return given if isinstance(given, FanOut) and not options else FanOut(given, **options)

    def write(self, task: Any, plan: FanOut, **whole: Any) -> None:
        """Write a run for each tenant, in line; none begins before the fan-out is released.

        Args:
            task: What runs for each: a task, or its name.
            plan: What it is told.
            **whole: Of the run that fans out, as `Whole` has it.

        Raises:
            FanOutRefused: A tenant is none, or the task cannot be called with one.
            StaleAttempt: Another attempt holds the run by now.
        """
        Writer(self._app, Whole(**whole), task, plan)()

    def called(self, task: Any, plan: FanOut) -> dict[str, int]:
        """Call a task for each tenant in this process, where there is no run to fan out; no policy is asked."""
        task = self._app.tasks[task] if isinstance(task, str) else task
        counts = dict.fromkeys(("succeeded", "failed", "cancelled", "skipped"), 0)
        for _, value in named(plan.source(self._app.steadybeat.tenants)):
            result = task.apply((value,), dict(plan.kwargs))
            counts["succeeded" if result.successful() else "failed"] += 1
        return counts

    def __call__(self, within: timedelta = WITHIN) -> None:
        """Move on whatever can be, round after round.

        Args:
            within: No round begins after this.

        Raises:
            LedgerUnavailable: What is left is still to be done.
        """
        until = time.monotonic() + within.total_seconds()
        while True:
            stirring = [each.run for each in self._ledger.admitting.open(_MOST_OPEN) if _stirs(each)]
            moved = [self._advanced(run, waiting=False) for run in stirring]
            if not any(moved) or time.monotonic() >= until:
                return

    def handed_on(self, run: str, following: Envelope | None) -> None:
        """Send the message of the run that has got the place of one that has ended; where none has, look why.

        Args:
            run: The fan-out.
            following: The message.
        """
        if following is None:
            self.advance(run)
        else:
            self._send([following])

    def advance(self, run: str) -> None:
        """Do what is to be done for a fan-out now; if that fails, it is done later.

        Whoever ends a run asks after that: of those who end the last runs at once, one at least sees that all have.
        """
        try:
            standing = self._ledger.admitting.standing(run)
            if standing is not None and _stirs(standing):
                self._advanced(run, waiting=True)
        except LedgerUnavailable as error:
            logger.warning("fan-out left for later", extra={"fan_out": run, "error": str(error)})

    def _advanced(self, run: str, *, waiting: bool) -> bool:
        try:
            return self._advance(run, waiting=waiting)
        except LedgerUnavailable:
            raise
        except _PASSING as error:
            logger.warning("fan-out left for later", extra={"fan_out": run, "error": str(error)})
        except Exception:
            logger.exception("fan-out cannot be moved on", extra={"fan_out": run})
        return False

    def _advance(self, run: str, *, waiting: bool) -> bool:
        with self._ledger.admitting.held(run, waiting=waiting) as held:
            if held is None or not (held.standing.is_released or not held.standing.is_wanted):
                return False
            let_in = self._move(held)
            standing = held.standing
            ended = standing.is_over
            group_id = self._end(held) if ended else None
        self._send(let_in)
        if not standing.is_wanted and standing.has_unasked:
            self._ledger.cancelling.give_up(run, _why_to_end(standing, None))
        if group_id is not None:
            self._app.steadybeat.following.part_succeeded(group_id)
        return True

    def _move(self, held: Held) -> list[Envelope]:
        """Let in who may begin; where none may any more, cancel those in line. Return the messages to be sent."""
        standing = held.standing
        reason = standing.abort_reason or _why_to_abort(standing)
        if reason and not standing.abort_reason:
            held.abort(reason)
            logger.error("fan-out aborted", extra={"fan_out": standing.run, "reason": reason})
        if reason or not standing.is_wanted:
            held.wind_down(_why_to_end(standing, reason))
            held.look()
            return []
        if standing.room and (standing.first_is_due or standing.again_is_due):
            return held.let_in(standing.room)
        return []

    def _send(self, envelopes: Sequence[Envelope]) -> None:
        """Send messages of runs that were let in; those that cannot be sent now are left to the relay."""
        if not envelopes:
            return
        try:
            left = self._app.steadybeat.relay.send(envelopes)
        except _PASSING as error:
            left = [each.run for each in envelopes]
            logger.warning("messages left to the relay", extra={"count": len(left), "error": str(error)})
        if left:
            self._ledger.runs.send_through_outbox(left, "delayed")

    def tell_left(self, queues: Collection[str]) -> None:
        """Log which tenants are not done, of those whose runs go to some queues; their worker ends.

        Raises:
            LedgerUnavailable: They are on record all the same.
        """
        leaving.tell_left(self._ledger, queues)

    # The end

    def _end(self, held: Held) -> str | None:
        """Write that all have ended, and what follows; return the chord that the fan-out's run was a part of."""
        run = held.standing.run
        whole, counts = held.whole(), held.counts()
        state, reason = _judged(held.standing, whole, counts)
        result = told(counts, whole.total_count)
        headers = json.loads(whole.message)["headers"] if whole.message else {}
        lineage = {"parent_id": run, "root_id": headers.get("root_id") or run}
        with correlation.as_in(headers, whole.correlation_id):
            runs = self._after(whole, result, lineage) if state == "succeeded" and not whole.has_succeeded else []
            follower = whole.on_complete if held.standing.is_released else None
            following = self._told(follower, {"fan_out": run, "state": state, **result}, lineage)
        task = self._app.tasks.get(whole.task)
        ttl = getattr(task, "key_ttl", None)
        ended = held.end(
            state=state,
            reason=reason,
            is_told=whole.has_succeeded,
            result=json.dumps(result),
            key_ttl_seconds=ttl and ttl.total_seconds(),
            runs=runs,
            told=following,
        )
        self._app.steadybeat.reach("before_end", whole.task)
        facts = {"fan_out": run, "task": whole.task, "state": state, "reason": reason, **result}
        logger.log(logging.ERROR if state == "dead" else logging.INFO, "fan-out ended", extra=facts)
        if ended:
            of = {"schedule": whole.schedule, "run_id": run, "reason": reason or f"{result['succeeded']} tenants"}
            heartbeats.ended(state, of, items_count=result["succeeded"])
        return whole.group_id if ended and state == "succeeded" and not whole.has_succeeded else None

    def _after(self, whole: Any, result: dict[str, int], lineage: dict[str, str]) -> list[NewRun]:
        """Return what follows the fan-out's own run: its callbacks, and the rest of its chain."""
        _, _, embed = loads(whole.body)
        embed = embed or {}
        try:
            started: list[NewRun] = self._app.steadybeat.following.after(
                result, callbacks=embed.get("callbacks"), chain=embed.get("chain"), lineage=lineage
            )
        except _PASSING:
            raise
        except Exception:
            logger.exception("what follows cannot be sent", extra={"fan_out": lineage["parent_id"]})
            return []
        return started

    def _told(self, follower: Any, result: dict[str, Any], lineage: dict[str, str]) -> list[NewRun]:
        """Return the run of who is told the counts."""
        if follower is None:
            return []
        try:
            with self._app.amqp.diverting() as runs:
                maybe_signature(follower, app=self._app).apply_async((result,), **lineage)
        except _PASSING:
            raise
        except Exception:
            logger.exception("on_complete cannot be sent", extra={"fan_out": lineage["parent_id"]})
            return []
        return runs


def told(counts: Counts, total_count: int | None) -> dict[str, int]:
    """Return the counts of a fan-out that is over, for its result; of runs that were pruned only how many they were."""
    found = {
        "succeeded": counts.succeeded,
        "failed": counts.failed,
        "cancelled": counts.cancelled,
        "skipped": counts.skipped,
    }
    pruned = (total_count or 0) - counts.total
    return found | {"pruned": pruned} if pruned > 0 else found


def _judged(standing: Standing, whole: Any, counts: Counts) -> tuple[str, str | None]:
    """Return how the run of a fan-out ends, all of whose tenants have ended, and why it has not succeeded."""
    if not standing.is_wanted or whole.cancel_requested_at is not None:
        return "cancelled", whole.cancel_reason
    if standing.abort_reason:
        return "dead", standing.abort_reason
    if counts.failed and counts.failed >= max(counts.total, whole.total_count or 0) - counts.cancelled:
        return "dead", f"all {counts.failed} tenants failed"
    if counts.given_up:
        return "dead", f"{counts.given_up} tenants that were given up before have had no turn"
    return "succeeded", None


def _stirs(standing: Standing) -> bool:
    """Return whether something is to be done for a fan-out."""
    if standing.is_over:
        return True
    if not standing.is_wanted:
        return standing.has_line or standing.has_unasked
    if standing.abort_reason or _why_to_abort(standing):
        return standing.has_line or not standing.abort_reason
    return bool(standing.room and (standing.first_is_due or standing.again_is_due))


def _why_to_end(standing: Standing, abort_reason: str | None) -> str:
    """Return why nobody else has a turn."""
    return abort_reason or standing.whole_reason or "its own run has ended without it"


def _why_to_abort(standing: Standing) -> str | None:
    """Return why a fan-out is clearly broken, as it was told to see that."""
    failed, total = standing.dead_count, standing.total_count
    if standing.abort_count is not None and failed >= standing.abort_count:
        return f"{failed} of {total} tenants failed (abort_when={standing.abort_count})"
    if standing.abort_share is not None and failed > 0 and failed >= standing.abort_share * (total or 0):
        return f"{failed} of {total} tenants failed (abort_when={standing.abort_share:g})"
    return None
