"""Promise: what is usual is taken from enough runs, and one that was slow does not change it."""

from __future__ import annotations

import pytest

from steadybeat.watchdog.looking import as_bad_as, line_of
from steadybeat.watchdog.usual import Usual


def usual(durations: list[float], items: list[int] | None = None) -> Usual:
    found = Usual.of(durations, items or [])
    assert found is not None
    return found


def test_few_runs_say_nothing() -> None:
    assert Usual.of([1.0] * 7) is None
    assert usual([1.0] * 8).count == 8


@pytest.mark.parametrize("count", [8, 20, 200])
def test_one_slow_run_changes_nothing(count: int) -> None:
    assert usual([1.0] * (count - 1) + [100.0]).p95_seconds == 1.0


def test_of_many_runs_five_in_a_hundred_may_be_slow() -> None:
    assert usual([1.0] * 190 + [9.0] * 10).p95_seconds == 1.0
    assert usual([1.0] * 189 + [9.0] * 11).p95_seconds == 9.0


def test_what_is_quick_may_be_many_times_as_slow() -> None:
    assert usual([0.005] * 20).longest_seconds(5, 10) == 10
    assert usual([3.0] * 20).longest_seconds(5, 10) == 15


def test_half_of_the_runs_did_no_more_than_the_median() -> None:
    assert usual([1.0] * 8, [10] * 4 + [20] * 4).median_items == 15


def test_what_is_a_warning_is_no_worse_for_a_critical_task() -> None:
    assert as_bad_as("error", "critical") == "critical"
    assert as_bad_as("error", "info") == "info"
    assert as_bad_as("warning", "critical") == "warning"
    assert as_bad_as("warning", "info") == "info"


def test_of_a_stack_the_line_after_it_is_told() -> None:
    stack = 'Traceback (most recent call last):\n  File "pay.py", line 7, in pay\n    charge()\n'
    assert line_of(f"{stack}ValueError: no card\nof this number\n") == "ValueError: no card"
    assert line_of(None) is None
    assert line_of("\n") is None
