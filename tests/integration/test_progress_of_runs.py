"""How far a run is: written by the attempt that holds it, kept for the next, and answered with what is asked of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from steadybeat.ledger import Ledger
from steadybeat.ledger.cancelling import Overdue
from steadybeat.ledger.connection import sql
from steadybeat.ledger.progress import Orders
from steadybeat.ledger.rows import Claim, NewRun

_DELIVERY = sql("SELECT delivery_no FROM steadybeat.runs WHERE id = :run")
_ROW = sql("SELECT * FROM steadybeat.runs WHERE id = :run")
_CRASHES = sql("UPDATE steadybeat.runs SET crash_count = 2 WHERE id = :run")
HELD = Orders(held=True)


@pytest.fixture
def instance(ledger: Ledger) -> str:
    name = str(uuid4())
    ledger.instances.sign_of_life(name, role="worker", host="here", pid=1, release="0")
    return name


def recorded(ledger: Ledger) -> str:
    run = NewRun(
        id=str(uuid4()), task="shop.walk", service="shop", queue="shop", idempotency_key=str(uuid4()),
        message={"headers": {}, "properties": {}}, body="[[], {}, {}]",
    )  # fmt: skip
    ledger.runs.record(run)
    return run.id


def claimed(ledger: Ledger, run: str, instance: str) -> Claim:
    number = ledger.database.execute(_DELIVERY, {"run": run})[0].delivery_no
    return ledger.runs.claim(run, delivery_no=number, instance=instance, time_limit_seconds=60, crash_limit=3)


def row(ledger: Ledger, run: str) -> Any:
    return ledger.database.execute(_ROW, {"run": run})[0]


def again(ledger: Ledger, run: str, claim: Claim) -> None:
    assert ledger.runs.try_again(run, fence=claim.fence, reason="later", error=None, retry_count=1)


def test_progress_is_written_and_found_by_the_next_attempt(ledger: Ledger, instance: str) -> None:
    run = recorded(ledger)
    first = claimed(ledger, run, instance)
    assert ledger.progress.reached(run) == (None, 0)
    assert ledger.progress.write(run, first.fence, done=7, total=9, checkpoint={"id": 7}) == HELD
    assert ledger.progress.write(run, first.fence, done=8) == HELD

    again(ledger, run, first)

    assert ledger.progress.reached(run) == ({"id": 7}, 8)
    assert (row(ledger, run).items_total, row(ledger, run).progressed_at is not None) == (9, True)


def test_an_attempt_that_lost_its_run_writes_nothing(ledger: Ledger, instance: str) -> None:
    run = recorded(ledger)
    first = claimed(ledger, run, instance)
    again(ledger, run, first)
    second = claimed(ledger, run, instance)

    assert ledger.progress.write(run, first.fence, done=5, checkpoint=5) == Orders(held=False)
    assert ledger.progress.ask(run, first.fence) == Orders(held=False)
    assert ledger.progress.ask(run, second.fence) == HELD
    assert row(ledger, run).checkpoint is None


def test_an_attempt_whose_run_was_handed_back_still_says_how_far_it_came(ledger: Ledger, instance: str) -> None:
    run = recorded(ledger)
    claim = claimed(ledger, run, instance)
    again(ledger, run, claim)

    assert ledger.progress.write(run, claim.fence, done=5, checkpoint=5) == Orders(held=False)

    assert ledger.progress.reached(run) == (5, 5)


def test_a_checkpoint_that_moves_forgives_earlier_deaths(ledger: Ledger, instance: str) -> None:
    run = recorded(ledger)
    claim = claimed(ledger, run, instance)
    crashes = []
    for checkpoint in (None, 3, 3, 4):
        ledger.database.execute(_CRASHES, {"run": run})
        ledger.progress.write(run, claim.fence, done=3, checkpoint=checkpoint)
        crashes.append(row(ledger, run).crash_count)
    assert crashes == [2, 0, 2, 0]


def test_progress_renews_the_lease(ledger: Ledger, instance: str) -> None:
    run = recorded(ledger)
    claim = ledger.runs.claim(run, delivery_no=1, instance=instance, time_limit_seconds=-10, crash_limit=3)
    before = row(ledger, run).lease_until
    ledger.progress.write(run, claim.fence, done=1)
    assert row(ledger, run).lease_until > before


def test_who_asks_for_the_end_of_work_is_heard_with_its_progress(ledger: Ledger, instance: str) -> None:
    run = recorded(ledger)
    claim = claimed(ledger, run, instance)
    assert ledger.progress.under_way(instance)

    assert ledger.cancelling.request([run], "wrong tariff").asked == [run]

    said = Orders(held=True, cancelled="wrong tariff")
    assert ledger.progress.write(run, claim.fence, done=1) == said
    assert ledger.progress.ask(run, claim.fence) == said


def test_a_run_whose_worker_is_gone_is_cancelled_at_once(ledger: Ledger, instance: str) -> None:
    run = recorded(ledger)
    claim = claimed(ledger, run, instance)
    ledger.instances.leave(instance)

    assert ledger.cancelling.request([run], "wrong tariff").ended == [run]

    assert (row(ledger, run).state, row(ledger, run).reason) == ("cancelled", "wrong tariff")
    assert not ledger.runs.finish(run, claim.fence, result=None)


def test_only_work_that_was_to_be_terminated_is_overdue(ledger: Ledger, instance: str) -> None:
    runs = [recorded(ledger) for _ in range(3)]
    for run in runs:
        assert claimed(ledger, run, instance).verdict == "claimed"
    for run, after in zip(runs, (None, timedelta(0), timedelta(hours=1)), strict=True):
        ledger.cancelling.request([run], "wrong tariff", terminate_after=after)
    assert ledger.cancelling.overdue(instance) == [Overdue(runs[1], 1, "wrong tariff")]
    assert not ledger.cancelling.overdue(str(uuid4()))


def test_a_cancelled_run_whose_attempt_fails_is_not_tried_again(ledger: Ledger, instance: str) -> None:
    run = recorded(ledger)
    claim = claimed(ledger, run, instance)
    ledger.cancelling.request([run], "wrong tariff")

    again(ledger, run, claim)

    assert (row(ledger, run).state, row(ledger, run).reason) == ("cancelled", "wrong tariff")
    assert not ledger.database.execute(sql("SELECT FROM steadybeat.outbox"))
