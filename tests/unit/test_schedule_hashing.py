"""H in cron expressions: numbers that the schedule's name chooses."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steadybeat.errors import ScheduleError
from steadybeat.schedule import any_of, cron, every, from_json, to_celery, window

quick = settings(deadline=None, derandomize=True, database=None, max_examples=40)
RIGA = "Europe/Riga"
NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
names = st.text("az.:@é", min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("expression", "name", "bound"),
    [
        ("H * * * *", "settle", "10 * * * *"),
        ("H H * * *", "settle", "10 8 * * *"),
        ("H H H H H", "settle", "10 8 23 5 2"),
        ("H/15 * * * *", "settle", "10,25,40,55 * * * *"),
        ("H(0-29)/10 H(0-5) * * *", "royalties.settle", "1,11,21 1 * * *"),
        ("H * * * *", "é:eu", "18 * * * *"),
        ("0 6 * * H(MON-FRI)", "settle", "0 6 * * 2"),
    ],
)
def test_what_a_name_chooses_is_the_same_for_ever(expression, name, bound):
    assert cron(expression).named(name) == cron(bound)


FORMS = [
    ("H", 60, 1),
    ("H(0-29)", 30, 1),
    ("H(7)", 8, 1),
    ("H/15", 60, 4),
    ("H(0-29)/10", 30, 3),
    ("H(0-9)/20", 10, 1),
    ("H/90", 60, 1),
]


@quick
@given(names, st.sampled_from(FORMS))
def test_what_is_chosen_lies_in_its_range_and_steps_evenly(name, form):
    text, end, count = form
    minutes = [int(each) for each in cron(f"{text} * * * *").named(name).expression.split()[0].split(",")]
    assert len(minutes) == count
    assert all(0 <= minute < end for minute in minutes)
    assert {later - earlier for earlier, later in itertools.pairwise(minutes)} <= {15, 10}


@quick
@given(names)
def test_every_field_may_be_chosen_and_exists_in_every_month(name):
    minute, hour, day, month, weekday = map(int, cron("H H H H H").named(name).expression.split())
    assert 0 <= minute < 60
    assert 0 <= hour < 24
    assert 1 <= day <= 28
    assert 1 <= month <= 12
    assert 0 <= weekday < 7
    assert cron("0 0 * * H(MON-FRI)").named(name).expression.split()[4] in "12345"
    assert cron("0 0 1 H(JAN-MAR) *").named(name).expression.split()[3] in "123"
    assert len(list(cron("0 0 H * *").named(name).between(NOON, NOON + timedelta(days=365)))) == 12


def test_fields_of_one_name_are_chosen_by_themselves_and_a_fleet_spreads():
    rules = [cron("H H(0-5) * * *").named(f"s{number}").expression.split() for number in range(2000)]
    minutes, hours = Counter(int(each[0]) for each in rules), Counter(int(each[1]) for each in rules)
    assert set(minutes) == set(range(60))
    assert max(minutes.values()) < 65
    assert set(hours) == set(range(6))
    assert max(hours.values()) < 420
    assert len({(each[0], each[1]) for each in rules}) > 340


def test_a_chosen_number_may_stand_in_a_list():
    rule = cron("H(0-9),30 6 * * *").named("settle")
    first, second = rule.expression.split()[0].split(",")
    assert int(first) < 10
    assert second == "30"


def test_thursday_is_no_chosen_day():
    rule = cron("0 6 * MAR THU")
    assert not rule.unbound
    assert rule.named("settle") is rule


def test_a_named_rule_goes_by_the_clock_as_if_its_numbers_had_been_written():
    rule = cron("H/30 3 * * *", tz=RIGA, dst="skip").named("settle")
    numbers = rule.expression.split()[0]
    assert rule == cron(f"{numbers} 3 * * *", tz=RIGA, dst="skip")


COMBINED = (
    any_of(cron("H 6 * * *", tz=RIGA), every(timedelta(hours=5)))
    .excluding(date(2026, 1, 20), window(cron("H 8 * * SUN"), timedelta(hours=1)))
    .starting(NOON)
    .limited(5)
    .until(NOON + timedelta(days=9))
)


def test_a_name_reaches_every_part_of_a_combination():
    named = COMBINED.named("settle")
    assert not named.unbound
    assert COMBINED.unbound
    assert named.named("other") is named
    assert "H" not in json.dumps(named.to_json())
    assert len(list(named.between(NOON, NOON + timedelta(days=9)))) == 5
    assert every(timedelta(hours=1)).excluding(window(cron("H 8 * * *"), timedelta(hours=1))).unbound


@pytest.mark.parametrize("rule", [cron("H 6 * * *"), COMBINED, every(timedelta(hours=1)).excluding(cron("H 8 * * *"))])
def test_without_a_name_nothing_can_be_asked_but_what_is_written(rule):
    for call in (lambda: rule.next_after(NOON), lambda: rule.between(NOON, NOON)):
        with pytest.raises(ScheduleError) as caught:
            call()
        assert "has H, which stands for a number hashed from the schedule's name: ask rule.named('…')" in str(
            caught.value
        )
    assert from_json(json.loads(json.dumps(rule.to_json()))) == rule
    assert "H" in repr(rule)
    assert "chosen by the schedule's name" in rule.explain()
    assert rule.cautions() == []
    assert to_celery(rule) is None


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            cron("H 6 * * *", tz=RIGA),
            "At a minute of 0-59 past hour 6; the minute is chosen by the schedule's name (Europe/Riga)",
        ),
        (
            cron("H/15 * * * MON-FRI"),
            ("At every 15th minute past every hour on Monday through Friday; "
            "the minute is chosen by the schedule's name (UTC)"),
        ),
        (
            cron("H(0-29)/10 H(0-5) H JAN *"),
            ("At every 10th minute of 0-29 past an hour of 0-5 on a day of month of 1-28 in January; "
            "the minute, the hour and the day of month are chosen by the schedule's name (UTC)"),
        ),
    ],
)  # fmt: skip
def test_a_rule_without_a_name_is_explained_in_words(rule, words):
    assert rule.explain() == words


def test_what_a_name_chooses_can_be_cautioned_against():
    rule = cron("H H(2-3) * * *", tz=RIGA)
    assert rule.cautions() == []
    assert len(rule.named("settle").cautions()) == 1


@pytest.mark.parametrize(
    "text", ["H(", "H()", "H(60)", "H(9-3)", "H/0", "H/", "H-5", "HH", "H(0-9)5", "1-H", "H(*/0)", "H(H)"]
)
def test_what_cannot_be_read_is_refused(text):
    with pytest.raises(ScheduleError, match="minute='"):
        cron(f"{text} * * * *")


@pytest.mark.parametrize("name", ["", None, 5])
def test_a_name_is_a_text(name):
    for rule in (cron("H * * * *"), every(timedelta(hours=1))):
        with pytest.raises(ScheduleError, match="must be the name of a schedule"):
            rule.named(name)


def test_what_no_date_can_be_is_refused_when_it_is_named():
    with pytest.raises(ScheduleError, match="no date has"):
        cron("0 0 H(30-31) 2 *").named("settle")
