"""What a claim makes of a fire's run: the schedule has the last word until the run starts."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import Claim, FireRow, NewRun
from steadybeat.settings import Settings
from steadybeat.task.verdicts import ending
from tests.integration.records import (
    alive,
    all_at_once,
    claim,
    every_minute,
    expect,
    fire_of,
    new_run,
    recorded,
    run_of,
    sent,
    state_of,
    state_of_run,
)

MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
BY: dict[str, Any] = {"who": "ann", "reason": "the bank is down"}
THREADS = 12


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """A ledger with a connection for each thread."""
    ledger = Ledger(Settings(database_url=ledger_url, ledger_pool_count=THREADS + 1))
    yield ledger
    ledger.database.close()


@pytest.fixture
def worker(ledger: Ledger) -> str:
    return alive(ledger)


def now() -> datetime:
    return datetime.now(UTC)


def delivered(ledger: Ledger, run: NewRun, worker: str) -> Claim:
    """Claim a run as an attempt does, and end it where the verdict says so."""
    found = claim(ledger, run, worker)
    end = ending(found)
    if end is not None:
        assert ledger.runs.end_unstarted(run.id, delivery_no=1, **end)
    return found


def asked(ledger: Ledger, at: datetime, kind: str) -> NewRun:
    ledger.interventions.ask("s", [at], kind=kind, **BY)
    return run_of(ledger, at)


# Verdicts


def test_a_fire_that_is_due_in_a_pause_is_refused_and_skipped(ledger: Ledger, worker: str) -> None:
    every_minute(ledger)
    before = now()
    due_before = sent(ledger, before)
    ledger.interventions.pause("s", **BY)
    at = now()
    run = sent(ledger, at)
    found = delivered(ledger, run, worker)
    assert (found.verdict, found.detail) == ("paused", "paused by ann: the bank is down")
    assert fire_of(ledger, at) == ("skipped", "paused", None)
    assert state_of(ledger, at)[1] == "paused by ann: the bank is down"
    assert state_of_run(ledger, run) == "cancelled"
    assert claim(ledger, due_before, worker).verdict == "claimed"


def test_what_a_person_triggers_in_a_pause_runs(ledger: Ledger, worker: str) -> None:
    every_minute(ledger)
    ledger.interventions.pause("s", **BY)
    assert claim(ledger, asked(ledger, now(), "trigger"), worker).verdict == "claimed"


def test_a_fire_that_cannot_start_by_its_deadline_is_refused_and_skipped(ledger: Ledger, worker: str) -> None:
    every_minute(ledger, start_deadline=MINUTE)
    late, in_time = now() - MINUTE, now() - MINUTE / 2
    run = sent(ledger, late)
    found = delivered(ledger, run, worker)
    assert found.verdict == "too_late"
    assert "(start_deadline)" in found.detail
    assert fire_of(ledger, late) == ("skipped", "deadline", None)
    assert state_of_run(ledger, run) == "cancelled"
    assert claim(ledger, sent(ledger, in_time), worker).verdict == "claimed"


@pytest.mark.parametrize(
    ("overlap", "verdict", "fire", "state"),
    [
        ("skip", "overlap", ("skipped", "overlap", None), "cancelled"),
        ("queue_one", "overlap", ("waiting", "overlap", None), "cancelled"),
        ("queue_all", "overlap", ("waiting", "overlap", None), "cancelled"),
        ("cancel_running", "overlap", ("waiting", "overlap", None), "cancelled"),
        ("allow", "claimed", ("dispatched", None, None), "running"),
    ],
)
def test_a_fire_whose_run_would_overlap_is_refused_as_its_schedule_says(
    ledger: Ledger, worker: str, overlap: str, verdict: str, fire: tuple[str, str | None, None], state: str
) -> None:
    every_minute(ledger, overlap=overlap)
    first, second = now() - MINUTE, now()
    assert claim(ledger, sent(ledger, first), worker).verdict == "claimed"
    run = sent(ledger, second)
    assert delivered(ledger, run, worker).verdict == verdict
    assert fire_of(ledger, second) == fire
    assert state_of_run(ledger, run) == state


@pytest.mark.parametrize("state", ["skipped", "missed", "coalesced", "superseded"])
def test_a_run_whose_fire_is_not_to_run_ends_and_the_fire_stays_as_it_is(
    ledger: Ledger, worker: str, state: str
) -> None:
    every_minute(ledger)
    at = now()
    expect(ledger, at)
    run = run_of(ledger, at)
    marked = FireRow(schedule="s", scheduled_for=at, due_at=at, state=state, cause="overlap", reason="why")
    ledger.fires.mark(1, [(marked, None)])
    found = delivered(ledger, run, worker)
    assert (found.verdict, found.detail) == ("skipped", f"its fire is {state}: why")
    assert fire_of(ledger, at) == (state, "overlap", None)
    assert state_of_run(ledger, run) == "cancelled"


# Turns


def test_of_many_concurrent_claims_of_one_schedules_runs_exactly_one_is_claimed(ledger: Ledger, worker: str) -> None:
    every_minute(ledger, overlap="skip")
    start = now() - timedelta(days=1)
    for turn in range(5):
        runs = [sent(ledger, start + (turn * THREADS + number) * MINUTE) for number in range(THREADS)]
        found = all_at_once(*[partial(claim, ledger, run, worker) for run in runs])
        assert Counter(each.verdict for each in found) == {"claimed": 1, "overlap": THREADS - 1}
        (winner,) = [number for number, each in enumerate(found) if each.verdict == "claimed"]
        assert ledger.runs.finish(runs[winner].id, found[winner].fence, result=None)


def test_where_runs_may_overlap_every_concurrent_claim_is_claimed(ledger: Ledger, worker: str) -> None:
    every_minute(ledger, overlap="allow")
    start = now() - timedelta(days=1)
    runs = [sent(ledger, start + number * MINUTE) for number in range(THREADS)]
    found = all_at_once(*[partial(claim, ledger, run, worker) for run in runs])
    assert {each.verdict for each in found} == {"claimed"}


def test_a_retry_is_not_refused_because_another_run_has_started_meanwhile(ledger: Ledger, worker: str) -> None:
    every_minute(ledger)
    first, second = sent(ledger, now() - MINUTE), asked(ledger, now(), "backfill")
    held = claim(ledger, first, worker)
    assert ledger.runs.try_again(first.id, fence=held.fence, reason="r", error=None, retry_count=1)
    assert claim(ledger, second, worker).verdict == "claimed"
    ledger.interventions.pause("s", **BY)
    again = claim(ledger, first, worker, delivery_no=2)
    assert (again.verdict, again.attempt) == ("claimed", 2)


def test_a_run_that_waits_for_its_retry_keeps_its_turn(ledger: Ledger, worker: str) -> None:
    every_minute(ledger)
    first = sent(ledger, now() - MINUTE)
    held = claim(ledger, first, worker)
    ledger.runs.try_again(first.id, fence=held.fence, reason="r", error=None, retry_count=1)
    assert claim(ledger, sent(ledger, now()), worker).verdict == "overlap"


def test_a_run_whose_worker_died_is_taken_up_again_whatever_its_schedule_says_by_now(
    ledger: Ledger, worker: str
) -> None:
    every_minute(ledger, start_deadline=MINUTE)
    run = sent(ledger, now() - MINUTE + SECOND * 30)
    assert claim(ledger, run, str(uuid.uuid4())).verdict == "claimed"
    every_minute(ledger, start_deadline=SECOND)
    ledger.interventions.pause("s", **BY)
    assert claim(ledger, run, worker).verdict == "claimed"


def test_a_rerun_is_a_persons_will_and_no_policy_refuses_it(ledger: Ledger, worker: str) -> None:
    every_minute(ledger, start_deadline=MINUTE)
    at = now() - timedelta(hours=1)
    skipped = sent(ledger, at)
    assert delivered(ledger, skipped, worker).verdict == "too_late"
    assert claim(ledger, sent(ledger, now()), worker).verdict == "claimed"
    ledger.interventions.pause("s", **BY)
    again = recorded(ledger, schedule="s", scheduled_for=at, rerun_of=skipped.id)
    assert claim(ledger, again, worker).verdict == "claimed"


@pytest.mark.parametrize(
    ("kind", "verdict", "fire"),
    [
        ("trigger", "overlap", ("skipped", "overlap", "trigger")),
        ("resume", "overlap", ("waiting", "overlap", "resume")),
        ("backfill", "claimed", ("dispatched", None, "backfill")),
    ],
)
def test_what_a_person_asks_for_while_a_run_goes_on_is_refused_or_waits_or_runs_beside_it(
    ledger: Ledger, worker: str, kind: str, verdict: str, fire: tuple[str, str | None, str]
) -> None:
    every_minute(ledger)
    assert claim(ledger, sent(ledger, now() - MINUTE), worker).verdict == "claimed"
    at = now()
    assert delivered(ledger, asked(ledger, at, kind), worker).verdict == verdict
    assert fire_of(ledger, at) == fire


def test_a_waiting_fire_has_its_turn_when_no_run_goes_on_and_the_first_of_each_schedule_comes_first(
    ledger: Ledger, worker: str
) -> None:
    every_minute(ledger, overlap="queue_all")
    start = now() - 10 * MINUTE
    first = sent(ledger, start)
    held = claim(ledger, first, worker)
    waiting = [start + number * MINUTE for number in (1, 2)]
    for at in reversed(waiting):
        assert delivered(ledger, sent(ledger, at), worker).verdict == "overlap"
    assert ledger.fires.queued(["s"]) == {"s": 2}
    assert ledger.fires.whose_turn(now(), 10) == []
    ledger.runs.finish(first.id, held.fence, result=None)
    assert [fire.scheduled_for for fire in ledger.fires.whose_turn(now(), 10)] == waiting[:1]
    ledger.interventions.pause("s", **BY)
    assert ledger.fires.whose_turn(now(), 10) == [], "a pause holds the queue"


def test_a_fire_whose_turn_the_claim_put_off_is_not_marked_as_dispatched_by_the_leader_that_sent_it(
    ledger: Ledger, worker: str
) -> None:
    every_minute(ledger, overlap="queue_all")
    at = now()
    assert claim(ledger, asked(ledger, at - MINUTE, "backfill"), worker).verdict == "claimed"
    expect(ledger, at)
    run = run_of(ledger, at)
    assert delivered(ledger, run, worker).verdict == "overlap"
    ledger.fires.mark(1, [(FireRow(schedule="s", scheduled_for=at, due_at=at, state="dispatched"), run.id)])
    assert fire_of(ledger, at) == ("waiting", "overlap", None)


# Runs that were taken back


def test_a_run_that_was_taken_back_before_it_started_is_made_again_when_its_fire_is_expected_again(
    ledger: Ledger, worker: str
) -> None:
    every_minute(ledger)
    at = now() + MINUTE
    expect(ledger, at)
    run = run_of(ledger, at)
    every_minute(ledger, overlap="queue_all")
    assert (fire_of(ledger, at)[0], state_of_run(ledger, run)) == ("superseded", "cancelled")
    every_minute(ledger)
    expect(ledger, at)
    again = new_run(id=run.id, schedule="s", scheduled_for=at, queue="elsewhere", idempotency_key=run.idempotency_key)
    assert ledger.runs.record(again)
    story = ledger.story.run(run.id)
    assert story is not None
    assert (story["state"], story["reason"], story["queue"], story["finished_at"]) == (
        "enqueued", None, "elsewhere", None,
    )  # fmt: skip
    assert claim(ledger, again, worker).verdict == "claimed"


def test_a_run_that_a_pause_refused_is_made_again_when_a_person_asks_for_it(ledger: Ledger, worker: str) -> None:
    every_minute(ledger)
    ledger.interventions.pause("s", **BY)
    at = now()
    run = sent(ledger, at)
    assert delivered(ledger, run, worker).verdict == "paused"
    assert ledger.interventions.resume("s", make_up="latest", **BY) == [at]
    assert ledger.runs.record(run)
    assert claim(ledger, run, worker).verdict == "claimed"


def test_a_run_whose_cancellation_a_person_asked_for_is_not_made_again(ledger: Ledger, worker: str) -> None:
    every_minute(ledger)
    at = now()
    expect(ledger, at)
    run = run_of(ledger, at)
    assert ledger.cancelling.request([run.id], "ann wants it so").ended == [run.id]
    assert not ledger.runs.record(run)
    found = claim(ledger, run, worker)
    assert (found.verdict, found.detail) == ("ended", "it is cancelled: ann wants it so")


@pytest.mark.parametrize("outcome", ["succeeded", "dead", "cancelled while it ran"])
def test_a_run_that_had_started_is_not_made_again(ledger: Ledger, worker: str, outcome: str) -> None:
    every_minute(ledger)
    run = sent(ledger, now())
    fence = claim(ledger, run, worker).fence
    if outcome == "succeeded":
        ledger.runs.finish(run.id, fence, result=None)
    else:
        state = "dead" if outcome == "dead" else "cancelled"
        ledger.runs.give_up(run.id, fence=fence, reason="why", error="stack", state=state)
    assert not ledger.runs.record(run)
    assert claim(ledger, run, worker).verdict == "ended"


def test_cancelling_ends_what_waits_at_once_and_names_what_runs(ledger: Ledger, worker: str) -> None:
    every_minute(ledger, overlap="allow")
    running, enqueued = sent(ledger, now() - MINUTE), sent(ledger, now())
    fence = claim(ledger, running, worker).fence
    assert ledger.cancelling.request([running.id, enqueued.id], "why").asked == [running.id]
    assert (state_of_run(ledger, running), state_of_run(ledger, enqueued)) == ("running", "cancelled")
    assert ledger.runs.finish(running.id, fence, result=None), "what finishes before it hears of it has succeeded"
    assert ledger.cancelling.request([running.id], "why").asked == []
