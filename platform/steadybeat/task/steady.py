"""SteadyTask, the base class of every task of an app on which steadybeat is installed: its options, and its call."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Task
from celery.exceptions import Ignore, Reject, Retry

from steadybeat import telemetry
from steadybeat.schedule import Rule, new_run_id
from steadybeat.task.attempt import Attempt
from steadybeat.task.classifying import Classifier
from steadybeat.task.effects import Effects
from steadybeat.task.ending import Stop
from steadybeat.task.fanning import Fanning
from steadybeat.task.iterating import Iterating
from steadybeat.task.options import OPTIONS, check
from steadybeat.task.replacing import Replacing
from steadybeat.task.retrying import PastAutoretry

ERROR_CALLBACK = "steadybeat_failed"
"""Header of a message: its task is an error callback."""


class SteadyTask(Iterating, Effects, Replacing, Fanning, Task):
    """A Celery task whose every run has at most one effect.

    Celery's own options keep Celery's meaning; those below come beside them.

    Attributes:
        service: Which service owns the task, and so its queue; its module by default.
        owner: Who answers for it.
        severity: ``info``, ``warning``, ``error`` or ``critical``: how bad it is when it does not run.
        depends_on: Names of what it needs to work.
        key_template: The idempotency key of a run, over the names of its arguments: ``"sale:{sale_id}"``.
        classify: What its errors mean: called with an error, it answers with ``Transient``, ``Permanent``, ``Snooze``
            or ``Cancel``, as a class or an instance, or with None where it has no opinion. It must be quick.
        retry_for: No attempt begins later than this after the first one; a retry that would makes a dead letter.
            With it ``max_retries`` may be None.
        key_ttl: How long after a success the idempotency key keeps other runs from having the same effect; as long as
            the ledger remembers it by default.
        on_conflict: What becomes of a run whose key another run has: ``"skip"`` (the default): it is cancelled, with
            that as its reason; ``"return_result"``: it waits for the other one, and then succeeds with its result.
        for_each: It runs once for each tenant, its first argument: `eligible(…)`, ids to loop over, or a function that
            returns them; with options, a `FanOut` of those. A run without arguments, as a fire's is, becomes one run
            for each.
        lock: No two attempts that hold the same lock work at a time, of this task or of another: a name over the names
            of its arguments, ``"account:{account_id}"``; True: one of its own.
        concurrency: So many attempts of the task work at a time, over all workers.
        concurrency_key: The bound is not the task's but that of a key over the names of its arguments:
            ``"tenant:{tenant_id}"``.
        on_locked: A run that cannot have its lock, or whose bound is reached, waits (``"wait"``, the default): it gives
            its worker back and asks again a moment later, however often; or it is cancelled (``"skip"``), unless an
            attempt of it has begun before. So does one whose lock cannot be asked for because Redis is away.
        memory_limit: How many bytes its process may take at the peak of an attempt. One that took more is logged,
            and replaced when the attempt has ended.
        recorded: False: its runs are not in the ledger. They can be lost, and can run twice.
        schedule: When it is due: ``cron(…)`` or ``every(…)``; the schedule is named like the task.
        schedules: Several, by name; they are named ``<task>:<name>``. Each is a rule, or a dict with ``schedule`` and
            policies, ``args`` and ``kwargs`` of its own.
        jitter: A fire is due up to this much later, always the same for one fire.
        catch_up: Of the fires that no scheduler was there for: ``"all"`` are made up for, the ``"latest"`` (the
            default), or ``"none"``.
        catch_up_window: No fire older than this is made up for; one hour by default.
        catch_up_limit: No more than so many fires are made up for, the latest ones.
        overlap: While a run of the schedule has not ended, its next fire is skipped (``"skip"``, the default), waits
            for its turn unless another waits already (``"queue_one"``), waits (``"queue_all"``), takes its place
            (``"cancel_running"``), or runs beside it (``"allow"``).
        start_deadline: A fire that could not start within this after it was due is skipped.
        pause_after_failures: After so many dead runs in a row the schedule is paused.
        fire_limit: So many fires are dispatched, and then no more.
        late_after: A fire that has not begun so long after it was due is late, and its owner is told.
        failures_before_alert: So many dead runs in a row until its owner is told; one by default.
        expect: What a run that succeeds must have done: ``"items > 0"``, ``"items within 30 %"`` of the median of four
            weeks, or both with ``and``. Its owner is told of one that has not.
        heartbeat: The monitor elsewhere that is told of its runs, as a URL; ``"off"``: none.
        audit_args: Arguments with which ``audit --probe`` may try the task in a scratch place, as a tuple or a dict of
            names; or a function of one argument, a SQLAlchemy connection to the scratch database: it prepares rows on
            which the task acts, and returns the arguments. Without it the task is never tried.
        audit_count: A function of no arguments that counts what such a trial does outside of the tables (mails,
            charges), as a number or a dict of numbers; 0: it does nothing there.
        audit_ignore: Columns (``"mails.state"``) that may differ between a trial that is disturbed and one that is not.
    """

    Request = "steadybeat.task.request:SteadyRequest"
    abstract = True

    service: str | None = None
    owner: str | None = None
    severity: str = "error"
    depends_on: Sequence[str] = ()
    key_template: str | None = None
    classify: Classifier | None = None
    retry_for: timedelta | None = None
    for_each: Any = None
    key_ttl: timedelta | None = None
    on_conflict: str = "skip"
    lock: str | bool | None = None
    concurrency: int | None = None
    concurrency_key: str | None = None
    on_locked: str | None = None
    memory_limit: int | None = None
    recorded: bool = True
    schedule: Rule | None = None
    schedules: Mapping[str, Rule | Mapping[str, Any]] = {}
    jitter: timedelta | None = None
    catch_up: str | None = None
    catch_up_window: timedelta | None = None
    catch_up_limit: int | None = None
    overlap: str | None = None
    start_deadline: timedelta | None = None
    pause_after_failures: int | None = None
    fire_limit: int | None = None
    late_after: timedelta | None = None
    failures_before_alert: int | None = None
    expect: str | None = None
    heartbeat: str | None = None
    audit_args: Any = None
    audit_count: Any = None
    audit_ignore: Sequence[str] = ()

    @classmethod
    def on_bound(cls, app: Any) -> None:
        """Check the task's options as soon as its app is known."""
        super().on_bound(app)
        if cls.name:
            check(cls, app.steadybeat.settings)

    def apply_async(self, *args: Any, task_id: str | None = None, **options: Any) -> Any:
        """Send the task as Celery does, under an id that sorts by time unless one is given.

        Options beside Celery's: ``idempotency_key``, and ``transaction``: a SQLAlchemy Connection or Session on the
        ledger's database. The run becomes a part of its transaction: it is sent when that commits, and was never made
        if it is rolled back.
        """
        return super().apply_async(*args, task_id=task_id or new_run_id(datetime.now(UTC), os.urandom(10)), **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task: as an attempt of its run in a worker, as a plain function anywhere else."""
        request = self.request
        if request.called_directly or request.is_eager or not self.recorded or self._attempt is not None:
            return super().__call__(*args, **kwargs)
        attempt = Attempt(self, request)
        claim = attempt.claim()
        request.steadybeat_attempt = attempt
        try:
            with attempt.working() as diverted:
                attempt.take_turns(args, kwargs)
                telemetry.heartbeats.begun(claim.attempt)
                result = claim.effect_result if claim.effect_done else self._work(*args, **kwargs)
            attempt.succeed(result, diverted)
        except Stop as stop:
            attempt.stopped(stop)
            raise Ignore(stop.reason) from None
        except Retry as retry:
            attempt.try_again(retry, diverted)
            raise
        except Reject as reject:
            attempt.rejected(reject)
            raise
        except Ignore as ignore:
            attempt.ignored(ignore, diverted)
            raise
        except Exception as error:
            attempt.fail(error)
            raise
        except BaseException as stop:
            attempt.interrupted(stop)
            raise
        finally:
            attempt.leave_turns()
        return result

    def _work(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task's own code, through the `__call__` of a base class that an app has brought along."""
        if self.for_each is not None and not args and not kwargs:
            return self._fan_out(self, self.for_each)
        call = super().__call__
        if self.request.get(ERROR_CALLBACK):
            args = self.app.steadybeat.following.arguments(self, args, kwargs)
        try:
            return self.run(*args, **kwargs) if call.__func__ is Task.__call__ else call(*args, **kwargs)
        except PastAutoretry as passed:
            error, self.request.steadybeat_attempt.decision = passed.error, passed.decision
        raise error

    def retry(self, *args: Any, **kwargs: Any) -> Any:
        """Ask for another attempt, as Celery's ``retry()`` does; where no retry is left, the run is dead."""
        try:
            return super().retry(*args, **kwargs)
        except (Retry, Reject):
            raise
        except Exception:
            if self._attempt is not None:
                self._attempt.gave_up = True
            raise

    @property
    def _orig_run(self) -> Any:
        """The task's own code where ``autoretry_for`` stands around it; Celery sets it, and calls it by this name.

        What is said of an error by itself, or by a classifier, is said before ``autoretry_for`` sees it.
        """
        own = self.__dict__.get("_orig_run")
        if own is None:
            raise AttributeError("_orig_run")
        return own if self._attempt is None else functools.partial(self._before_autoretry, own)

    @_orig_run.setter
    def _orig_run(self, run: Any) -> None:
        self.__dict__["_orig_run"] = run

    def _before_autoretry(self, run: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return run(*args, **kwargs)
        except (Ignore, Retry, Reject):
            raise
        except Exception as error:
            speaks, decision = self.request.steadybeat_attempt.speaks_before_autoretry(error)
            if not speaks:
                raise
            raise PastAutoretry(error, decision) from error


class Innermost(Task):
    """Where a `__call__` that calls its parent's arrives: at the task's own code, within the same request."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task's own code; outside of an attempt as Celery does."""
        if getattr(self.request, "steadybeat_attempt", None) is None:
            return super().__call__(*args, **kwargs)
        return self.run(*args, **kwargs)


def steady(base: type[Task]) -> type[Task]:
    """Return a base class whose tasks are steady, and are otherwise as `base` makes them.

    The attempt stands around a `__call__` of `base`; what `base` says of steadybeat's options counts.
    """
    if issubclass(base, SteadyTask):
        return base
    if base is Task:
        return SteadyTask
    said = {name: inspect.getattr_static(base, name) for name in OPTIONS if hasattr(base, name)}
    own = {"abstract": True, "__module__": base.__module__, "__doc__": base.__doc__}
    return type(base.__name__, (SteadyTask, base, Innermost), own | said)
