"""Rules that are joined and narrowed: how they are written, and what is refused."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

import steadybeat
from steadybeat import schedule
from steadybeat.errors import ScheduleError
from steadybeat.schedule import any_of, as_rule, cron, every, from_json, once, window

RIGA, NEW_YORK = "Europe/Riga", "America/New_York"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
MAKERS = ("any_of", "cron", "every", "once", "rrule", "window")
NAMES = {
    **{name: getattr(schedule, name) for name in MAKERS},
    "date": date,
    "datetime": datetime,
    "timedelta": timedelta,
    "timezone": timezone,
    "ZoneInfo": ZoneInfo,
}


def at(text: str, tz: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(tz))


# Rules as values


RULE = cron("0 6 * * *", tz=RIGA)


@pytest.mark.parametrize(
    ("rule", "text", "data", "words"),
    [
        (
            once(at("2026-06-01T09:00", RIGA)),
            "once(datetime(2026, 6, 1, 6, 0, tzinfo=timezone.utc))",
            {"type": "once", "at": "2026-06-01T06:00:00Z"},
            "Once, at 2026-06-01T06:00:00Z",
        ),
        (
            any_of(RULE, any_of(every(HOUR), RULE)),
            "any_of(cron('0 6 * * *', tz='Europe/Riga'), every(timedelta(seconds=3600)))",
            {"type": "any_of", "rules": [RULE.to_json(), every(HOUR).to_json()]},
            "At 06:00 every day (Europe/Riga); or every hour",
        ),
        (
            any_of(RULE, every(HOUR)).starting(NOON),
            (
                "any_of(cron('0 6 * * *', tz='Europe/Riga'), every(timedelta(seconds=3600)))"
                ".starting(datetime(2026, 1, 15, 12, 0, tzinfo=timezone.utc))"
            ),
            {"type": "starting", "rule": any_of(RULE, every(HOUR)).to_json(), "at": "2026-01-15T12:00:00Z"},
            "(At 06:00 every day (Europe/Riga); or every hour), from 2026-01-15T12:00:00Z on",
        ),
        (
            RULE.until(NOON),
            "cron('0 6 * * *', tz='Europe/Riga').until(datetime(2026, 1, 15, 12, 0, tzinfo=timezone.utc))",
            {"type": "until", "rule": RULE.to_json(), "at": "2026-01-15T12:00:00Z"},
            "At 06:00 every day (Europe/Riga), until 2026-01-15T12:00:00Z",
        ),
        (
            once(NOON).limited(3),
            "once(datetime(2026, 1, 15, 12, 0, tzinfo=timezone.utc)).limited(3)",
            {"type": "limited", "rule": once(NOON).to_json(), "count": 3},
            "Once, at 2026-01-15T12:00:00Z, the first 3 times only",
        ),
        (
            RULE.excluding(window("sat 9:00", "SUN  04:00", tz=NEW_YORK), date(2026, 12, 25), every(HOUR * 7)),
            (
                "cron('0 6 * * *', tz='Europe/Riga').excluding(date(2026, 12, 25), "
                "window('SAT 09:00', 'SUN 04:00', tz='America/New_York'), every(timedelta(seconds=25200)), "
                "tz='Europe/Riga')"
            ),
            {
                "type": "excluding",
                "rule": RULE.to_json(),
                "what": [
                    {"type": "dates", "dates": ["2026-12-25"], "tz": RIGA},
                    {"type": "window", "begin": "SAT 09:00", "end": "SUN 04:00", "tz": NEW_YORK},
                    every(HOUR * 7).to_json(),
                ],
            },
            (
                "At 06:00 every day (Europe/Riga), but not on 2026-12-25 (Europe/Riga), and not between SAT 09:00 and "
                "SUN 04:00 (America/New_York), and not when: every 7 hours"
            ),
        ),
        (
            RULE.excluding(window(NOON, NOON + DAY), window(every(DAY), HOUR)),
            (
                "cron('0 6 * * *', tz='Europe/Riga').excluding("
                "window(datetime(2026, 1, 15, 12, 0, tzinfo=timezone.utc), "
                "datetime(2026, 1, 16, 12, 0, tzinfo=timezone.utc)), "
                "window(every(timedelta(days=1)), timedelta(seconds=3600)))"
            ),
            {
                "type": "excluding",
                "rule": RULE.to_json(),
                "what": [
                    {"type": "period", "begin": "2026-01-15T12:00:00Z", "end": "2026-01-16T12:00:00Z"},
                    {"type": "following", "rule": every(DAY).to_json(), "microseconds": 3_600_000_000},
                ],
            },
            (
                "At 06:00 every day (Europe/Riga), but not between 2026-01-15T12:00:00Z and 2026-01-16T12:00:00Z, "
                "and not for 1 hour from: every day"
            ),
        ),
    ],
)
def test_a_narrowed_rule_is_written_as(rule, text, data, words):
    assert (repr(rule), rule.to_json(), rule.explain()) == (text, data, words)


def test_a_calendar_of_many_dates_is_explained_by_their_number():
    days = [date(2026, 1, 1) + number * DAY for number in range(5)]
    assert RULE.excluding(days).explain().endswith("but not on 5 dates from 2026-01-01 to 2026-01-05 (Europe/Riga)")


def test_rules_are_frozen_and_have_no_dict():
    narrowed = RULE.starting(NOON)
    with pytest.raises(AttributeError):
        narrowed.at = NOON
    assert not hasattr(narrowed, "__dict__")
    assert not hasattr(any_of(RULE, narrowed), "__dict__")


def test_a_datetime_as_a_schedule_is_due_once():
    assert as_rule(at("2026-06-01T09:00", RIGA)) == once(at("2026-06-01T06:00"))


class clocked:
    """As django-celery-beat has one."""

    clocked_time = NOON


def test_what_django_celery_beat_has_for_one_shots_is_due_once():
    assert schedule.from_celery(clocked(), "UTC") == once(NOON)


def test_the_front_door_has_every_maker_of_rules():
    assert {*MAKERS} <= {*steadybeat.__all__}
    assert steadybeat.once is once


def examples() -> list[str]:
    """What the package's docstring says can be written."""
    block = (schedule.__doc__ or "").rpartition("\n\n")[2]
    return [re.split(r" {2,}(?=[a-z0-9])", line.strip())[0] for line in block.strip().splitlines()]


class holidays:
    """As the package of that name has one: a dict of dates."""

    @staticmethod
    def LV(years):
        return {date(year, 11, 18): "Proclamation Day" for year in years}


@pytest.mark.parametrize("text", examples())
def test_what_the_docstring_shows_can_be_written(text):
    rule = eval(text, {**NAMES, "holidays": holidays})
    assert rule.named("settle").next_after(at("2026-01-01")) is not None


# What is refused


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: once(datetime(2026, 1, 1)), "at=datetime.datetime(2026, 1, 1, 0, 0): has no time zone; write"),
        (lambda: once(date(2026, 1, 1)), "at=datetime.date(2026, 1, 1): must be a datetime with a time zone."),
        (any_of, "rules=(): there is none; write any_of(cron("),
        (lambda: any_of(RULE, "0 6 * * *"), "rules='0 6 * * *': is no rule; write cron(…)"),
        (lambda: RULE.starting(datetime(2026, 1, 1)), "at=datetime.datetime(2026, 1, 1, 0, 0): has no time zone"),
        (lambda: once(NOON).starting(NOON + DAY), "is not due from then on; write an earlier time."),
        (lambda: once(NOON).until(NOON - DAY), "is not due from 2026-01-15T12:00:00Z until then; write a later time."),
        (lambda: RULE.starting(NOON).until(NOON), "is not due from 2026-01-15T12:00:00Z until then"),
        (lambda: RULE.until(at("1969-01-01")), "is not due from 1970-01-01T00:00:00Z until then"),
        (
            lambda: RULE.limited(3),
            ("count=3: cron('0 6 * * *', tz='Europe/Riga') has no beginning to count from; "
            "write .starting(datetime(…, tzinfo=timezone.utc)).limited(3)."),
        ),
        (lambda: any_of(once(NOON), RULE).limited(3), "has no beginning to count from"),
        (lambda: once(NOON).limited(0), "count=0: must be a number from 1 to 1000000; for more write until(…)."),
        (lambda: once(NOON).limited(True), "count=True: must be a number"),
        (RULE.excluding, "what=(): there is nothing to leave out; write a date"),
        (lambda: RULE.excluding([]), "what=[]: has no dates; a calendar that is computed must be given its years"),
        (lambda: RULE.excluding("2026-12-25"), "what='2026-12-25': cannot be left out; write date(2026, 12, 25)"),
        (lambda: RULE.excluding(["2026-12-25"]), "what='2026-12-25': is no date; write date(2026, 12, 25)"),
        (lambda: RULE.excluding(NOON), "is an instant; write date(2026, 12, 25)"),
        (lambda: RULE.excluding(5), "what=5: cannot be left out"),
        (lambda: RULE.excluding(date(2026, 1, 1), tz="Europe/Rga"), "tz='Europe/Rga': there is no such time zone."),
        (
            lambda: any_of(RULE, cron("@daily")).excluding(date(2026, 1, 1)),
            "tz=None: the rule goes by the clocks of Europe/Riga and UTC; say whose dates are meant.",
        ),
        (lambda: RULE.excluding(RULE), "nothing is left of cron('0 6 * * *', tz='Europe/Riga'); leave out less."),
        (lambda: RULE.excluding(every(timedelta(seconds=1))), "nothing is left of"),
        (lambda: RULE.excluding(window("00:00", "24:00")), "nothing is left of"),
        (lambda: once(NOON).excluding(date(2026, 1, 15)), "nothing is left of once("),
        (lambda: window("22:00", "SUN 04:00"), "end='SUN 04:00': a day of the week must stand in both or in none"),
        (lambda: window("25:00", "04:00"), "begin='25:00': must be a time such as '22:00', or 'SAT 22:00'"),
        (lambda: window("SAT 22:00", "24:30"), "end='24:30': must be a time such as"),
        (lambda: window("22:00", "22:00"), "end='22:00': is the begin of the window as well"),
        (lambda: window(NOON, NOON), "must be after the begin of the window."),
        (lambda: window(NOON, HOUR), "must be an instant, as the begin of the window is one."),
        (lambda: window(RULE, timedelta(0)), "must be longer than zero and shorter than 1000 days"),
        (lambda: window(RULE, "04:00"), "does not go with end='04:00'; write window('SAT 22:00', 'SUN 04:00', tz=…)"),
        (lambda: window(RULE, HOUR, tz=RIGA), "tz='Europe/Riga': is only for a window on the wall clock"),
        (lambda: window("22:00", "04:00", tz="Mars"), "tz='Mars': there is no such time zone."),
        (lambda: from_json({"type": "once"}), "'at' is missing."),
        (lambda: from_json({"type": "once", "at": "noon"}), "at must be a time such as '2026-01-01T00:00:00Z'."),
        (lambda: from_json({"type": "any_of", "rules": 5}), "rules must be a list of rules."),
        (lambda: from_json({"type": "any_of", "rules": [{"type": "dates"}]}), "rule={'type': 'dates'}: "),
        (lambda: from_json({"type": "window", "begin": "1:00", "end": "2:00", "tz": "UTC"}), "type must be 'cron'"),
        (
            lambda: from_json({"type": "starting", "rule": {"type": "corn"}, "at": "2026-01-01T00:00:00Z"}),
            "rule={'type': 'corn'}: type must be 'cron'",
        ),
        (lambda: from_json({"type": "excluding", "rule": RULE.to_json(), "what": []}), "what must be a list of"),
        (
            lambda: from_json({
                "type": "excluding", "rule": RULE.to_json(), "what": [{"type": "dates", "dates": [], "tz": "UTC"}]
            }),
            "dates must be a list of dates such as '2026-12-25'.",
        ),
        (lambda: from_json({"type": "cron", "expression": {1}, "tz": "UTC"}), "is no JSON ("),
    ],
)  # fmt: skip
def test_what_is_refused_is_named_with_its_value_and_the_way_out(call, message):
    with pytest.raises(ScheduleError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.name == str(caught.value).partition("=")[0]
