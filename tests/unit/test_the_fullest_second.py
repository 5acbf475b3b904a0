"""Promise: the fullest second is looked for as far ahead as is asked, unless that would be very many fires."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from steadybeat import cron
from steadybeat.operating.herds import FEWEST, Kind, fullest

NOW = datetime(2026, 11, 22, 10, 30, 30, tzinfo=UTC)
DAY = NOW + timedelta(days=1)


def kind(rule: str, count: int = 1) -> Kind:
    return Kind(rule=cron(rule), jitter=timedelta(), count=count, about="orders")


def test_rules_that_are_due_seldom_leave_what_they_do_not_need_to_one_that_is_due_often() -> None:
    seldom = [kind(f"{n} 6 * * *") for n in range(10)]
    found = fullest([*seldom, kind("* * * * *")], NOW, DAY, most=1450)
    assert (found.until, found.fire_count) == (DAY, 1450)
    assert (found.at, found.count) == (datetime(2026, 11, 23, 6, 0, tzinfo=UTC), 2)


def test_where_all_would_be_too_many_all_are_looked_at_up_to_where_the_most_frequent_was() -> None:
    seldom = [kind(f"{n} 6 * * *", 5) for n in range(10)]
    found = fullest([*seldom, kind("* * * * *")], NOW, DAY, most=1449)
    assert found.until == datetime(2026, 11, 22, 10, 31, tzinfo=UTC) + timedelta(minutes=1449 // 11 - 1)
    assert found.fire_count == max(FEWEST, 1449 // 11)
    assert found.count == 1
