"""Until when a run may be tried again, as the ledger has it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from steadybeat.ledger import Ledger
from steadybeat.ledger.connection import sql
from steadybeat.ledger.rows import Claim, NewRun
from tests.integration.records import alive, recorded, relayed

HOUR = timedelta(hours=1)


@pytest.fixture
def worker(ledger: Ledger) -> str:
    return alive(ledger)


def claim(ledger: Ledger, run: NewRun, worker: str, retry_for: timedelta | None = HOUR, delivery_no: int = 1) -> Claim:
    seconds = retry_for and retry_for.total_seconds()
    facts: dict[str, Any] = {"time_limit_seconds": 60, "crash_limit": 3, "retry_for_seconds": seconds}
    return ledger.runs.claim(run.id, delivery_no=delivery_no, instance=worker, **facts)


def retried(ledger: Ledger, run: NewRun, held: Claim) -> None:
    """End an attempt, and have the next delivery sent."""
    assert ledger.runs.try_again(run.id, fence=held.fence, reason="retry in 0 s: no", error="stack", retry_count=1)
    assert [envelope.run for envelope in relayed(ledger)] == [run.id]


def story(ledger: Ledger, run: NewRun) -> dict[str, Any]:
    found = ledger.story.run(run.id)
    assert found is not None
    return found


def test_the_first_attempt_says_until_when_a_run_is_tried_again(ledger: Ledger, worker: str) -> None:
    run = recorded(ledger)
    retried(ledger, run, claim(ledger, run, worker))
    first = story(ledger, run)["retry_until"]
    assert HOUR - timedelta(seconds=1) < first - story(ledger, run)["attempts"][0]["started_at"] <= HOUR
    assert claim(ledger, run, worker, 2 * HOUR, delivery_no=2).verdict == "claimed"
    assert story(ledger, run)["retry_until"] == first


def test_a_task_without_retry_for_is_bound_by_nothing(ledger: Ledger, worker: str) -> None:
    run = recorded(ledger)
    claim(ledger, run, worker, None)
    assert story(ledger, run)["retry_until"] is None
    assert ledger.retries.bound(run.id, delay_seconds=1e9) is None


def test_an_attempt_that_would_begin_too_late_is_told_by_what(ledger: Ledger, worker: str) -> None:
    run = recorded(ledger)
    claim(ledger, run, worker)
    assert ledger.retries.bound(run.id, delay_seconds=3500) is None
    bound = ledger.retries.bound(run.id, delay_seconds=3700)
    assert str(bound).endswith("when retry_for has passed")
    assert ledger.retries.bound(run.id, not_before=datetime.now(UTC) + 2 * HOUR) == bound

    due = recorded(ledger, deadline=datetime.now(UTC) + HOUR)
    claim(ledger, due, worker, 3 * HOUR)
    assert ledger.retries.bound(due.id, delay_seconds=3500) is None
    late = ledger.retries.bound(due.id, delay_seconds=3700)
    assert late is not None
    assert (late.name, late.until) == ("deadline", due.deadline)


def exhausted(ledger: Ledger, run: NewRun) -> None:
    past = sql("UPDATE steadybeat.runs SET retry_until = clock_timestamp() - interval '1 second' WHERE id = :run")
    ledger.database.execute(past, {"run": run.id})


def test_no_attempt_begins_after_that(ledger: Ledger, worker: str) -> None:
    run = recorded(ledger)
    retried(ledger, run, claim(ledger, run, worker))
    exhausted(ledger, run)
    found = claim(ledger, run, worker, delivery_no=2)
    assert found.verdict == "exhausted"
    assert found.detail.endswith("when retry_for has passed")
    assert len(story(ledger, run)["attempts"]) == 1


@pytest.mark.parametrize(
    "meanwhile",
    [
        "retry_until = clock_timestamp() - interval '1 second'",
        "deadline = clock_timestamp() - interval '1 second'",
        "crash_count = 3",
        "cancel_requested_at = clock_timestamp(), cancel_reason = 'somebody asked'",
    ],
    ids=["retry_for", "deadline", "poison", "cancelled"],
)
def test_an_effect_that_was_committed_is_told_of_whatever_is_so_by_then(
    ledger: Ledger, worker: str, meanwhile: str
) -> None:
    run = recorded(ledger)
    held = claim(ledger, run, worker)
    done = sql("UPDATE steadybeat.processed_keys SET state = 'done' WHERE run = :run")
    ledger.database.execute(done, {"run": run.id})
    retried(ledger, run, held)
    ledger.database.execute(sql(f"UPDATE steadybeat.runs SET {meanwhile} WHERE id = :run"), {"run": run.id})
    found = claim(ledger, run, worker, delivery_no=2)
    assert (found.verdict, found.effect_done) == ("claimed", True)


def test_every_attempt_keeps_why_another_followed(ledger: Ledger, worker: str) -> None:
    run = recorded(ledger)
    retried(ledger, run, claim(ledger, run, worker))
    held = claim(ledger, run, worker, delivery_no=2)
    assert ledger.runs.give_up(run.id, fence=held.fence, reason="ValueError: no; no retry is left", error="stack")
    said = [(attempt["outcome"], attempt["reason"]) for attempt in story(ledger, run)["attempts"]]
    assert said == [("retried", "retry in 0 s: no"), ("failed", "ValueError: no; no retry is left")]
