"""Promise: a schedule that fails, is paused, becomes slower or does nothing is seen, until that is over."""

from __future__ import annotations

from datetime import timedelta

import pytest

from steadybeat.ledger import Ledger
from steadybeat.watchdog.remembering import Memory
from tests.integration.looking import Eyes, ago, change, ended, eyes_of
from tests.integration.records import every_minute


@pytest.fixture
def eyes(ledger: Ledger) -> Eyes:
    every_minute(ledger, failures_before_alert=2)
    return eyes_of(ledger)


def test_a_schedule_fails_once_as_many_runs_in_a_row_are_dead_as_its_owner_wants_to_be_told_of(eyes: Eyes) -> None:
    ended(eyes.ledger, 3, ago=120)
    ended(eyes.ledger, 1, state="dead")
    stack = 'Traceback (most recent call last):\n  File "pay.py", line 7, in pay\nValueError: no card'
    change(eyes.ledger, "runs SET error = :stack WHERE state = 'dead'", stack=stack)
    change(eyes.ledger, "schedules SET consecutive_failures = 1")
    assert eyes.see("failed") == []
    change(eyes.ledger, "schedules SET consecutive_failures = 2")
    found = eyes.one("failed")
    assert (found.subject, found.owner, found.error) == ("s", "packers", "ValueError: no card")
    assert found.last_good_run is not None
    assert found.since is not None
    change(eyes.ledger, "schedules SET consecutive_failures = 0")
    assert eyes.see("failed") == []


def test_a_paused_schedule_is_seen_until_it_is_resumed(eyes: Eyes) -> None:
    assert eyes.see("paused") == []
    change(eyes.ledger, "schedules SET paused_at = clock_timestamp(), paused_by = 'ann', paused_reason = 'a move'")
    found = eyes.one("paused")
    assert (found.summary, found.severity, found.cause) == ("Paused by ann: a move", "warning", None)
    eyes.ledger.interventions.resume("s", who="ann", reason="moved")
    assert eyes.see("paused") == []


def test_a_schedule_that_paused_itself_is_a_consequence_of_its_failures(eyes: Eyes) -> None:
    change(
        eyes.ledger,
        "schedules SET paused_at = clock_timestamp(), paused_by = 'steadybeat', paused_reason = '2 failures in a row',"
        " consecutive_failures = 2",
    )
    assert len(eyes.see("failed")) == 1
    assert eyes.one("paused").cause == ("failed", "s")


def test_a_run_is_slower_that_takes_five_times_as_long_as_those_before_it(eyes: Eyes) -> None:
    ended(eyes.ledger, 20, took=3, ago=120)
    ended(eyes.ledger, 1, took=14, ago=60)
    assert eyes.see("slower") == []
    ended(eyes.ledger, 1, took=16)
    found = eyes.one("slower")
    assert (found.subject, found.severity, found.facts["p95_seconds"]) == ("s", "warning", 3.0)
    ended(eyes.ledger, 1, took=4, ago=-1)
    assert eyes.see("slower") == []


def test_a_run_is_not_slower_that_waited_for_the_ledger(eyes: Eyes) -> None:
    ended(eyes.ledger, 20, took=3, ago=120)
    eyes.memory.gap = ago(30), ago(10)
    ended(eyes.ledger, 1, took=20, ago=5)
    assert eyes.see("slower") == []
    eyes.memory = Memory(eyes.ledger)
    eyes.memory.gap = ago(60), ago(26)
    assert len(eyes.see("slower")) == 1


def test_another_slow_run_does_not_make_slowness_usual(eyes: Eyes) -> None:
    ended(eyes.ledger, 8, took=3, ago=600)
    for run in range(3):
        ended(eyes.ledger, 1, took=16, ago=30 - run)
        assert len(eyes.see("slower")) == 1


def test_no_run_is_slower_that_is_quick_or_of_which_too_little_is_known(eyes: Eyes) -> None:
    ended(eyes.ledger, 7, took=1, ago=600)
    ended(eyes.ledger, 1, took=60, ago=300)
    assert eyes.see("slower") == []
    ended(eyes.ledger, 20, took=0.01, ago=30)
    ended(eyes.ledger, 1, took=9.9)
    assert eyes.see("slower") == []


def test_a_watchdog_that_takes_over_sees_what_the_one_before_it_saw(eyes: Eyes) -> None:
    ended(eyes.ledger, 20, took=3, ago=3600)
    ended(eyes.ledger, 1, took=16, ago=600)
    assert len(eyes.see("slower")) == 1
    assert len(Eyes(eyes.ledger, Memory(eyes.ledger)).see("slower")) == 1


def test_a_success_is_empty_that_did_less_than_its_schedule_expects(ledger: Ledger) -> None:
    every_minute(ledger, expect="items > 0")
    eyes = eyes_of(ledger)
    ended(ledger, 1, items=1, ago=60)
    assert eyes.see("empty") == []
    ended(ledger, 1, items=None)
    found = eyes.one("empty")
    assert "0 items" in found.summary
    assert found.severity == "critical"
    ended(ledger, 1, items=5, ago=-1)
    assert eyes.see("empty") == []


def test_a_success_is_empty_that_is_far_from_the_median_of_four_weeks(ledger: Ledger) -> None:
    every_minute(ledger, expect="items within 30 %")
    eyes = eyes_of(ledger)
    ended(ledger, 10, items=100, ago=600)
    ended(ledger, 1, items=71, ago=60)
    assert eyes.see("empty") == []
    ended(ledger, 1, items=69)
    assert "more than 30%" in eyes.one("empty").summary


def test_what_a_schedule_does_not_expect_any_more_is_not_missed_in_its_runs(ledger: Ledger) -> None:
    every_minute(ledger, expect="items > 0")
    eyes = eyes_of(ledger)
    ended(ledger, 1, items=0)
    assert len(eyes.see("empty")) == 1
    every_minute(ledger, expect=None, jitter=timedelta(seconds=1))
    assert eyes.see("empty") == []
