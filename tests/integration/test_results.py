"""The ledger is Celery's result backend: what becomes of a run is what `AsyncResult` says."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from celery import group
from celery.app.trace import build_tracer
from celery.exceptions import TaskRevokedError
from celery.exceptions import TimeoutError as TookTooLong
from celery.result import GroupResult

from steadybeat.errors import Permanent, ResultNotStored
from steadybeat.ledger.rows import NewRun
from steadybeat.task.wording import as_json, line, stack
from tests.integration.canvases import Drawing


@pytest.fixture
def drawing(ledger_url: str) -> Iterator[Drawing]:
    drawing = Drawing(ledger_url)
    yield drawing
    drawing.close()


def one(drawing: Drawing, **options: Any) -> NewRun:
    return drawing.recorded(drawing.part.s(1), **options)[0]


def test_each_state_of_a_run_has_celerys_word(drawing: Drawing) -> None:
    runs = drawing.ledger.runs
    sent, working, waiting, cancelled = (one(drawing) for _ in range(4))
    drawing.claimed(working)
    fence = drawing.claimed(waiting).fence
    runs.try_again(waiting.id, fence=fence, reason="retry: ValueError: not yet", error="…", retry_count=1)
    runs.end_unstarted(cancelled.id, delivery_no=1, state="cancelled", reason="nobody wants it")

    results = [drawing.app.AsyncResult(run.id) for run in (sent, working, waiting, cancelled)]
    assert [each.state for each in results] == ["PENDING", "STARTED", "RETRY", "REVOKED"]
    assert [each.ready() for each in results] == [False, False, False, True]
    assert results[1].info == {"pid": 1, "hostname": "here"}
    assert results[2].retries == 1
    with pytest.raises(TaskRevokedError, match="nobody wants it"):
        results[3].get()
    with pytest.raises(TookTooLong):
        results[0].get(timeout=0.05)
    assert drawing.state("anything") == drawing.state(str(uuid.uuid4())) == "PENDING"


@pytest.mark.parametrize(
    "value",
    [1, None, "text", {"a": [1, None]}, datetime(2026, 1, 2, tzinfo=UTC), Decimal("1.50"), b"raw", uuid.UUID(int=7)],
)
def test_a_result_comes_back_as_it_was_given(drawing: Drawing, value: Any) -> None:
    run = one(drawing)
    drawing.succeed(run, as_json(value))
    result = drawing.app.AsyncResult(run.id)
    assert (result.get(timeout=5), result.successful(), result.failed()) == (value, True, False)
    assert result.date_done is not None


@pytest.mark.parametrize("value", ["x" * 1_048_576, {1, 2}, float("nan"), "NUL \0"])
def test_a_result_that_was_not_kept_is_an_error_and_no_none(drawing: Drawing, value: Any) -> None:
    run = one(drawing)
    drawing.succeed(run, as_json(value))
    result = drawing.app.AsyncResult(run.id)
    assert result.successful()
    with pytest.raises(ResultNotStored, match="was not kept"):
        result.get(timeout=5)


class OwnError(Exception):
    """An error of the user's."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("not this"), ValueError),
        (OwnError("two\nlines: of it"), OwnError),
        (Permanent("for good"), Permanent),
        (KeyError("name"), KeyError),
    ],
)
def test_an_error_comes_back_as_it_was_raised(drawing: Drawing, error: Exception, kind: type[Exception]) -> None:
    run = one(drawing)
    fence = drawing.claimed(run).fence
    try:
        raise error
    except Exception as raised:  # noqa: BLE001
        drawing.ledger.runs.give_up(run.id, fence=fence, reason=line(raised), error=stack(raised) or "")
    result = drawing.app.AsyncResult(run.id)
    assert result.failed()
    assert str(error).splitlines()[-1] in str(result.result)
    assert "Traceback (most recent call last)" in result.traceback
    with pytest.raises(kind):
        result.get(timeout=5)


def test_a_run_that_died_without_an_error_of_its_own_says_how(drawing: Drawing) -> None:
    run = one(drawing)
    fence = drawing.claimed(run).fence
    reason = "workers died under it 3 times"
    drawing.ledger.runs.give_up(run.id, fence=fence, reason=reason, error=reason, outcome="lost")
    with pytest.raises(Exception, match="workers died under it") as raised:
        drawing.app.AsyncResult(run.id).get(timeout=5)
    assert type(raised.value).__name__ == "WorkerLostError"


def test_groups_are_kept_and_waited_for_in_one_go(drawing: Drawing) -> None:
    with drawing.app.amqp.diverting() as runs:
        result = group([drawing.part.s(number) for number in range(3)], app=drawing.app).apply_async()
    drawing.ledger.runs.record_all(runs)
    result.save()
    for number, run in enumerate(runs):
        drawing.succeed(run, str(number))
    assert result.get(timeout=5) == [0, 1, 2]
    again = GroupResult.restore(result.id, app=drawing.app)
    assert again.get(timeout=5) == [0, 1, 2]
    again.delete()
    assert GroupResult.restore(result.id, app=drawing.app) is None


def test_what_a_run_started_are_its_children_and_what_is_forgotten_is_gone(drawing: Drawing) -> None:
    parent = one(drawing)
    child = one(drawing, parent_id=parent.id)
    drawing.succeed(parent, "7")
    drawing.succeed(child, "8")
    result = drawing.app.AsyncResult(parent.id)
    assert [each.id for each in result.children] == [child.id]
    assert [value for _, value in result.collect()] == [7, 8]
    result.forget()
    assert drawing.app.AsyncResult(parent.id).get(timeout=5) is None
    assert drawing.app.AsyncResult(child.id).get(timeout=5) == 8


def test_what_a_task_says_of_itself_holds_while_it_works_and_no_longer(drawing: Drawing) -> None:
    run = one(drawing)
    fence = drawing.claimed(run).fence
    drawing.app.backend.store_result(run.id, {"done": 3}, "PACKING")
    result = drawing.app.AsyncResult(run.id)
    assert (result.state, result.info) == ("PACKING", {"done": 3})
    for state in ("SUCCESS", "FAILURE", "REVOKED"):
        drawing.app.backend.store_result(run.id, 2 if state == "SUCCESS" else ValueError("no"), state)
    assert drawing.state(run.id) == "PACKING"
    assert drawing.ledger.runs.finish(run.id, fence, result="1")
    assert drawing.app.AsyncResult(run.id).get(timeout=5) == 1


def test_what_is_no_run_has_a_result_as_well(drawing: Drawing) -> None:
    run = build_tracer(drawing.loose.name, drawing.loose, app=drawing.app)
    for name, value in (("well", 1), ("badly", 0)):
        run(name, (value,), {}, {"id": name, "task": drawing.loose.name, "delivery_info": {}})
    assert drawing.app.AsyncResult("well").get(timeout=5) == 1
    with pytest.raises(ZeroDivisionError):
        drawing.app.AsyncResult("badly").get(timeout=5)
