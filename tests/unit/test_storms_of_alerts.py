from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from steadybeat.alerts.routes import Way
from steadybeat.alerts.storms import FLAP_COUNT, owed, tellings
from steadybeat.ledger.alerts import AlertRow

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
BEFORE = NOW - timedelta(minutes=5)
WAY = Way(to=("slack",))


def alert(number: int = 1, **facts: Any) -> AlertRow:
    given = {"rule": "failed", "subject": f"s{number}", "opened_at": BEFORE, "last_seen_at": NOW}
    return AlertRow(id=number, **(given | facts))


def told(number: int = 1, ago: float = 60, **facts: Any) -> AlertRow:
    at = NOW - timedelta(seconds=ago)
    return alert(number, **({"told_at": at, "told_severity": "error"} | facts))


def test_what_nobody_was_told_of_is_owed_once() -> None:
    assert owed(alert(), NOW) == "opened"
    assert owed(told(), NOW) is None
    assert owed(alert(state="acknowledged"), NOW) is None
    assert owed(alert(cause_id=7), NOW) is None


def test_what_came_back_or_became_worse_is_owed_again() -> None:
    back = {"reopened_at": NOW, "reopened_count": 1}
    assert owed(told(**back), NOW) == "reopened"
    assert owed(told(severity="critical"), NOW) == "worse"
    assert owed(told(severity="critical", state="acknowledged"), NOW) == "worse"
    assert owed(told(severity="warning"), NOW) is None


def test_what_flaps_is_owed_again_after_an_hour() -> None:
    often = {"reopened_at": NOW, "reopened_count": FLAP_COUNT + 1, "opened_at": NOW - timedelta(hours=5)}
    assert owed(told(**often), NOW) is None
    assert owed(told(ago=3600, **often), NOW) == "reopened"


def test_few_are_told_one_by_one_and_many_together() -> None:
    few = tellings([alert(n) for n in range(3)], lambda _: WAY, NOW, 3)
    assert [(len(each.alerts), each.together) for each in few] == [(1, False)] * 3
    (many,) = tellings([alert(n, severity="critical" if n == 2 else "error") for n in range(4)], lambda _: WAY, NOW, 3)
    assert (many.together, [each.id for each in many.alerts]) == (True, [2, 0, 1, 3])


def test_those_of_other_rules_and_of_other_ways_are_no_part_of_a_storm() -> None:
    alerts = [*(alert(n) for n in range(3)), *(alert(n, rule="missed") for n in range(3, 6))]
    assert len(tellings(alerts, lambda _: WAY, NOW, 3)) == 6
    ways = [Way(to=("slack",)), Way(to=("mail",))]
    assert len(tellings([alert(n) for n in range(6)], lambda each: ways[each.id % 2], NOW, 3)) == 6


def test_a_storm_that_comes_bit_by_bit_is_one_message_a_minute() -> None:
    earlier = [told(n, ago=30) for n in range(3)]
    (first,) = tellings([*earlier, alert(9)], lambda _: WAY, NOW, 3)
    assert (first.together, len(first.alerts)) == (True, 1)
    stormy = [*earlier, told(9, ago=20, storm_id=9)]
    assert tellings([*stormy, alert(10), alert(11)], lambda _: WAY, NOW, 3) == []
    calm = [told(n, ago=61, storm_id=9) for n in range(9)]
    assert len(tellings([*calm, alert(10), alert(11)], lambda _: WAY, NOW, 3)) == 2


def test_where_no_route_leads_nothing_is_due() -> None:
    assert tellings([alert()], lambda _: Way(), NOW, 3) == []
