from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ops.demo import Verdict, judge
from tasks import app
from tasks.demo import SCHEDULES
from tasks.snapshots import Effect

app.set_current()  # the drill's own app has taken its place, for every test of this process

START = datetime(2026, 1, 15, 12, tzinfo=UTC)
END = START + timedelta(seconds=60)


def perfect() -> list[Effect]:
    return [
        Effect(name, at, 1, at + timedelta(seconds=1))
        for name, entry in SCHEDULES.items()
        for at in entry["schedule"].between(START, END)
    ]


def verdict_on(rows: list[Effect], name: str = "orders-1s") -> Verdict:
    (verdict,) = [each for each in judge(rows, START, END) if each.name == name]
    return verdict


def test_the_demo_has_enough_schedules_on_enough_queues() -> None:
    assert len(SCHEDULES) >= 8
    assert len({entry["task"].split(".")[1] for entry in SCHEDULES.values()}) >= 3


def test_one_effect_for_every_fire_is_well() -> None:
    assert all(verdict.well for verdict in judge(perfect(), START, END))
    assert verdict_on(perfect()).expected == 60
    assert verdict_on(perfect()).longest_delay == timedelta(seconds=1)


def test_a_missing_effect_is_found() -> None:
    rows = [row for row in perfect() if row.scheduled_for != START + timedelta(seconds=7)]
    verdict = verdict_on(rows)
    assert not verdict.well
    assert verdict.missing == [START + timedelta(seconds=7)]


def test_a_doubled_effect_is_found() -> None:
    rows = [row._replace(row_count=2) if row.name == "orders-1s" else row for row in perfect()]
    verdict = verdict_on(rows)
    assert not verdict.well
    assert len(verdict.doubled) == 60
    assert verdict.made == 120


def test_an_effect_at_a_time_that_is_no_fire_is_found() -> None:
    odd = START + timedelta(seconds=7, milliseconds=1)
    assert verdict_on([*perfect(), Effect("orders-1s", odd, 1, odd)]).unexpected == [odd]


@pytest.mark.parametrize("outside", [START, END + timedelta(seconds=1)])
def test_effects_outside_the_drill_do_not_count(outside: datetime) -> None:
    assert verdict_on([*perfect(), Effect("orders-1s", outside, 5, outside)]).well
