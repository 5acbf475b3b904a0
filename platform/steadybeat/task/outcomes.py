"""Outcomes: how an attempt ends, written into the ledger in one statement each."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from billiard.common import terminate_handler_fired
from billiard.exceptions import SoftTimeLimitExceeded
from celery.app.task import get_actual_ignore_result
from celery.exceptions import Ignore, WorkerShutdown, WorkerTerminate

from steadybeat import telemetry
from steadybeat.errors import LedgerUnavailable, LockLost, Permanent, StaleAttempt
from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import Claim, Envelope, NewRun
from steadybeat.task import measuring, memory
from steadybeat.task.ending import Ending, Stop
from steadybeat.task.progress import Progress
from steadybeat.task.retrying import pause_seconds
from steadybeat.task.wording import as_json, line, short, stack
from steadybeat.telemetry import metrics

logger = telemetry.get_logger(__name__)

_Answer = TypeVar("_Answer")


class Outcomes:
    """What an attempt writes when it ends, and the asking of a ledger that may be away for a while.

    Args:
        task: The task, whose request it is.
        request: Celery's request context.
    """

    is_fanning_out = False
    has_fanned_out = False

    def __init__(self, task: Any, request: Any) -> None:
        self._task = task
        self._app = task.app
        self._request = request
        self._ledger = self.ledger = Ledger.of(task.app)
        self._settings = self._ledger.settings
        self._started = time.monotonic()
        self._ended = False
        self._binding: Any = None
        self.run: str = request.id
        self.delivery_no = int(request.get("steadybeat_delivery") or 1)
        self._claim_id = str(uuid.uuid4())
        self.claimed = Claim(verdict="unknown")
        self.ending: Ending | None = task.app.steadybeat.ending
        self.progress = Progress(self)

    def reach(self, point: str) -> None:
        """End this process here if a test has armed the point."""
        self._app.steadybeat.reach(point, self._task.name)

    def succeed(self, result: Any, diverted: list[NewRun]) -> None:
        """Record success together with the runs that follow, and keep Celery from sending those itself.

        Raises:
            Ignore: The run was taken over, or the task sent itself another attempt.
        """
        if diverted:
            self._continue(diverted[-1], "it sent itself again", outcome="retried")
            raise Ignore("another attempt follows")
        if self.is_fanning_out:
            self._wait_for_tenants()
        next_runs = self._next_runs(result)
        group_id = self._request.group if self._request.chord else None
        ignored = group_id is None and get_actual_ignore_result(self._task, self._request)
        ttl = self._task.key_ttl
        facts: dict[str, Any] = {
            "result": as_json(None if ignored else result),
            "next_runs": next_runs,
            "key_ttl_seconds": ttl and ttl.total_seconds(),
            "part": group_id is not None,
            "peak_memory_bytes": self._peak_bytes(),
        }
        self._finish(facts)
        self._request.callbacks = self._request.chain = None
        self._log("succeeded")
        if group_id is not None:
            self._app.steadybeat.following.part_succeeded(group_id)

    def _finish(self, facts: dict[str, Any]) -> None:
        if self.claimed.fan_out is None or facts["next_runs"] or facts["part"]:
            self._write(lambda: self._ledger.runs.finish(self.run, self.claimed.fence, **facts))
            return
        following: list[Envelope | None] = []

        def finish() -> bool:
            done = self._ledger.admitting.finish(
                self.run,
                self.claimed.fence,
                result=facts["result"],
                key_ttl_seconds=facts["key_ttl_seconds"],
                peak_memory_bytes=facts["peak_memory_bytes"],
            )
            following.append(done.next)
            return done.landed

        self._write(finish, hands_on=True)
        self._app.steadybeat.fan_outs.handed_on(self.claimed.fan_out, following[-1])

    def _wait_for_tenants(self) -> None:
        """Let the runs of tenants begin, all of which are on record; this run ends with the last of them.

        Raises:
            Ignore: Always, but for:
            Permanent: The task has gone on although its fan-out raised an error.
        """
        if not self.has_fanned_out:
            raise Permanent("the task went on after fan_out() had raised an error; let that pass")
        reason = "waits for {count} tenants"
        facts: dict[str, Any] = {"reason": reason, "peak_memory_bytes": self._peak_bytes()}
        states: list[str | None] = []

        def release() -> bool:
            states.append(self._ledger.fan_outs.release(self.run, self.claimed.fence, **facts))
            return states[-1] is not None

        self._write(release)
        self._log("cancelled" if states[-1] == "cancelled" else "fanned out")
        self._app.steadybeat.fan_outs.advance(self.run)
        raise Ignore("it waits for its tenants")

    def _next_runs(self, result: Any) -> list[NewRun]:
        request = self._request
        if not request.callbacks and not request.chain:
            return []
        lineage = {"parent_id": self.run, "root_id": request.root_id or self.run}
        runs: list[NewRun] = self._app.steadybeat.following.after(
            result, callbacks=request.callbacks, chain=request.chain, lineage=lineage
        )
        return runs

    def replaced_by(self, canvas: Any, runs: list[NewRun]) -> None:
        """Record what takes the place of this task, where that is more than another task.

        Args:
            canvas: Its signature.
            runs: Its first steps; a single task under the id of this run is recorded by `ignored`.
        """
        own = [run for run in runs if run.id == self.run]
        if own:
            self._continue(own[-1], f"replaced by {own[-1].message['headers']['task']}", outcome="succeeded")
            return
        reason = f"replaced by {canvas!r}"[:500]
        self._write(lambda: self._ledger.replacing.replace(self.run, self.claimed.fence, reason=reason, runs=runs))
        self._log("retried", reason=reason)

    def ignored(self, ignore: Ignore, diverted: list[NewRun]) -> None:
        """Record that the task itself chose to have no effect, unless something takes its place."""
        if self._ended:
            return
        if diverted:
            name = diverted[-1].message["headers"]["task"]
            self._continue(diverted[-1], f"replaced by {name}", outcome="succeeded")
            return
        reason = f"the task raised Ignore: {ignore}" if str(ignore) else "the task raised Ignore"
        self._end(reason, state="cancelled", outcome="cancelled")

    def die(self, error: Exception, because: str = "") -> None:
        """Make a dead letter: nothing more is tried until a person asks for it.

        Args:
            error: What the attempt ended with.
            because: Why nothing more is tried, beside the error itself.

        Raises:
            Ignore: The run was taken over, so this attempt decides nothing.
        """
        if terminate_handler_fired():
            return  # raised while the process unwinds; its parent records why
        if isinstance(error, StaleAttempt):
            self._log("stale", error=str(error))
            raise Ignore(str(error)) from error
        outcome = "timed_out" if isinstance(error, SoftTimeLimitExceeded) else "failed"
        reason = f"{line(error)}; {short(because)}" if because else line(error)
        self._end(reason, state="dead", outcome=outcome, cause=error)

    def interrupted(self, stop: BaseException) -> None:
        """Hand the run back at once. A shutdown does not count against it; its own ``sys.exit()`` counts as a death.

        A process that was told to end by a signal says nothing: its parent knows why, and records that.
        """
        if not self._ended and not terminate_handler_fired():
            own = isinstance(stop, SystemExit) and not isinstance(stop, WorkerShutdown | WorkerTerminate)
            reason = "it ended its own process" if own else "interrupted by a shutdown"
            self._again(reason, outcome="lost" if own else "interrupted", cause=stop, crashes=int(own))

    def stopped(self, stop: Stop) -> None:
        """Record that the attempt ended between two items: its run was cancelled, or is handed back at once."""
        if stop.outcome == "cancelled":
            self._end(stop.reason, state="cancelled", outcome="cancelled")
        else:
            self._again(stop.reason, outcome=stop.outcome, cause=None)

    def hand_back(self, error: LedgerUnavailable | LockLost) -> None:
        """Hand the run back: the ledger did not answer while it worked, or its lock was another's by then.

        That does not count against it.

        Raises:
            Ignore: Always.
        """
        self._again(line(error), outcome="interrupted", cause=error, delay_seconds=self.backoff_seconds())
        raise Ignore(str(error)) from error

    def backoff_seconds(self) -> float:
        """Return the pause before the next attempt, as the task says."""
        return pause_seconds(self._task, self._request.retries)

    def _continue(self, message: NewRun, reason: str, *, outcome: str, cause: BaseException | None = None) -> None:
        values: dict[str, Any] = {
            "fence": self.claimed.fence,
            "reason": reason,
            "error": stack(cause),
            "outcome": outcome,
            "retry_count": int(message.message["headers"].get("retries") or 0),
            "changed": message,
            "peak_memory_bytes": self._peak_bytes(),
        }
        self._write(lambda: self._ledger.runs.try_again(self.run, **values))
        self._log("retried", error=cause, reason=reason)

    def _again(
        self,
        reason: str,
        *,
        outcome: str,
        cause: BaseException | None,
        delay_seconds: float = 0.0,
        retries: int = 0,
        crashes: int = 0,
        status: str | None = None,
    ) -> None:
        values: dict[str, Any] = {
            "fence": self.claimed.fence,
            "reason": reason,
            "error": stack(cause),
            "outcome": outcome,
            "retry_count": self._request.retries + retries,
            "delay_seconds": delay_seconds,
            "crashes": crashes,
            "peak_memory_bytes": self._peak_bytes(),
            "former": telemetry.traces.here(),
        }
        self._write(lambda: self._ledger.runs.try_again(self.run, **values))
        self._log(status or ("retried" if retries else "interrupted"), error=cause, reason=reason)

    def _end(self, reason: str, *, state: str, outcome: str, cause: BaseException | None = None) -> None:
        values: dict[str, Any] = {
            "fence": self.claimed.fence,
            "reason": reason,
            "error": stack(cause) or reason,
            "outcome": outcome,
            "state": state,
            "peak_memory_bytes": self._peak_bytes(),
        }
        self._write(lambda: self._ledger.runs.give_up(self.run, **values))
        self._log(state, error=cause, reason=reason)
        request = self._request
        if request.errbacks or request.chain or request.chord:
            request.errbacks = None  # a result backend of the app's own would send them as well
            self._app.steadybeat.following.ended_badly(self.run)

    def _write(self, statement: Callable[[], bool], *, hands_on: bool = False) -> None:
        """Write an outcome until it lands or is refused.

        Args:
            statement: Writes it, and returns whether it landed.
            hands_on: Whether it hands the place in a fan-out on by itself.

        Raises:
            Ignore: The fence has moved on: another attempt holds the run.
        """
        self.reach("before_finish")
        landed = self._insist(statement) or self._insist(
            lambda: self._ledger.runs.left_by(self.run, self.claimed.fence)
        )
        self._ended = True
        if not landed:
            self._log("stale", reason="another attempt holds the run by now")
            raise Ignore("another attempt holds the run by now")
        if self.claimed.fan_out is not None and not hands_on:
            self._app.steadybeat.fan_outs.advance(self.claimed.fan_out)

    def _insist(self, ask: Callable[[], _Answer], *, shielded: bool = True) -> _Answer:
        """Ask the ledger until it answers. Waiting for it never counts as an attempt.

        Args:
            ask: What to ask; asking twice does no harm.
            shielded: A soft time limit that strikes meanwhile does not count: the work is done, this only says so.
        """
        pause = 0.1
        while True:
            try:
                return ask()
            except SoftTimeLimitExceeded:
                if not shielded:
                    raise
                continue
            except LedgerUnavailable as error:
                logger.warning("ledger away", extra={"run_id": self.run, "error": str(error), "again_in": pause})
            threading.Event().wait(pause)
            pause = min(2.0, pause * 2)

    def insist(self, ask: Callable[[Ledger], _Answer]) -> _Answer:
        """Ask the ledger until it answers."""
        return self._insist(lambda: ask(self._ledger), shielded=False)

    def _peak_bytes(self) -> int:
        """Return the most memory that this attempt's process took; one that took too much is replaced."""
        peak, limit = memory.peak_bytes(), self._task.memory_limit
        metrics.raise_to(metrics.table.PEAK_MEMORY, self._task.name, value=peak)
        if limit is not None and peak > limit:
            memory.replace_process()
            metrics.count(metrics.table.MEMORY_EXCEEDED, self._task.name)
            facts = {"run_id": self.run, "task": self._task.name}
            logger.warning("memory limit exceeded", extra={**facts, "peak_bytes": peak, "limit_bytes": limit})
        return peak

    def _log(self, status: str, error: BaseException | str | None = None, **facts: Any) -> None:
        if self._binding is None:
            facts |= {"task": self._task.name, "run_id": self.run}
        seconds = time.monotonic() - self._started
        if self.claimed.verdict == "claimed":
            measuring.ended(self._app, self._task.name, status, seconds)
        telemetry.log_outcome(status, seconds, items=self.progress.done, error=error, **facts)
