"""Promise: a run that goes on for too long, stands still, was lost or has given up is seen, until that is over."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from steadybeat.ledger import Ledger
from tests.integration.looking import Eyes, ago, change, end, ended, eyes_of, older, running, silenced, worker
from tests.integration.records import every_minute, expect, recorded, run_of


@pytest.fixture
def eyes(ledger: Ledger) -> Eyes:
    every_minute(ledger)
    return eyes_of(ledger)


def test_an_attempt_goes_on_for_too_long_that_its_time_limit_should_have_ended(eyes: Eyes) -> None:
    run = running(eyes.ledger, 604)
    assert eyes.see("running_too_long") == []
    older(eyes.ledger, "runs", "started_at", 2)
    found = eyes.one("running_too_long")
    assert (found.subject, found.owner, found.run) == ("t", "packers", run)
    end(eyes.ledger, run)
    assert eyes.see("running_too_long") == []


def test_the_time_limit_of_an_attempt_is_that_of_its_message(eyes: Eyes) -> None:
    running(eyes.ledger, 700)
    change(eyes.ledger, """runs SET message = '{"headers": {"timelimit": [800, null]}}'""")
    assert eyes.see("running_too_long") == []
    change(eyes.ledger, """runs SET message = '{"headers": {"timelimit": [60, null]}}'""")
    assert "60 s" in eyes.one("running_too_long").summary


def test_an_attempt_goes_on_for_too_long_that_takes_ten_times_as_long_as_its_schedules_runs(eyes: Eyes) -> None:
    ended(eyes.ledger, 20, took=3, ago=120)
    run = running(eyes.ledger, 29, schedule="s")
    assert eyes.see("running_too_long") == []
    older(eyes.ledger, "runs", "started_at", 2, "state = 'running'")
    found = eyes.one("running_too_long")
    assert (found.subject, found.schedule) == ("t", "s")
    end(eyes.ledger, run)
    assert eyes.see("running_too_long") == eyes.see("slower") == []


def test_an_attempt_goes_on_for_too_long_that_takes_ten_times_as_long_as_its_tasks_runs(eyes: Eyes) -> None:
    ended(eyes.ledger, 20, schedule=None, took=3, ago=120)
    running(eyes.ledger, 29)
    assert eyes.see("running_too_long") == []
    older(eyes.ledger, "runs", "started_at", 2, "state = 'running'")
    assert eyes.one("running_too_long").schedule is None


def test_the_runs_of_many_tenants_are_one_finding_about_their_task(eyes: Eyes) -> None:
    whole = recorded(eyes.ledger, task="t")
    for tenant in ("acme", "umbrella"):
        running(eyes.ledger, 700, tenant=tenant, fan_out=whole.id)
    assert eyes.one("running_too_long").facts["run_count"] == 2


def test_a_run_that_waits_for_its_tenants_does_not_run(eyes: Eyes) -> None:
    running(eyes.ledger, 7000)
    change(eyes.ledger, "runs SET state = 'waiting'")
    assert eyes.see("running_too_long") == []


def test_a_run_is_stuck_that_shows_progress_no_more(eyes: Eyes) -> None:
    running(eyes.ledger, 400, items=40, stands=299)
    assert eyes.see("stuck") == []
    older(eyes.ledger, "runs", "progressed_at", 2)
    found = eyes.one("stuck")
    assert (found.subject, found.facts["items_done"]) == ("t", 40)
    change(eyes.ledger, "runs SET progressed_at = clock_timestamp()")
    assert eyes.see("stuck") == []


def test_a_run_whose_items_take_long_is_not_stuck(eyes: Eyes) -> None:
    running(eyes.ledger, 550, items=2, stands=350)
    assert eyes.see("stuck") == []


def test_a_run_is_stuck_or_runs_too_long_whichever_came_first(eyes: Eyes) -> None:
    running(eyes.ledger, 950, items=40, stands=400)
    assert len(eyes.see("running_too_long")) == 1
    assert eyes.see("stuck") == []
    older(eyes.ledger, "runs", "progressed_at", 300)
    assert eyes.see("running_too_long") == []
    assert len(eyes.see("stuck")) == 1


_LOST = sa.text("""
    INSERT INTO steadybeat.attempts (run, number, instance, fence, outcome, finished_at)
    VALUES (CAST(:run AS uuid), 1, CAST(:instance AS uuid), 1, 'lost',
            clock_timestamp() - make_interval(secs => :seconds))
""")


def lose(eyes: Eyes, run: str, instance: str, seconds: float) -> None:
    """An attempt of a run was lost so long ago, with its worker."""
    eyes.ledger.database.execute(_LOST, {"run": run, "instance": instance, "seconds": float(seconds)})


def test_a_run_that_was_lost_is_told_of_for_a_while_after_it_has_ended(eyes: Eyes) -> None:
    run, instance = running(eyes.ledger, 10), worker(eyes.ledger, "orders", node="orders@here")
    change(eyes.ledger, "runs SET instance = CAST(:i AS uuid)", i=instance)
    assert eyes.see("lost") == []
    lose(eyes, run, instance, 59)
    found = eyes.one("lost")
    assert (found.subject, found.facts["by_worker_count"], found.cause) == ("t", 1, None)
    end(eyes.ledger, run)
    assert len(eyes.see("lost")) == 1
    older(eyes.ledger, "attempts", "finished_at", 2)
    assert eyes.see("lost") == []
    change(eyes.ledger, "runs SET state = 'waiting', finished_at = NULL")
    assert len(eyes.see("lost")) == 1


def test_what_was_lost_with_a_silent_worker_is_its_consequence(eyes: Eyes) -> None:
    run, instance = running(eyes.ledger, 10), worker(eyes.ledger, "orders", node="orders@here")
    lose(eyes, run, instance, 1)
    silenced(eyes.ledger, instance)
    assert eyes.one("lost").cause == ("worker_silent", "orders@here")


def test_a_run_whose_message_was_lost_is_told_of_until_it_begins(eyes: Eyes) -> None:
    recorded(eyes.ledger, task="t")
    assert eyes.see("lost") == []
    change(eyes.ledger, "runs SET rescue_count = 1, next_rescue_at = clock_timestamp() + interval '1 minute'")
    assert eyes.one("lost").facts["by_message_count"] == 1
    change(eyes.ledger, "runs SET next_rescue_at = NULL, state = 'running', attempt_count = 1")
    assert eyes.see("lost") == []


def test_a_run_written_for_a_fire_that_nobody_has_dispatched_has_no_message_to_be_lost(eyes: Eyes) -> None:
    due = ago(60)
    expect(eyes.ledger, due)
    run_of(eyes.ledger, due)
    change(eyes.ledger, "runs SET rescue_count = 1, next_rescue_at = clock_timestamp() + interval '1 minute'")
    assert eyes.see("lost") == []
    change(eyes.ledger, "fires SET state = 'dispatched'")
    assert len(eyes.see("lost")) == 1


def test_dead_letters_of_no_schedule_are_one_finding_for_their_task(eyes: Eyes) -> None:
    ended(eyes.ledger, 1, state="dead")
    assert eyes.see("dead_letter") == []
    ended(eyes.ledger, 3, schedule=None, state="dead")
    found = eyes.one("dead_letter")
    assert (found.subject, found.facts["run_count"], found.error) == ("t", 3, "it failed")
    change(eyes.ledger, "runs SET state = 'cancelled' WHERE schedule IS NULL")
    assert eyes.see("dead_letter") == []


def test_the_dead_tenants_of_a_dead_whole_are_not_told_of_beside_it(eyes: Eyes) -> None:
    whole = recorded(eyes.ledger, task="t", schedule="s", scheduled_for=None)
    ended(eyes.ledger, 2, schedule=None, state="dead")
    change(eyes.ledger, "runs SET fan_out = CAST(:id AS uuid), tenant = 'acme' WHERE state = 'dead'", id=whole.id)
    assert len(eyes.see("dead_letter")) == 1
    end(eyes.ledger, whole.id, "dead")
    assert eyes.see("dead_letter") == []
