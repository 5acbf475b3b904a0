from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from steadybeat.alerts.quiet import Quiet, rank

BERLIN = "Europe/Berlin"


def quiet(begins: str, ends: str, **more: Any) -> Quiet:
    return Quiet.read({"from": begins, "until": ends, "tz": BERLIN, **more}, "quiet")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


NIGHT = quiet("22:00", "07:00")


@pytest.mark.parametrize(
    ("now", "end"),
    [
        ("2026-01-10T21:59:59+01:00", None),
        ("2026-01-10T22:00:00+01:00", "2026-01-11T07:00:00+01:00"),
        ("2026-01-11T06:59:59+01:00", "2026-01-11T07:00:00+01:00"),
        ("2026-01-11T07:00:00+01:00", None),
        # Clocks go forward at 02:00 on 29 March, and back at 03:00 on 25 October.
        ("2026-03-28T23:00:00+01:00", "2026-03-29T07:00:00+02:00"),
        ("2026-10-24T23:00:00+02:00", "2026-10-25T07:00:00+01:00"),
    ],
)
def test_a_night_goes_over_midnight_and_over_changes_of_the_clock(now: str, end: str | None) -> None:
    assert NIGHT.until(at(now), "error") == (at(end) if end else None)


def test_an_hour_that_comes_twice_is_quiet_both_times() -> None:
    hours = quiet("01:00", "02:30")
    assert hours.until(at("2026-10-25T02:15:00+02:00"), "error") == at("2026-10-25T02:30:00+01:00")
    assert hours.until(at("2026-10-25T02:15:00+01:00"), "error") == at("2026-10-25T02:30:00+01:00")
    assert hours.until(at("2026-10-25T02:30:00+01:00"), "error") is None


def test_quiet_hours_end_also_where_their_end_is_skipped() -> None:
    hours = quiet("01:00", "02:30")
    assert hours.until(at("2026-03-29T01:30:00+01:00"), "error") == at("2026-03-29T03:30:00+02:00")
    assert hours.until(at("2026-03-29T03:30:00+02:00"), "error") is None


def test_what_is_bad_enough_is_told_at_any_hour() -> None:
    now = at("2026-01-10T23:00:00+01:00")
    assert NIGHT.until(now, "critical") is None
    assert quiet("22:00", "07:00", below="error").until(now, "error") is None
    assert quiet("22:00", "07:00", below="error").until(now, "warning") is not None


def test_hours_of_some_days_begin_on_these() -> None:
    weekend = quiet("20:00", "08:00", days=["fri", "sat"])
    assert weekend.until(at("2026-01-09T21:00:00+01:00"), "error") == at("2026-01-10T08:00:00+01:00")  # a Friday
    assert weekend.until(at("2026-01-11T07:00:00+01:00"), "error") == at("2026-01-11T08:00:00+01:00")
    assert weekend.until(at("2026-01-11T21:00:00+01:00"), "error") is None


def test_severities_have_an_order() -> None:
    assert [rank(each) for each in (None, "info", "warning", "error", "critical")] == [-1, 0, 1, 2, 3]
