"""The arithmetic of rules, against clocks that are written down."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import example, given, settings
from hypothesis import strategies as st

from steadybeat.schedule import (
    Cron,
    Rule,
    as_rule,
    cron,
    every,
    from_json,
)

quick = settings(deadline=None, derandomize=True, database=None, max_examples=40)
NEW_YORK, RIGA, KOLKATA = "America/New_York", "Europe/Riga", "Asia/Kolkata"
LORD_HOWE, APIA, SAO_PAULO = "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo"
NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


def at(text: str, tz: str = "UTC") -> datetime:
    """The instant of a wall clock; the first one where the clock shows it twice."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(tz))


def utc_times(fires) -> list[str]:
    return [fire.strftime("%d %H:%M") for fire in fires]


# cron(): which instants


@pytest.mark.parametrize(
    ("expression", "tz", "after", "expected"),
    [
        ("0 6 * * *", "UTC", "2026-01-15T05:59:59", "2026-01-15T06:00"),
        ("0 6 * * *", "UTC", "2026-01-15T06:00", "2026-01-16T06:00"),
        ("0 6 * * *", NEW_YORK, "2026-01-15T12:00", "2026-01-16T11:00"),
        ("0 6 * * *", NEW_YORK, "2026-07-15T12:00", "2026-07-16T10:00"),
        ("0 6 * * *", RIGA, "2026-01-15T12:00", "2026-01-16T04:00"),
        ("0 6 * * *", RIGA, "2026-07-15T12:00", "2026-07-16T03:00"),
        ("0 6 * * *", KOLKATA, "2026-01-15T00:29:59.999999", "2026-01-15T00:30"),
        ("*/15 * * * *", KOLKATA, "2026-01-15T00:15:00.000001", "2026-01-15T00:30"),
        ("5/20 * * * *", "UTC", "2026-01-15T00:26", "2026-01-15T00:45"),
        ("0 9-17/4 * * *", "UTC", "2026-01-15T13:00", "2026-01-15T17:00"),
        ("0 0 * * mon-fri", "UTC", "2026-01-16T00:00", "2026-01-19T00:00"),
        ("0 0 * * 7", "UTC", "2026-01-15T00:00", "2026-01-18T00:00"),
        ("0 0 * * 0", "UTC", "2026-01-15T00:00", "2026-01-18T00:00"),
        ("0 0 L * *", "UTC", "2028-02-01T00:00", "2028-02-29T00:00"),
        ("0 0 LW * *", "UTC", "2026-01-15T00:00", "2026-01-30T00:00"),
        ("0 0 * * 5L", "UTC", "2026-01-15T00:00", "2026-01-30T00:00"),
        ("0 0 * * 5#2", "UTC", "2026-01-15T00:00", "2026-02-13T00:00"),
        ("0 0 29 2 *", "UTC", "2096-03-01T00:00", "2104-02-29T00:00"),
        ("0 0 * 2 MON#5", "UTC", "2026-01-15T00:00", "2044-02-29T00:00"),
        ("0 0 13 * FRI", "UTC", "2026-01-12T00:00", "2026-01-13T00:00"),
        ("0 0 13 * FRI", "UTC", "2026-01-13T00:00", "2026-01-16T00:00"),
        ("0 0 */13 * FRI", "UTC", "2026-01-15T00:00", "2026-02-27T00:00"),
        ("@hourly", "UTC", "2026-01-15T12:00", "2026-01-15T13:00"),
        ("@daily", "UTC", "2026-01-15T12:00", "2026-01-16T00:00"),
        ("@weekly", "UTC", "2026-01-15T12:00", "2026-01-18T00:00"),
        ("@monthly", "UTC", "2026-01-15T12:00", "2026-02-01T00:00"),
        (" @Yearly ", RIGA, "2026-01-15T12:00", "2026-12-31T22:00"),
    ],
)
def test_a_cron_rule_is_next_due_when_its_wall_clock_says(expression, tz, after, expected):
    assert cron(expression, tz=tz).next_after(at(after)) == at(expected)


@pytest.mark.parametrize(
    ("expression", "tz", "start", "end", "expected"),
    [  # what is expected is UTC
        # New York, 8 March 2026: 02:00 EST becomes 03:00 EDT at 07:00 UTC
        ("30 2 * * *", NEW_YORK, "2026-03-07", "2026-03-10", ["07 07:30", "08 07:00", "09 06:30"]),
        ("0,30 2,3 * * *", NEW_YORK, "2026-03-08", "2026-03-09", ["08 07:00", "08 07:30"]),
        ("0 3 * * *", NEW_YORK, "2026-03-08", "2026-03-09", ["08 07:00"]),
        ("0 */2 * * *", NEW_YORK, "2026-03-08", "2026-03-08T06:30", ["08 08:00", "08 10:00"]),
        ("*/30 * * * *", NEW_YORK, "2026-03-08T01:00", "2026-03-08T03:30", ["08 06:30", "08 07:00", "08 07:30"]),
        # New York, 1 November 2026: 02:00 EDT becomes 01:00 EST at 06:00 UTC
        ("30 1 * * *", NEW_YORK, "2026-11-01", "2026-11-02", ["01 05:30"]),
        ("0 1,2 * * *", NEW_YORK, "2026-11-01", "2026-11-02", ["01 05:00", "01 07:00"]),
        ("30 * * * *", NEW_YORK, "2026-11-01", "2026-11-01T02:59", ["01 04:30", "01 05:30", "01 06:30", "01 07:30"]),
        # Riga, 29 March 2026: 03:00 becomes 04:00 at 01:00 UTC; 25 October: 04:00 becomes 03:00 at 01:00 UTC
        ("15 3 * * *", RIGA, "2026-03-29", "2026-03-30", ["29 01:00"]),
        ("15 3 * * *", RIGA, "2026-10-25", "2026-10-26", ["25 00:15"]),
        ("0 4 * * *", RIGA, "2026-10-25", "2026-10-26", ["25 02:00"]),
        # Kolkata never changes
        ("30 2 * * *", KOLKATA, "2026-03-08", "2026-03-10", ["07 21:00", "08 21:00"]),
        # Lord Howe moves by half an hour: 5 October 2025 02:00 becomes 02:30; 5 April 2026 02:00 becomes 01:30
        ("15 2 * * *", LORD_HOWE, "2025-10-05", "2025-10-06", ["04 15:30"]),
        ("0,30 * * * *", LORD_HOWE, "2025-10-05T01:00", "2025-10-05T03:00", ["04 15:00", "04 15:30", "04 16:00"]),
        ("45 1 * * *", LORD_HOWE, "2026-04-05", "2026-04-06", ["04 14:45"]),
        ("45 * * * *", LORD_HOWE, "2026-04-05T01:00", "2026-04-05T02:00", ["04 14:45", "04 15:15"]),
        # Sao Paulo skipped midnight: 4 November 2018 00:00 became 01:00
        ("0 0 * * *", SAO_PAULO, "2018-11-03T12:00", "2018-11-05T12:00", ["04 03:00", "05 02:00"]),
        ("*/30 0 4 11 *", SAO_PAULO, "2018-11-03T12:00", "2018-11-05T12:00", []),
        # Apia skipped the whole of 30 December 2011: a correction, nothing is made up for
        ("0 6 * * *", APIA, "2011-12-29", "2012-01-01", ["29 16:00", "30 16:00"]),
        ("0 6 30 12 *", APIA, "2011-12-01", "2012-01-30", []),
    ],
)
def test_the_days_when_the_clocks_change(expression, tz, start, end, expected):
    assert utc_times(cron(expression, tz=tz, dst="once").between(at(start, tz), at(end, tz))) == expected


@pytest.mark.parametrize(
    ("start", "end", "count"),
    [
        ("2026-10-25T01:00", "2026-10-25T04:00", 16),  # 01, 02, 03 and 03 again
        ("2026-10-25T01:00", "2026-10-25T05:00", 20),
        ("2026-10-25", "2026-10-26", 100),
        ("2026-03-29", "2026-03-30", 92),
    ],
)
def test_every_real_quarter_hour_is_due_on_the_days_of_change_in_riga(start, end, count):
    rule = cron("*/15 * * * *", tz=RIGA)
    fires = list(rule.between(at(start, RIGA), at(end, RIGA)))
    assert len(fires) == count
    assert {later - earlier for earlier, later in pairwise(fires)} == {timedelta(minutes=15)}


@pytest.mark.parametrize("expression", ["*/15 * * * *", "*/15 3 * * *", "0,30 3 * * *", "30 3,4 * * *"])
@pytest.mark.parametrize("dst", ["once", "skip", "twice"])
def test_asked_inside_the_second_pass_of_a_repeated_hour_the_answer_lies_ahead(expression, dst):
    rule = cron(expression, tz=RIGA, dst=dst)
    fires = list(rule.between(at("2026-10-24", RIGA), at("2026-10-27", RIGA)))
    for minute in range(60):
        asked = at(f"2026-10-25T03:{minute:02}", RIGA).replace(fold=1)
        answer = rule.next_after(asked)
        assert answer > asked
        assert answer == next(fire for fire in fires if fire > asked)


# Strategies


def fields(low: int, high: int, *more: str) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.tuples(st.just("*") | span, st.integers(1, 12)).map(lambda pair: f"{pair[0]}/{pair[1]}")
    listed = st.lists(number.map(str) | span, min_size=1, max_size=3).map(",".join)
    return st.just("*") | listed | step | st.sampled_from(["*", *more])


dates = st.tuples(fields(1, 28, "L", "LW"), fields(1, 12, "JAN"), fields(0, 7, "SUN", "5L", "1#2")).filter(
    lambda date: date[0] != "LW" or not date[2].startswith("*/")  # no last weekday is a Sunday
)
expressions = st.tuples(fields(0, 59), fields(0, 23), dates.map(" ".join)).map(" ".join)
zones = st.sampled_from(["UTC", NEW_YORK, RIGA, KOLKATA, LORD_HOWE])
choices = st.sampled_from(["once", "skip", "twice"])
crons = (
    st.builds(lambda text, tz, dst: cron(text, tz=tz, dst=dst), expressions, zones, choices)
    | st.builds(lambda text, tz: cron(text, tz=tz), expressions, st.sampled_from(["UTC", KOLKATA]))
    | st.builds(
        lambda day, weekday, tz, dst: cron(f"15 2 {day} * {weekday}", tz=tz, mode="and", dst=dst),
        fields(1, 28),
        fields(0, 6),
        zones,
        choices,
    )
)
instants = st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
everys = st.builds(
    lambda interval, anchor: every(interval, anchor=anchor),
    st.timedeltas(timedelta(seconds=1), timedelta(days=500_000)),
    st.none() | instants,
)
rules = crons | everys


@quick
@given(rules, instants)
@example(cron("30 3 * * *", tz=RIGA, dst="once"), at("2026-10-24"))
@example(cron("*/30 * * * *", tz=RIGA), at("2026-10-25"))
def test_between_equals_repeated_next_after_and_strictly_increases(rule, start):
    repeated = [start]
    while len(repeated) < 9 and (fire := rule.next_after(repeated[-1])) is not None:
        repeated.append(fire)
    assert all(earlier < later for earlier, later in pairwise(repeated))
    assert all(fire.tzinfo is UTC for fire in repeated[1:])
    assert list(rule.between(start, repeated[-1])) == repeated[1:]


@quick
@given(expressions, instants)
def test_in_utc_a_rule_agrees_with_cronsim(expression, start):
    assert list(islice(cron(expression).between(start, datetime.max.replace(tzinfo=UTC)), 5)) == list(
        islice(CronSim(expression, start), 5)
    )


@quick
@given(rules)
def test_a_rule_survives_json_repr_and_pickle(rule):
    names = {"cron": cron, "every": every, "timedelta": timedelta, "datetime": datetime, "timezone": timezone}
    for copy in (from_json(json.loads(json.dumps(rule.to_json()))), eval(repr(rule), names), as_rule(rule)):
        assert copy == rule
        assert hash(copy) == hash(rule)
    assert pickle.loads(pickle.dumps(rule)) == rule
    assert rule.explain()


# Rules as values


def test_between_leaves_out_its_start_and_includes_its_end():
    rule = cron("0 * * * *")
    assert utc_times(rule.between(at("2026-01-15T10:00"), at("2026-01-15T12:00"))) == ["15 11:00", "15 12:00"]
    assert list(rule.between(at("2026-01-15T12:00"), at("2026-01-15T12:00"))) == []
    assert list(rule.between(at("2026-01-15T12:00"), at("2026-01-15T10:00"))) == []


def test_a_year_of_minutes_is_complete():
    fires = cron("* * * * *", tz=NEW_YORK).between(at("2025-12-31T23:59"), at("2026-12-31T23:59"))
    assert sum(1 for _ in fires) == 365 * 24 * 60


def test_rules_are_equal_by_what_was_written_and_not_by_its_spacing():
    assert cron(" 0  6 * * mon ", tz=ZoneInfo(RIGA)) == cron("0 6 * * MON", tz=RIGA) == Cron("0 6 * * MON", RIGA)
    assert cron("@daily") == cron("0 0 * * *") == cron("0 0 * * *", tz=UTC)
    assert cron("0 6 * * *") != cron("0 6 * * *", tz=RIGA)
    assert every(timedelta(minutes=1)) == every(timedelta(seconds=60)) != cron("* * * * *")
    assert len({every(timedelta(minutes=1)), every(timedelta(seconds=60)), cron("@daily")}) == 2


def test_where_one_day_field_is_free_the_mode_means_nothing():
    assert cron("0 0 13 * *", mode="and") == cron("0 0 13 * *") == from_json(cron("0 0 13 * *").to_json())
    assert cron("0 0 */2 * FRI", mode="and") == cron("0 0 */2 * FRI")
    assert cron("0 0 13 * FRI", mode="and") != cron("0 0 13 * FRI") == cron("0 0 13 * FRI", mode="or")


@pytest.mark.parametrize(
    ("tz", "expected"),
    [("UTC", ["13 02:30", "13 02:30", "13 02:30"]), (NEW_YORK, ["13 07:30", "13 06:30", "13 07:30"])],
)
def test_with_and_a_day_must_fit_both_fields(tz, expected):
    fires = list(cron("30 2 13 * FRI", tz=tz, mode="and", dst="once").between(at("2026-01-15"), at("2027-01-15")))
    assert utc_times(fires) == expected
    assert [fire.month for fire in fires] == [2, 3, 11]


def test_with_and_a_time_in_the_gap_is_made_up_for_on_its_day_alone():
    rule = cron("30 2 8 3 SUN", tz=NEW_YORK, mode="and", dst="once")
    assert utc_times(rule.between(at("2026-01-01"), at("2027-01-01"))) == ["08 07:00"]


def test_rules_are_frozen_and_have_no_dict():
    rule = cron("@daily")
    with pytest.raises(AttributeError):
        rule.tz = "Europe/Riga"
    assert not hasattr(rule, "__dict__")
    assert isinstance(rule, Rule)


@pytest.mark.parametrize(
    ("rule", "text", "data"),
    [
        (
            cron("0 6 * * *"),
            "cron('0 6 * * *', tz='UTC')",
            {"type": "cron", "expression": "0 6 * * *", "tz": "UTC"},
        ),
        (
            cron("0 6 13 * fri", tz=RIGA, mode="and"),
            "cron('0 6 13 * FRI', tz='Europe/Riga', mode='and')",
            {"type": "cron", "expression": "0 6 13 * FRI", "tz": RIGA, "mode": "and"},
        ),
        (every(timedelta(seconds=5)), "every(timedelta(seconds=5))", {"type": "every", "seconds": 5, "anchor": None}),
        (
            every(timedelta(days=1, microseconds=1), anchor=at("2026-01-01", RIGA)),
            "every(timedelta(days=1, microseconds=1), anchor=datetime(2025, 12, 31, 22, 0, tzinfo=timezone.utc))",
            {"type": "every", "seconds": 86400, "microseconds": 1, "anchor": "2025-12-31T22:00:00Z"},
        ),
    ],
)
def test_a_rule_is_written_as(rule, text, data):
    assert repr(rule) == text
    assert rule.to_json() == data


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (cron("0 6 * * *"), "At 06:00 every day (UTC)"),
        (cron("*/15 * * * *", tz=RIGA), "Every 15th minute of every hour (Europe/Riga)"),
        (cron("0 6 13 * FRI"), "At 06:00 on the 13th day of month and on Friday (UTC)"),
        (cron("0 6 13 * FRI", mode="and"), "At 06:00 on the 13th day of month if it's on Friday (UTC)"),
        (every(timedelta(seconds=5)), "Every 5 seconds"),
        (every(timedelta(hours=1)), "Every hour"),
        (every(timedelta(days=2, minutes=1, seconds=1.5)), "Every 2 days 1 minute 1.5 seconds"),
        (every(timedelta(minutes=1), anchor=NOON), "Every minute, counted from 2026-01-15T12:00:00Z"),
    ],
)
def test_a_rule_is_explained_in_words(rule, words):
    assert rule.explain() == words


# every()


@pytest.mark.parametrize(
    ("rule", "after", "expected"),
    [
        (every(timedelta(seconds=5)), "2026-01-15T12:00:00", "2026-01-15T12:00:05"),
        (every(timedelta(seconds=5)), "2026-01-15T12:00:04.999999", "2026-01-15T12:00:05"),
        (every(timedelta(seconds=7)), "1970-01-01T00:00:01", "1970-01-01T00:00:07"),
        (every(timedelta(seconds=7)), "1969-12-31T23:59:50", "1969-12-31T23:59:53"),
        (every(timedelta(hours=1), anchor=at("2026-01-15T12:10")), "2026-01-15T10:00", "2026-01-15T10:10"),
        (every(timedelta(hours=1), anchor=at("2026-01-15T12:10")), "2026-01-15T13:10", "2026-01-15T14:10"),
        (every(timedelta(seconds=1.000001)), "1970-01-12T13:46:39", "1970-01-12T13:46:39.999999"),
    ],
)
def test_an_interval_is_counted_from_its_anchor(rule, after, expected):
    assert rule.next_after(at(after)) == at(expected)


@pytest.mark.parametrize("rule", [cron("@yearly"), every(timedelta(days=1)), every(timedelta(days=999_999_999))])
def test_the_end_of_the_calendar_is_the_end_of_a_rule(rule):
    assert rule.next_after(datetime.max.replace(tzinfo=UTC)) is None
