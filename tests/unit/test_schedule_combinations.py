"""Rules that are joined and narrowed: their laws, their forms, and what is refused."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from steadybeat import schedule
from steadybeat.errors import ScheduleError
from steadybeat.schedule import any_of, as_rule, cron, every, from_json, once, rrule, to_celery, window

quick = settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
RIGA, NEW_YORK = "Europe/Riga", "America/New_York"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
NAMES = {
    **{name: getattr(schedule, name) for name in ("any_of", "cron", "every", "once", "rrule", "window")},
    "date": date,
    "datetime": datetime,
    "timedelta": timedelta,
    "timezone": timezone,
    "ZoneInfo": ZoneInfo,
}


def at(text: str, tz: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(tz))


def utc_times(fires) -> list[str]:
    return [fire.strftime("%m-%d %H:%M") for fire in fires]


def first(rule, count=3, after="2025-12-31T23:59") -> list[str]:
    return utc_times(islice(rule.between(at(after), at("2100-01-01")), count))


# Which instants


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (once(at("2026-01-15T12:00", RIGA)), ["01-15 10:00"]),
        (any_of(cron("0 6 * * THU"), cron("0 9 1 * *")), ["01-01 06:00", "01-01 09:00", "01-08 06:00"]),
        (any_of(cron("0 */6 * * *"), every(12 * HOUR)), ["01-01 00:00", "01-01 06:00", "01-01 12:00"]),
        (cron("0 6 * * *").starting(NOON), ["01-16 06:00", "01-17 06:00", "01-18 06:00"]),
        (cron("0 12 * * *").starting(NOON).limited(2), ["01-15 12:00", "01-16 12:00"]),
        (cron("0 12 * * *").starting(NOON).until(NOON + DAY), ["01-15 12:00", "01-16 12:00"]),
        (cron("0 12 * * *").until(at("2026-01-02T12:00")), ["01-01 12:00", "01-02 12:00"]),
        (rrule("FREQ=DAILY", dtstart=NOON).limited(1), ["01-15 12:00"]),
        (once(NOON).limited(5), ["01-15 12:00"]),
        (any_of(once(NOON), once(NOON + DAY), once(NOON + 2 * DAY)).limited(2), ["01-15 12:00", "01-16 12:00"]),
        # What stands first is done first
        (cron("@daily").starting(NOON).excluding(date(2026, 1, 17)).limited(2), ["01-16 00:00", "01-18 00:00"]),
        (cron("@daily").starting(NOON).limited(2).excluding(date(2026, 1, 17)), ["01-16 00:00"]),
        (cron("@daily").starting(NOON).limited(3).starting(NOON + 2 * DAY), ["01-18 00:00"]),
        # Dates are those of the rule's time zone: in Riga 1 January ends at 22:00 UTC
        (cron("0 */12 * * *", tz=RIGA).excluding(date(2026, 1, 1)), ["01-01 22:00", "01-02 10:00", "01-02 22:00"]),
        (
            cron("0 */12 * * *", tz=RIGA).excluding(date(2026, 1, 1), tz="UTC"),
            ["01-02 10:00", "01-02 22:00", "01-03 10:00"],
        ),
        (
            rrule("FREQ=DAILY", dtstart=datetime(2026, 1, 1, 1, tzinfo=timezone(2 * HOUR))).excluding(date(2026, 1, 2)),
            ["01-02 23:00", "01-03 23:00", "01-04 23:00"],
        ),
        (cron("0 0 * * *").excluding([date(2026, 1, 1), date(2026, 1, 2)], {date(2026, 1, 4): "a"}), ["01-03 00:00",
            "01-05 00:00", "01-06 00:00"]),
        # Windows: the begin is inside, the end is not
        (every(6 * HOUR).excluding(window("06:00", "18:00")), ["01-01 00:00", "01-01 18:00", "01-02 00:00"]),
        (every(6 * HOUR).excluding(window("18:00", "06:00")), ["01-01 06:00", "01-01 12:00", "01-02 06:00"]),
        (
            every(6 * HOUR).excluding(window(at("2026-01-01"), at("2026-01-02"))),
            ["01-02 00:00", "01-02 06:00", "01-02 12:00"],
        ),
        (cron("0 * * * *").excluding(window(cron("0 0 * * *"), 22 * HOUR)), ["01-01 22:00", "01-01 23:00",
            "01-02 22:00"]),
        # The instants of another rule
        (cron("0 */8 * * *").excluding(cron("0 8 * * *"), once(at("2026-01-01T16:00"))), ["01-01 00:00",
            "01-02 00:00", "01-02 16:00"]),
    ],
)  # fmt: skip
def test_a_narrowed_rule_is_due_at(rule, expected):
    assert first(rule) == expected


def test_the_date_of_a_zone_without_that_midnight_is_left_out_from_its_change_on():
    rule = every(HOUR).excluding(date(2018, 11, 4), tz="America/Sao_Paulo")
    assert utc_times(rule.between(at("2018-11-04T01:00"), at("2018-11-05T03:00"))) == [
        "11-04 02:00",
        "11-05 02:00",
        "11-05 03:00",
    ]


@pytest.mark.parametrize(
    ("around", "expected"),
    [  # Saturday 22:00 to Sunday 04:00 in Riga; in UTC, the last hour before and the first one after
        ("2026-01-17", ["01-17 19:00", "01-18 02:00"]),
        ("2026-03-28", ["03-28 19:00", "03-29 01:00"]),  # the clocks skip from 03:00 to 04:00
        ("2026-07-18", ["07-18 18:00", "07-19 01:00"]),
        ("2026-10-24", ["10-24 18:00", "10-25 02:00"]),  # the clocks show 03:00 twice
    ],
)
def test_a_weekly_window_follows_the_wall_clock(around, expected):
    rule = cron("0 * * * *").excluding(window("SAT 22:00", "SUN 04:00", tz=RIGA))
    hours = list(rule.between(at(f"{around}T12:00"), at(f"{around}T12:00") + DAY))
    apart = [pair for pair in pairwise(hours) if pair[1] - pair[0] > HOUR]
    assert [utc_times(pair) for pair in apart] == [expected]


def test_whatever_was_left_out_for_a_year_the_search_goes_on():
    often = cron("*/5 * * * *")
    rule = often.excluding(often.starting(NOON).until(NOON + 365 * DAY))
    assert rule.next_after(NOON) == NOON + 365 * DAY + timedelta(minutes=5)
    seconds = every(timedelta(seconds=1)).excluding(window(NOON, NOON + 3650 * DAY))
    assert seconds.next_after(NOON) == NOON + 3650 * DAY
    dense = cron("@yearly").excluding(every(timedelta(seconds=1)).until(NOON))
    assert dense.next_after(at("2020-06-01")) == at("2027-01-01")


# Laws

instants = st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC)).map(
    lambda each: each.replace(microsecond=0, second=0)
)
plain = st.one_of(
    st.sampled_from([
        cron("0 6 * * *", tz=RIGA),
        cron("*/20 3 * * *", tz=RIGA),
        cron("30 3 * * *", tz=RIGA, dst="twice"),
        cron("15 2 * * SUN", tz=NEW_YORK, dst="skip"),
        cron("0 0 13 * FRI"),
        rrule("FREQ=WEEKLY;BYDAY=MO,TH", dtstart=datetime(2025, 3, 1, 4, tzinfo=ZoneInfo(RIGA))),
    ]),
    st.builds(every, st.timedeltas(HOUR, 40 * DAY).map(lambda each: each - each % timedelta(minutes=1))),
    st.builds(once, instants),
)  # fmt: skip
dates = st.lists(st.dates(date(2024, 1, 1), date(2028, 1, 1)), min_size=1, max_size=9)
zones = st.sampled_from(["UTC", RIGA, NEW_YORK])
windows = st.one_of(
    st.sampled_from([
        window("SAT 22:00", "SUN 04:00", tz=RIGA),
        window("22:00", "04:30", tz=NEW_YORK),
        window("02:30", "03:30", tz=RIGA),
        window("SUN 00:00", "SUN 24:00"),
        window(cron("0 2 * * SUN#1", tz=RIGA, dst="once"), 30 * HOUR),
    ]),
    st.builds(lambda begin, length: window(begin, begin + length), instants, st.timedeltas(HOUR, 90 * DAY)),
    st.builds(window, plain, st.timedeltas(timedelta(seconds=1), DAY)),
)  # fmt: skip


def narrowed(rules):
    steps = st.one_of(
        st.builds(lambda at: lambda rule: rule.starting(at), instants),
        st.builds(lambda at: lambda rule: rule.until(at), instants),
        st.builds(lambda n, at: lambda rule: rule.starting(at).limited(n), st.integers(1, 30), instants),
        st.builds(lambda what, tz: lambda rule: rule.excluding(what, tz=tz), dates, zones),
        st.builds(lambda what: lambda rule: rule.excluding(what), windows),
        st.builds(lambda what: lambda rule: rule.excluding(what), plain),
        st.builds(lambda other: lambda rule: any_of(rule, other), rules),
    )
    return st.tuples(rules, steps).map(told).filter(lambda rule: rule is not None)


def told(pair):
    rule, step = pair
    try:
        return step(rule)
    except ScheduleError:  # nothing is left
        return None


rules = st.recursive(plain, narrowed, max_leaves=4)
YEARS = (at("2024-12-31"), at("2027-01-01"))
MONTHS = (at("2026-03-01"), at("2026-04-15"))


@quick
@given(rules, instants)
@example(cron("0 * * * *").excluding(window("02:30", "03:30", tz=RIGA)), at("2026-10-24"))
def test_between_equals_repeated_next_after_and_strictly_increases(rule, start):
    repeated = [start]
    while len(repeated) < 9 and (fire := rule.next_after(repeated[-1])) is not None:
        repeated.append(fire)
    assert all(earlier < later for earlier, later in pairwise(repeated))
    assert all(fire.tzinfo is UTC for fire in repeated[1:])
    assert list(rule.between(start, repeated[-1])) == repeated[1:]


@quick
@given(rules)
def test_a_rule_survives_json_repr_and_pickle(rule):
    data = json.loads(json.dumps(rule.to_json()))
    for copy in (from_json(data), eval(repr(rule), NAMES), pickle.loads(pickle.dumps(rule)), as_rule(rule)):
        assert copy == rule
        assert hash(copy) == hash(rule)
        assert copy.next_after(YEARS[0]) == rule.next_after(YEARS[0])
    assert from_json(data) is from_json(rule.to_json())
    assert rule.named("settle") is rule
    assert rule.explain()
    assert to_celery(rule) is None or type(rule) in (schedule.Cron, schedule.Every)


@quick
@given(rules, rules)
def test_any_of_is_due_whenever_one_is(one, other):
    both = list(any_of(one, other).between(*YEARS))
    assert both == sorted({*one.between(*YEARS), *other.between(*YEARS)})
    assert both == list(any_of(other, one, other).between(*YEARS))
    assert any_of(one, one) == one


@quick
@given(rules, plain)
def test_what_another_rule_has_is_left_out(rule, other):
    left = told((rule, lambda each: each.excluding(other)))
    assume(left is not None)
    assert list(left.between(*YEARS)) == sorted({*rule.between(*YEARS)} - {*other.between(*YEARS)})


@quick
@given(rules, dates, zones)
def test_what_is_due_on_a_date_is_left_out(rule, days, tz):
    left = told((rule, lambda each: each.excluding(days, tz=tz)))
    assume(left is not None)
    zone = ZoneInfo(tz)
    assert list(left.between(*YEARS)) == [
        fire for fire in rule.between(*YEARS) if fire.astimezone(zone).date() not in days
    ]


@settings(quick, max_examples=15)
@given(plain, plain, st.timedeltas(HOUR, 3 * DAY))
def test_what_is_due_in_a_window_after_another_rule_is_left_out(rule, begins, length):
    left = told((rule, lambda each: each.excluding(window(begins, length))))
    assume(left is not None)
    assert list(left.between(*YEARS)) == [
        fire for fire in rule.between(*YEARS) if (begin := begins.next_after(fire - length)) is None or begin > fire
    ]


@quick
@given(rules, instants, st.integers(1, 30))
def test_the_first_fires_are_those_that_are_counted(rule, begin, count):
    started = told((rule, lambda each: each.starting(begin)))
    assume(started is not None)
    end = at("2101-01-01")
    fires = list(islice(started.between(at("1970-01-01"), end), count))
    assert fires == list(islice(rule.between(begin - timedelta(seconds=1), end), count))
    assert list(started.limited(count).between(at("1970-01-01"), end)) == fires
    assert list(started.until(fires[-1]).between(at("1970-01-01"), end)) == fires
