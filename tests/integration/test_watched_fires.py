"""Promise: what is missing of what a schedule expects is seen, and is not when it is there after all."""

from __future__ import annotations

from datetime import timedelta

import pytest

from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import FireRow
from steadybeat.watchdog.looking import NotJudged
from tests.integration.looking import Eyes, ago, change, eyes_of, later, leads, older, silenced, worker
from tests.integration.records import alive, claim, every_minute, expect, fires_of, recorded, sent


@pytest.fixture
def eyes(ledger: Ledger) -> Eyes:
    every_minute(ledger)
    change(ledger, "schedules SET expected_until = clock_timestamp() - interval '1 hour'")
    leads(ledger)
    return eyes_of(ledger)


def test_a_fire_that_nobody_has_dispatched_is_missed_once_its_grace_has_passed(eyes: Eyes) -> None:
    older(eyes.ledger, "leaderships", "began_at", 3600)
    expect(eyes.ledger, ago(29))
    assert eyes.see("missed") == []
    expect(eyes.ledger, ago(31), ago(91))
    found = eyes.one("missed")
    assert (found.subject, found.owner, found.severity, found.cause) == ("s", "packers", "critical", None)
    assert found.facts["fire_count"] == 2
    older(eyes.ledger, "leaderships", "renewed_at", 60)
    assert eyes.one("missed").cause == ("no_leader", "platform")
    change(eyes.ledger, "fires SET state = 'dispatched'")
    assert eyes.see("missed") == []


def test_a_leader_that_has_just_come_has_time_to_decide_what_was_due_before(eyes: Eyes) -> None:
    expect(eyes.ledger, ago(60), ago(400))
    marked = FireRow(schedule="s", scheduled_for=ago(400), due_at=ago(400), state="missed", reason="too old")
    eyes.ledger.fires.mark(1, [(marked, None)])
    with pytest.raises(NotJudged):
        eyes.see("missed")
    older(eyes.ledger, "leaderships", "began_at", 31)
    assert len(eyes.see("missed")) == 1
    leads(eyes.ledger)
    with pytest.raises(NotJudged):
        eyes.see("missed")
    change(eyes.ledger, "leaderships SET ended_at = clock_timestamp() - interval '11 seconds'")
    assert eyes.one("missed").cause == ("no_leader", "platform")


def test_a_fire_that_was_missed_for_good_is_forgotten_with_the_next_that_is_dispatched(eyes: Eyes) -> None:
    gone, soon = ago(400), ago(20)
    older(eyes.ledger, "leaderships", "began_at", 31)
    expect(eyes.ledger, gone, soon)
    marked = FireRow(schedule="s", scheduled_for=gone, due_at=gone, state="missed", reason="nobody was there")
    eyes.ledger.fires.mark(1, [(marked, None)])
    assert "nobody was there" in eyes.one("missed").summary
    (fire,) = fires_of(eyes.ledger, "s", soon)
    eyes.ledger.fires.mark(1, [(FireRow(schedule="s", scheduled_for=soon, due_at=soon, state="dispatched"), None)])
    assert fire.scheduled_for == soon
    assert eyes.see("missed") == []


def test_what_is_due_while_its_schedule_is_paused_is_not_missed(eyes: Eyes) -> None:
    older(eyes.ledger, "leaderships", "began_at", 31)
    expect(eyes.ledger, ago(60))
    change(
        eyes.ledger,
        "schedules SET paused_at = clock_timestamp() - interval '2 minutes', paused_by = 'me', paused_reason = 'so'",
    )
    assert eyes.see("missed") == []


def test_a_run_is_late_that_begins_later_than_its_schedule_allows(ledger: Ledger) -> None:
    every_minute(ledger, late_after=timedelta(seconds=20))
    leads(ledger)
    eyes, due = eyes_of(ledger), ago(25)
    run = sent(ledger, due)
    change(ledger, "fires SET dispatched_at = due_at")
    assert "has not begun" in eyes.one("late").summary
    claim(ledger, run, alive(ledger))
    assert "began" in eyes.one("late").summary
    change(ledger, "runs SET started_at = scheduled_for + interval '19 seconds'")
    assert eyes.see("late") == []


def test_a_late_run_counts_until_the_next_one_begins_in_time(ledger: Ledger) -> None:
    every_minute(ledger, late_after=timedelta(seconds=20))
    eyes, worker_id = eyes_of(ledger), alive(ledger)
    for due in (ago(90), ago(0.1)):
        run = sent(ledger, due)
        change(ledger, "fires SET dispatched_at = due_at")
        held = claim(ledger, run, worker_id)
        assert ledger.runs.finish(run.id, held.fence, result=None)
        assert len(eyes.see("late")) == (1 if due < ago(60) else 0)


def test_what_was_missed_before_it_was_dispatched_is_not_late_as_well(eyes: Eyes) -> None:
    run = sent(eyes.ledger, ago(200))
    claim(eyes.ledger, run, alive(eyes.ledger))
    assert eyes.see("late") == []
    change(eyes.ledger, "fires SET dispatched_at = due_at")
    assert len(eyes.see("late")) == 1


def test_a_fire_that_waits_for_its_turn_for_too_long_is_late(eyes: Eyes) -> None:
    due = ago(119)
    expect(eyes.ledger, due)
    marked = FireRow(schedule="s", scheduled_for=due, due_at=due, state="waiting", reason="its turn", cause="overlap")
    eyes.ledger.fires.mark(1, [(marked, None)])
    assert eyes.see("late") == []
    older(eyes.ledger, "fires", "due_at", 2)
    assert len(eyes.see("late")) == 1


def test_a_run_that_was_sent_and_does_not_begin_is_seen_with_what_its_queue_lacks(eyes: Eyes) -> None:
    run = sent(eyes.ledger, ago(700))
    one = worker(eyes.ledger, "orders", node="orders@here", since=700)
    change(eyes.ledger, "fires SET dispatched_at = clock_timestamp() - interval '599 seconds'")
    assert eyes.see("never_started") == []
    change(eyes.ledger, "fires SET dispatched_at = clock_timestamp() - interval '601 seconds'")
    found = eyes.one("never_started")
    assert (found.subject, found.run, found.cause) == ("s", run.id, None)
    assert eyes.see("late") == []
    older(eyes.ledger, "runs", "enqueued_at", 601)
    assert eyes.one("never_started").cause == ("queue_stalled", "orders")
    silenced(eyes.ledger, one)
    assert eyes.one("never_started").cause == ("worker_silent", "orders@here")
    eyes.ledger.instances.leave(one)
    assert eyes.see("never_started") == []
    later(eyes.memory, 60)
    assert eyes.one("never_started").cause == ("no_consumer", "orders")
    worker(eyes.ledger, "orders", since=59)
    later(eyes.memory, 600)
    assert eyes.see("never_started") == []
    claim(eyes.ledger, run, alive(eyes.ledger))
    assert eyes.see("never_started") == []


def test_what_begins_late_because_its_queue_had_no_worker_is_told_with_that_alone(eyes: Eyes) -> None:
    run = sent(eyes.ledger, ago(300))
    change(eyes.ledger, "fires SET dispatched_at = due_at")
    older(eyes.ledger, "runs", "enqueued_at", 300)
    assert len(eyes.see("no_consumer")) == 1
    assert eyes.see("late") == []
    worker_id = worker(eyes.ledger, "orders")
    assert eyes.see("late") == []
    held = claim(eyes.ledger, run, worker_id)
    assert eyes.see("late") == []
    assert eyes.ledger.runs.finish(run.id, held.fence, result=None)
    assert eyes.see("late") == []


def test_a_run_of_no_schedule_may_wait_for_as_long_as_its_queue_is_long(eyes: Eyes) -> None:
    recorded(eyes.ledger)
    older(eyes.ledger, "runs", "enqueued_at", 7000)
    assert eyes.see("never_started") == []
