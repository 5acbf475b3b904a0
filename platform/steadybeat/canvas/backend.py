"""Celery's result backend over the ledger: a run's row is its result.

The statement that ends an attempt has written everything by the time Celery asks the backend to; for a run that is
recorded the backend has nothing to write. What is no run (a task with ``recorded=False``, a state that a task makes up
with ``update_state``, a step of a chain that will not come) stands in the table ``results``, until the retention has
passed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from celery import states
from celery.backends.base import BaseBackend
from celery.exceptions import TimeoutError as TookTooLong
from celery.result import GroupResult, result_from_tuple
from celery.utils.log import get_logger
from kombu.exceptions import EncodeError
from kombu.utils.json import loads

from steadybeat.canvas.failures import as_json, described
from steadybeat.errors import ConfigurationError, LedgerUnavailable, ResultNotStored
from steadybeat.ledger import Ledger
from steadybeat.telemetry import correlation

logger = get_logger(__name__)

_FIRST_PAUSE_SECONDS = 0.02
_ENDED = {"succeeded": states.SUCCESS, "dead": states.FAILURE, "cancelled": states.REVOKED}
_OF_THE_LEDGER = frozenset({*states.ALL_STATES, states.RECEIVED, states.REJECTED, states.IGNORED})


class Meta(dict[str, Any]):
    """What Celery knows a task by; to read a result that was not kept is an error, to ask for the state is none."""

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        if isinstance(value, ResultNotStored):
            raise value
        return value


class LedgerBackend(BaseBackend):
    """Celery's result backend over the ledger."""

    is_of_the_ledger = True
    supports_native_join = True
    supports_autoexpire = True  # `ledger prune` forgets

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        self._ledger = Ledger.of(app)

    def as_uri(self, include_password: bool = False) -> str:
        """Return what a worker shows as its result backend."""
        return "the ledger"

    # What Celery asks it to write

    def store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **options: Any
    ) -> Any:
        """Keep what becomes of a task that is no run, or what a task says of itself in a state of its own.

        Celery's states of a run are the ledger's to say, and are left alone here.
        """
        if state in _OF_THE_LEDGER and self._is_recorded(request):
            return result
        return super().store_result(task_id, result, state, traceback, request, **options)

    def mark_as_done(
        self, task_id: str, result: Any, request: Any = None, store_result: bool = True, state: str = states.SUCCESS
    ) -> None:
        """Keep the result of what is no run."""
        if not self._is_recorded(request):
            super().mark_as_done(task_id, result, request, store_result, state)

    def mark_as_failure(
        self, task_id: str, exc: BaseException, *args: Any, request: Any = None, **options: Any
    ) -> None:
        """Keep the error of what is no run, and have Celery call its error callbacks."""
        if not self._is_recorded(request):
            super().mark_as_failure(task_id, exc, *args, request=request, **options)

    def mark_as_revoked(self, task_id: str, reason: str = "", request: Any = None, **options: Any) -> None:
        """Keep that what is no run was revoked."""
        if not self._is_recorded(request):
            super().mark_as_revoked(task_id, reason, request, **options)

    def _is_recorded(self, request: Any) -> bool:
        if request is None or getattr(request, "is_eager", False):
            return False
        return bool(getattr(self.app.tasks.get(request.task), "recorded", False))

    def _store_result(self, task_id: str, result: Any, state: str, traceback: Any = None, **_: Any) -> None:
        try:
            self._ledger.results.say(
                task_id, state, as_json(result), traceback and str(traceback), made_up=state not in _OF_THE_LEDGER
            )
        except LedgerUnavailable as error:
            logger.warning("result not kept", extra={"task_id": task_id, "error": str(error)})

    def _forget(self, task_id: str) -> None:
        self._ledger.results.forget(task_id)

    # What somebody who waits asks

    def _get_task_meta_for(self, task_id: str) -> Meta:
        return self._metas([task_id])[task_id]

    def _metas(self, ids: Iterable[str]) -> dict[str, Meta]:
        return {row.id: self._meta(row) for row in self._ledger.results.standing([*ids])}

    def _meta(self, row: Any) -> Meta:
        meta = Meta(task_id=row.id, children=[((each, None), None) for each in row.children or ()], traceback=None)
        if row.said is not None and (row.state is None or row.said not in _OF_THE_LEDGER):
            at = row.said_at.isoformat() if row.said in states.READY_STATES else None
            meta |= {"status": row.said, "traceback": row.said_traceback, "date_done": at}
            return self._completed(meta, loads(row.said_result) if row.said_result else None)
        if row.state is None:
            return self._completed(meta | {"status": states.PENDING, "date_done": None}, None)
        meta |= {
            "status": _state(row),
            "date_done": row.finished_at and row.finished_at.isoformat(),
            "parent_id": row.parent_id and str(row.parent_id),
            "group_id": row.group_id,
            "name": row.task,
            "retries": row.retry_count,
            "queue": row.queue,
            "worker": row.host,
        }
        return self._completed(meta, _result(meta, row))

    def _completed(self, meta: Any, result: Any) -> Meta:
        done = Meta(meta, result=result)
        self.meta_from_decoded(done)
        return done

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_interval: Callable[[], object] | None = None,
    ) -> Meta:
        """Return what became of a task as soon as it has ended.

        Args:
            task_id: Celery's id.
            timeout: How many seconds to wait; None: however long it takes.
            interval: The longest pause between two looks, in seconds; the first ones are shorter.
            no_ack: Of no meaning here.
            on_interval: Called after each look that found it unfinished.

        Raises:
            TimeoutError: It has not ended in time; Celery's.
        """
        for _, meta in self.get_many({task_id}, timeout=timeout, interval=interval, on_interval=on_interval):
            return meta
        raise TookTooLong("The operation timed out.")

    def get_many(
        self,
        task_ids: Iterable[str],
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Callable[[Meta], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        max_iterations: int | None = None,
    ) -> Iterator[tuple[str, Meta]]:
        """Yield tasks as they end, with one statement for all of them in each look.

        Args:
            task_ids: Celery's ids.
            timeout: How many seconds to wait; None: however long it takes.
            interval: The longest pause between two looks, in seconds; the first ones are shorter.
            no_ack: Of no meaning here.
            on_message: Called with each that has ended.
            on_interval: Called after each look that did not find all.
            max_iterations: So many looks, and then no more.

        Raises:
            TimeoutError: Some have not ended in time; Celery's.
        """
        self._ensure_not_eager()
        waiting, looks, pause = {*task_ids}, 0, _FIRST_PAUSE_SECONDS
        deadline = None if timeout is None else time.monotonic() + timeout
        while waiting:
            for task_id, meta in self._ended(waiting):
                waiting.discard(task_id)
                if on_message is not None:
                    on_message(meta)
                yield task_id, meta
            looks += 1
            if not waiting or looks == max_iterations:
                return
            left = _left(deadline)
            if on_interval is not None:
                on_interval()
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, interval if interval is not None else 0.5)

    def _ended(self, ids: Iterable[str]) -> list[tuple[str, Meta]]:
        metas = self._metas(ids)
        ended = [(task_id, meta) for task_id, meta in metas.items() if meta["status"] in states.READY_STATES]
        for task_id, meta in ended:
            if meta["status"] == states.SUCCESS:
                self._cache[task_id] = meta
        return ended

    # Groups and chords

    def _save_group(self, group_id: str, result: GroupResult) -> GroupResult:
        self._ledger.results.save_group(group_id, as_json(result.as_tuple()))
        return result

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        kept = self._ledger.results.group(group_id)
        return None if kept is None else {"result": result_from_tuple(loads(kept), self.app)}

    def _delete_group(self, group_id: str) -> None:
        self._ledger.results.delete_group(group_id)

    def add_to_chord(self, chord_id: str, result: Any) -> None:
        """Refuse: the parts of a chord are on record before the first is sent.

        Raises:
            ConfigurationError: With the way out.
        """
        raise ConfigurationError(
            f"add_to_chord({result.id}): a chord has the parts that it was sent with, since an attempt that adds one"
            " may happen twice. Have the part replaced by a group instead: self.replace(group(…)).",
            group_id=chord_id,
        )

    def apply_chord(self, header_result_args: Any, body: Any, **_: Any) -> None:
        """Write a chord into the ledger, before its parts are sent.

        Raises:
            ConfigurationError: The body's arguments are not JSON.
        """
        group_id, results = header_result_args
        header = [_ids(each) for each in results]
        parts = [*_flat(header)]
        current = self.app.current_worker_task
        request = current.request if current is not None else None
        if body.name == "celery.accumulate" and request is not None:
            body.options.setdefault("queue", (request.delivery_info or {}).get("routing_key"))
        lineage = {
            "root_id": body.options.get("root_id") or (request and (request.root_id or request.id)) or parts[0],
            "parent_id": request.id if request is not None else parts[0],
            "correlation_id": correlation.current(),
            **correlation.carried(),
        }
        try:
            written = as_json(body)
        except EncodeError as error:
            raise ConfigurationError(
                f"{body.name}: its arguments are not JSON ({error}); pass ids and plain values instead.", task=body.name
            ) from error
        self._ledger.chords.open(group_id, header, len(parts), written, lineage)

    def on_chord_part_return(self, request: Any, state: str, result: Any, **_: Any) -> None:
        """Fail the chord of a part that is no run: whether all parts have succeeded cannot be known.

        A part that is a run has told the chord in the statement that ended it.
        """
        if request.group and not self._is_recorded(request):
            reason = f"{request.task} is not recorded, so that no chord can wait for it"
            self.app.steadybeat.following.refuse(request.group, request.id, reason)


def _left(deadline: float | None) -> float:
    """Return how many seconds are left.

    Raises:
        TimeoutError: None are; Celery's.
    """
    if deadline is None:
        return float("inf")
    left = deadline - time.monotonic()
    if left <= 0:
        raise TookTooLong("The operation timed out.")
    return left


def _state(row: Any) -> str:
    """Return Celery's word for the state of a run."""
    if row.state in _ENDED:
        return _ENDED[row.state]
    if row.state == "running" or row.goes_on:
        return str(states.STARTED)
    return str(states.RETRY if row.state == "waiting" and row.attempt_count else states.PENDING)


def _result(meta: dict[str, Any], row: Any) -> Any:
    """Return what a run gave back, or its error as Celery's JSON has it."""
    if meta["status"] == states.SUCCESS:
        return ResultNotStored(task_id=row.id) if row.result is None else loads(row.result)
    if meta["status"] in states.EXCEPTION_STATES:
        meta["traceback"] = row.error
        return described(row.state, row.reason, row.error, row.outcome)
    if meta["status"] == states.STARTED and row.pid is not None:
        return {"pid": row.pid, "hostname": row.host}
    return None


def _ids(result: Any) -> Any:
    """Return the id of a result, or those of a group's in a list."""
    if isinstance(result, GroupResult):
        return [_ids(each) for each in result.results]
    return result.id


def _flat(header: Iterable[Any]) -> Iterator[str]:
    for each in header:
        if isinstance(each, list):
            yield from _flat(each)
        else:
            yield each
