"""Following: what is started because of how others ended. The body of a chord, and error callbacks.

The statement that ends a run says that something follows; what follows is written in a transaction of its own, which
takes that note away. The worker that ended the run does so at once. If it dies in between, a Beat or a watchdog does it
within a second or so: the note is still there. Either way it happens once.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from billiard.exceptions import SoftTimeLimitExceeded
from celery.app.task import Context
from celery.canvas import maybe_signature
from celery.utils.functional import arity_greater
from kombu.exceptions import OperationalError
from kombu.utils.json import loads

from steadybeat.canvas.failures import as_json, chord_error, described, shown
from steadybeat.canvas.unfolding import Unfolded, body_of_chord, rest_of_chain
from steadybeat.errors import LedgerUnavailable
from steadybeat.ledger import Ledger
from steadybeat.ledger.chords import Failing
from steadybeat.ledger.rows import NewRun
from steadybeat.schedule import new_run_id
from steadybeat.telemetry import correlation

logger = logging.getLogger(__name__)

FAILED = "steadybeat_failed"
"""Header of an error callback's message: the task that it is told of."""

_BATCH = 100

# What may be otherwise at the next try, and so decides nothing.
_PASSING = (LedgerUnavailable, OperationalError, OSError, SoftTimeLimitExceeded)


class _Unjoinable(Exception):
    """A chord can never join: the culprit, and its error."""


class Following:
    """Writes what follows the end of runs."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(self) -> int:
        """Write whatever is due, a batch at the most, and return how much that was.

        Raises:
            LedgerUnavailable: What is left is still due.
        """
        due = Ledger.of(self._app).chords.due(_BATCH)
        return sum(
            [self._attempted(self._join, each) for each in due.chords]
            + [self._attempted(self._settle, each) for each in due.runs]
        )

    def after(
        self, result: Any, *, callbacks: Iterable[Any] | None, chain: list[Any] | None, lineage: Mapping[str, str]
    ) -> list[NewRun]:
        """Return what follows a run that has succeeded: its callbacks, and the rest of its chain.

        Args:
            result: What it gave back.
            callbacks: Signatures, as its message has them.
            chain: The rest of its chain, the next step last.
            lineage: ``parent_id`` and ``root_id`` of what follows.
        """
        with self._app.amqp.diverting() as runs:
            for callback in callbacks or ():
                maybe_signature(callback, app=self._app).apply_async((result,), **lineage)
            if chain:
                maybe_signature(chain[-1], app=self._app).apply_async((result,), chain=chain[:-1], **lineage)
        started: list[NewRun] = runs
        return started

    def part_succeeded(self, group_id: str) -> None:
        """Start the body of a chord if this was the last of its parts; if that fails now, it is done later."""
        self._at_once(self._join, group_id)

    def ended_badly(self, run: str) -> None:
        """Write what follows a run that is dead or cancelled; if that fails now, it is done later."""
        self._at_once(self._settle, run)

    def refuse(self, group_id: str, culprit: str, reason: str) -> None:
        """Have a chord fail for good.

        Args:
            group_id: Its id.
            culprit: The part that it cannot have.
            reason: Why.
        """
        chord = Ledger.of(self._app).chords.standing(group_id)
        if chord is not None:
            failing, _ = self._of_chord(chord, chord_error(culprit, reason), None)
            if Ledger.of(self._app).chords.fail(group_id, failing):
                logger.error("chord failed", extra={"group_id": group_id, "reason": f"{culprit}: {reason}"})

    def arguments(self, task: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return what an error callback is called with, as Celery does it.

        One that takes more than the id of what failed gets ``(request, exc, traceback)`` instead.
        """
        failed = task.request.get(FAILED)
        if not failed or not args or not _takes_more(task, args[1:], kwargs):
            return args
        ledger = Ledger.of(self._app)
        (row,) = ledger.results.standing([failed])
        error = loads(row.said_result) if row.said_result else None
        if row.state is not None:
            error = described(row.state, row.reason, row.error, row.outcome)
        run = ledger.story.run(failed) if row.state is not None else None
        request = Context({"id": failed, "delivery_info": {}, **(_request_of(run) if run else {})})
        raised = self._app.backend.exception_to_python(error)
        return (request, raised, row.error or row.said_traceback, *args[1:])

    def _at_once(self, work: Callable[[str], bool], what: str) -> None:
        try:
            self._attempted(work, what)
        except LedgerUnavailable as error:
            logger.warning("what follows is left for later", extra={"of": what, "error": str(error)})

    def _attempted(self, work: Callable[[str], bool], what: str) -> bool:
        try:
            return work(what)
        except LedgerUnavailable:
            raise
        except _PASSING as error:
            logger.warning("what follows is left for later", extra={"of": what, "error": str(error)})
        except Exception:
            logger.exception("what follows could not be written", extra={"of": what})
        return False

    # Chords that join

    def _join(self, group_id: str) -> bool:
        chords = Ledger.of(self._app).chords
        chord = chords.standing(group_id)
        if chord is None or chord.pending > 0:
            return False
        parts = chords.parts(group_id)
        try:
            results = _results(chord.header, parts)
            if results is None:
                return False
            with correlation.as_in(chord.lineage, chord.lineage.get("correlation_id") or parts[0].correlation_id):
                runs = self._started(chord, results)
        except _Unjoinable as error:
            self.refuse(group_id, *error.args)
            return False
        return chords.join(group_id, runs)

    def _started(self, chord: Any, results: list[Any]) -> list[NewRun]:
        body = maybe_signature(loads(chord.body), app=self._app)
        lineage = {name: chord.lineage[name] for name in ("root_id", "parent_id")}
        try:
            with self._app.amqp.diverting() as runs:
                body.apply_async((results,), **lineage)
        except _PASSING:
            raise
        except Exception as error:
            logger.exception("the body of a chord cannot be sent", extra={"group_id": chord.group_id})
            raise _Unjoinable(chord.group_id, f"Callback error: {error!r}") from error
        return runs

    # Runs that ended badly

    def _settle(self, run: str) -> bool:
        chords = Ledger.of(self._app).chords
        ended = chords.ended(run)
        if ended is None:
            return False
        _, _, embed = _body_of(ended.body)
        error = described(ended.state, ended.reason, ended.error)
        with correlation.as_in(ended.message["headers"], ended.correlation_id):
            chain = rest_of_chain(self._app, embed.get("chain"))
            chain.groups |= {ended.group_id} if ended.group_id else set()
            if ended.state == "dead":
                chain.errbacks = [(run, each) for each in embed.get("errbacks") or ()]
            root = ended.message["headers"].get("root_id") or run
            own = self._failing(chain, error, ended.error, root, state=ended.state)
            failing = self._chords_of(chain.groups, chord_error(run, shown(error)), ended.error)
        return chords.settle(run, own, failing)

    def _chords_of(self, groups: set[str], error: dict[str, Any], stack: str | None) -> dict[str, Failing]:
        """Return how chords fail, and those that wait for their bodies."""
        found: dict[str, Failing] = {}
        waiting, seen = [*groups], {*groups}
        while waiting:
            group_id = waiting.pop()
            chord = Ledger.of(self._app).chords.standing(group_id)
            if chord is not None:
                found[group_id], around = self._of_chord(chord, error, stack)
                waiting += around - seen
                seen |= around
        return found

    def _of_chord(self, chord: Any, error: dict[str, Any], stack: str | None) -> tuple[Failing, set[str]]:
        """Return how a chord fails, and the chords that its body is a part of."""
        body = body_of_chord(self._app, loads(chord.body))
        return self._failing(body, error, stack, chord.lineage["root_id"]), body.groups

    def _failing(
        self, found: Unfolded, error: dict[str, Any], stack: str | None, root: str, state: str = "dead"
    ) -> Failing:
        known = {each for each in found.ids if _is_uuid(each)}
        return Failing(
            state="REVOKED" if state == "cancelled" else "FAILURE",
            result=as_json(error),
            reason=shown(error)[:500],
            traceback=stack,
            ids=found.ids,
            run_ids=sorted(known),
            runs=self._errbacks(found.errbacks, root),
        )

    def _errbacks(self, errbacks: Iterable[tuple[str, Any]], root: str) -> list[NewRun]:
        with self._app.amqp.diverting() as runs:
            for failed, errback in errbacks:
                try:
                    self._call(failed, maybe_signature(errback, app=self._app), root)
                except _PASSING:
                    raise
                except Exception:
                    logger.exception("error callback not sent", extra={"run_id": failed, "errback": repr(errback)})
        return runs

    def _call(self, failed: str, errback: Any, root: str) -> None:
        lineage = {"root_id": root, "parent_id": failed} if _is_uuid(failed) else {"root_id": root}
        if errback.subtask_type:
            errback.apply_async((failed,), **lineage)
            return
        told = not errback.immutable
        options = {**errback.options, **lineage, "task_id": new_run_id(datetime.now(UTC), os.urandom(10))}
        options.setdefault("idempotency_key", options["task_id"])
        if told:
            options["headers"] = {**(options.get("headers") or {}), FAILED: failed}
        args = (failed, *errback.args) if told else errback.args
        self._app.send_task(errback.task, args, errback.kwargs, **options)


def _results(header: list[Any], parts: Iterable[Any]) -> list[Any] | None:
    """Return what the parts of a chord gave back, in its order; None where one has not succeeded yet.

    What a part did not achieve, a rerun of it may have.

    Raises:
        _Unjoinable: A result was not kept.
    """
    runs = {str(part.id): part for part in parts}
    achieved: dict[str, Any] = {}
    for part in runs.values():
        origin = part
        while origin.rerun_of is not None and str(origin.rerun_of) in runs:
            origin = runs[str(origin.rerun_of)]
        if part is origin or part.state == "succeeded":
            former = achieved.get(str(origin.id))
            if former is None or former.state != "succeeded":
                achieved[str(origin.id)] = part
    return _filled(header, achieved)


def _filled(header: list[Any], parts: Mapping[str, Any]) -> list[Any] | None:
    filled = []
    for each in header:
        if isinstance(each, list):
            value = _filled(each, parts)
            if value is None:
                return None
        else:
            part = parts.get(each)
            if part is None or part.state != "succeeded":
                return None
            if part.result is None:
                raise _Unjoinable(each, "ResultNotStored('its result is no JSON, or larger than 1 MiB')")
            value = loads(part.result)
        filled.append(value)
    return filled


def _body_of(body: str) -> tuple[Any, Any, dict[str, Any]]:
    """Return arguments, and what follows; nothing of a body that is of no known form."""
    found = loads(body)
    args, kwargs, embed = found if isinstance(found, list) and len(found) == 3 else ([], {}, {})
    return args, kwargs, dict(embed or {})


def _request_of(run: Mapping[str, Any]) -> dict[str, Any]:
    args, kwargs, embed = _body_of(run["body"])
    return {**run["message"]["headers"], "args": args, "kwargs": kwargs, **embed, "retries": run["retry_count"]}


def _takes_more(task: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Return whether a task takes more than the id of what failed, as Celery tells."""
    header = getattr(task, "__header__", None)
    if header is None or isinstance(header, partial):
        return False
    try:
        return bool(arity_greater(partial(header, *args, **kwargs), 1))
    except (TypeError, ValueError):
        return bool(arity_greater(header, 1))


def _is_uuid(text: str) -> bool:
    try:
        return bool(UUID(text))
    except (ValueError, AttributeError, TypeError):
        return False
