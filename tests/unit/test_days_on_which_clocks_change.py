"""Promise: people hear of a change of the clocks before it surprises a schedule of theirs."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from steadybeat import any_of, cron, every, rrule
from steadybeat.alerts.report import coming
from steadybeat.alerts.report_words import surprise_words
from steadybeat.schedule import Rule
from steadybeat.schedule.surprises import surprises
from steadybeat.schedule.wallclock import make

BERLIN = "Europe/Berlin"
AUTUMN = datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
SPRING = datetime(2027, 3, 1, tzinfo=UTC), datetime(2027, 4, 15, tzinfo=UTC)


def told(rule: Rule, span: tuple[datetime, datetime]) -> list[tuple[str, list[str], list[str]]]:
    return [
        (each.kind, [f"{wall:%H:%M}" for wall in each.walls], [f"{at:%d %H:%M}" for at in each.fires])
        for each in surprises(rule, *span)
    ]


@pytest.mark.parametrize(
    ("rule", "spring", "autumn"),
    [
        (make("30 2 * * *", BERLIN), [("shifted", ["02:30"], ["28 01:00"])], []),
        (make("30 2 * * *", BERLIN, dst="skip"), [("skipped", ["02:30"], [])], []),
        (
            make("30 2 * * *", BERLIN, dst="twice"),
            [("shifted", ["02:30"], ["28 01:00"])],
            [("doubled", ["02:30"], ["25 00:30", "25 01:30"])],
        ),
        (
            make("0 */2 * * *", BERLIN),
            [("skipped", ["02:00"], [])],
            [("doubled", ["02:00"], ["25 00:00", "25 01:00"])],
        ),
        (make("0 1,2,3 * * *", BERLIN), [("skipped", ["02:00"], [])], []),
    ],
)
def test_a_rule_of_a_local_time_tells_of_the_hour_that_is_skipped_or_repeated(
    rule: Rule, spring: list[object], autumn: list[object]
) -> None:
    assert told(rule, SPRING) == spring
    assert told(rule, AUTUMN) == autumn


@pytest.mark.parametrize(
    "rule",
    [
        cron("30 2 * * *"),
        cron("0 6 * * *", tz=BERLIN),
        make("30 2 29 * *", BERLIN),
        cron("*/15 * * * *", tz=BERLIN),
        cron("*/30 * * * *", tz="Australia/Lord_Howe"),
        every(timedelta(hours=1)),
        cron("H 2 * * *", tz=BERLIN, dst="once"),
        make("30 2 * * *", BERLIN).excluding(date(2027, 3, 28)),
        any_of(make("30 2 * * *", BERLIN), make("30 2 * * *", "America/New_York")).until(
            datetime(2027, 6, 1, tzinfo=UTC)
        ),
    ],
)
def test_nothing_is_told_where_nothing_surprises_or_nothing_can_be_said(rule: Rule) -> None:
    assert told(rule, SPRING) == told(rule, AUTUMN) == []


def test_a_change_of_half_an_hour_surprises_as_well() -> None:
    lord_howe = "Australia/Lord_Howe"
    assert told(make("15 2 * * *", lord_howe), AUTUMN) == [("shifted", ["02:15"], ["03 15:30"])]
    assert told(cron("0 * * * *", tz=lord_howe), AUTUMN) == [("skipped", ["02:00"], [])]
    assert told(make("45 1 * * *", lord_howe, dst="twice"), SPRING) == [
        ("doubled", ["01:45"], ["03 14:45", "03 15:15"])
    ]


def test_a_recurrence_is_told_by_its_own_way_through_the_gap() -> None:
    rule = rrule("FREQ=DAILY", dtstart=datetime(2026, 1, 1, 2, 30, tzinfo=ZoneInfo(BERLIN)))
    assert told(rule, SPRING) == [("shifted", ["02:30"], ["28 01:30"])]


def test_of_a_rule_of_several_zones_each_clock_tells() -> None:
    rule = any_of(make("30 2 * * *", BERLIN), make("30 2 * * *", "America/New_York"))
    assert [each.zone for each in surprises(rule, *SPRING)] == ["America/New_York", BERLIN]


def test_the_end_of_the_time_asked_for_is_included_and_its_start_is_not() -> None:
    rule, change = make("30 2 * * *", BERLIN), datetime(2027, 3, 28, 1, tzinfo=UTC)
    assert len(surprises(rule, change - timedelta(seconds=1), change)) == 1
    assert surprises(rule, change, change + timedelta(days=1)) == []


def test_surprises_of_schedules_are_told_by_their_time_and_in_words() -> None:
    specs = [
        ("b", make("30 2 * * *", BERLIN).to_json()),
        ("a", make("*/10 2 * * *", BERLIN).to_json()),
        ("c", make("30 2 * * *", "America/New_York").to_json()),
        ("d", {"type": "of a newer release"}),
    ]
    found = coming(specs, *SPRING)
    assert [name for name, _ in found] == ["c", "a", "b"]
    assert [surprise_words(each) for _, each in found[1:]] == [
        (
            "Sun 2027-03-28",
            "02:00 to 02:50 (6 times) do not exist, and are left out",
            "Europe/Berlin goes forward from 02:00 to 03:00",
        ),
        (
            "Sun 2027-03-28",
            "02:30 does not exist: due at 03:00 instead",
            "Europe/Berlin goes forward from 02:00 to 03:00",
        ),
    ]
    (twice,) = surprises(make("30 2 * * *", BERLIN, dst="twice"), *AUTUMN)
    assert surprise_words(twice)[1] == "02:30 comes twice: due twice, at 02:30+0200 and 02:30+0100"
