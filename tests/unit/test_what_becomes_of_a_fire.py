from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from steadybeat.beat.leading import decide
from steadybeat.beat.projection import Definition
from steadybeat.ledger.rows import FireRow, ScheduleRow
from steadybeat.schedule import every

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
EARLIER = NOON - timedelta(minutes=5)


def what_becomes(
    late: timedelta, *, under_way: Sequence[datetime] = (), every_minutes: int = 5, **policies: Any
) -> tuple[str, str]:
    rule = every(timedelta(minutes=every_minutes))
    defaults = {"jitter_seconds": 0.0, "catch_up": "latest", "catch_up_window_seconds": 3600.0, "overlap": "skip"}
    row = ScheduleRow(name="s", task="t", service="x", spec=rule.to_json(), policies=defaults | policies)
    fire = FireRow(schedule="s", scheduled_for=NOON, due_at=NOON)
    decision = decide(fire, Definition(row, rule), NOON + late, under_way)
    return decision.state, decision.reason or ""


@pytest.mark.parametrize("catch_up", ["latest", "all", "none"])
def test_a_fire_that_a_failover_delays_is_on_time(catch_up: str) -> None:
    assert what_becomes(timedelta(seconds=5), catch_up=catch_up)[0] == "dispatched"


@pytest.mark.parametrize(
    ("catch_up", "late", "state", "reason"),
    [
        ("all", timedelta(minutes=59), "dispatched", ""),
        ("all", timedelta(minutes=61), "missed", "older than its catch-up window"),
        ("none", timedelta(seconds=11), "missed", "catch_up=none"),
        ("latest", timedelta(minutes=4), "dispatched", ""),
        ("latest", timedelta(minutes=5), "coalesced", "the fire of 2026-01-15T12:05:00+00:00 was due too"),
    ],
)
def test_a_missed_fire_is_made_up_for_as_its_schedule_says(
    catch_up: str, late: timedelta, state: str, reason: str
) -> None:
    found, why = what_becomes(late, catch_up=catch_up)
    assert found == state
    assert reason in why


def test_a_fire_is_skipped_while_an_earlier_run_goes_on() -> None:
    assert what_becomes(timedelta(), under_way=[EARLIER])[0] == "skipped"
    assert what_becomes(timedelta(), under_way=[EARLIER], overlap="allow")[0] == "dispatched"


@pytest.mark.parametrize("late", [timedelta(), timedelta(minutes=7), timedelta(hours=2)])
def test_a_fire_that_an_earlier_leader_sent_and_did_not_mark_does_not_stand_in_its_own_way(late: timedelta) -> None:
    assert what_becomes(late, under_way=[EARLIER, NOON])[0] == "dispatched"


def test_every_state_but_dispatched_has_a_reason() -> None:
    for late in (timedelta(), timedelta(minutes=7), timedelta(hours=2)):
        for catch_up in ("latest", "all", "none"):
            state, reason = what_becomes(late, under_way=[EARLIER], catch_up=catch_up)
            assert state == "dispatched" or reason
