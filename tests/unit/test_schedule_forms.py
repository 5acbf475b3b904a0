"""The identity of fires, rules in the words of Celery, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from celery.schedules import BaseSchedule, crontab, schedule
from hypothesis import given, settings
from hypothesis import strategies as st

from steadybeat.errors import ConfigurationError, ScheduleError
from steadybeat.schedule import (
    Cron,
    Every,
    as_rule,
    cron,
    every,
    fire_key,
    from_celery,
    from_json,
    jitter,
    new_run_id,
    rrule,
    run_id,
    to_celery,
)

quick = settings(deadline=None, derandomize=True, database=None, max_examples=40)
RIGA = "Europe/Riga"
NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
instants = st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
rules = st.sampled_from([cron("* * * * *"), cron("30 3 * * *", tz=RIGA, dst="once"), cron("0 0 29 2 *")]) | st.builds(
    every, st.timedeltas(timedelta(seconds=1), timedelta(days=500_000))
)


def at(text: str, tz: str = "UTC") -> datetime:
    """The instant of a wall clock; the first one where the clock shows it twice."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(tz))


# Fires


def test_a_fire_key_names_schedule_and_nominal_time_in_utc():
    assert fire_key("settle", at("2026-01-15T06:00", RIGA)) == "settle@2026-01-15T04:00:00Z"
    assert fire_key("a:eu", at("2026-01-15T06:00:00.000001")) == "a:eu@2026-01-15T06:00:00.000001Z"


def test_a_run_id_is_the_same_for_ever():
    assert run_id("settle", at("2026-01-15T06:00")) == "019bc03d-4700-83dc-ae67-c7776f365a56"
    assert run_id("settle", at("2026-01-15T08:00", RIGA)) == run_id("settle", at("2026-01-15T06:00"))


@quick
@given(st.text("az.:@é", min_size=1), instants, instants)
def test_run_ids_are_uuids_that_sort_by_nominal_time(name, one, other):
    first, second = sorted([one, other])
    identity = UUID(run_id(name, first))
    assert (identity.version, identity.variant) == (8, "specified in RFC 4122")
    assert identity.int >> 80 == (first - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    if second - first >= timedelta(milliseconds=1):
        assert run_id(name, first) < run_id(name, second)
    assert (run_id(name, first) == run_id(name, second)) == (first == second)


def test_run_ids_of_other_schedules_differ():
    assert len({run_id(f"s{number}", NOON) for number in range(1000)}) == 1000


def test_the_id_of_a_run_that_is_no_fire_is_a_uuid_of_version_7():
    assert new_run_id(NOON, b"\x00" * 10) == "019bc186-de00-7000-8000-000000000000"
    assert new_run_id(NOON, b"\xff" * 10) == "019bc186-de00-7fff-bfff-ffffffffffff"


@quick
@given(rules, instants, st.timedeltas(timedelta(0), timedelta(days=2)))
def test_jitter_stays_within_its_width_and_before_the_next_fire(rule, start, width):
    nominal = rule.next_after(start)
    if nominal is None:
        return
    due, following = jitter("settle", nominal, width, rule), rule.next_after(nominal)
    assert nominal <= due < nominal + max(width, timedelta(microseconds=1))
    assert following is None or due < following
    assert due == jitter("settle", nominal, width, rule)


def test_jitter_spreads_schedules_over_its_width():
    rule, width = every(timedelta(hours=1)), timedelta(minutes=10)
    seconds = sorted((jitter(f"s{number}", NOON, width, rule) - NOON).total_seconds() for number in range(500))
    assert seconds[0] < 30
    assert 270 < seconds[250] < 330
    assert 570 < seconds[-1] < 600


# Celery's schedules


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (crontab(), cron("* * * * *", tz=RIGA)),
        (crontab(minute=0, hour=6), cron("0 6 * * *", tz=RIGA)),
        (crontab(minute="*/15", hour="9-17"), cron("*/15 9-17 * * *", tz=RIGA)),
        (crontab(minute={30, 0}, hour=[22, 23]), cron("0,30 22,23 * * *", tz=RIGA)),
        (crontab(minute="0, 30", hour="22-2"), Cron("0,30 0,1,2,22,23 * * *", RIGA)),
        (crontab(0, 0, day_of_week="monday,fri"), cron("0 0 * * 1,5", tz=RIGA)),
        (crontab(0, 0, day_of_week="mon", day_of_month="1-31"), cron("0 0 * * MON", tz=RIGA)),
        (crontab(0, 0, day_of_week="mon", day_of_month="*/2"), cron("0 0 */2 * MON", tz=RIGA)),
        (crontab(0, 0, day_of_month="1", month_of_year="jan,jul"), cron("0 0 1 JAN,JUL *", tz=RIGA)),
        (crontab(0, 0, "fri", "13"), cron("0 0 13 * FRI", tz=RIGA, mode="and")),
        (crontab(0, 0, "fri", "1-31"), cron("0 0 * * FRI", tz=RIGA)),
        (crontab(0, 0, "0-6", "13"), cron("0 0 13 * *", tz=RIGA)),
        (crontab(0, 0, "mon-fri", "1-7", "jan"), cron("0 0 1-7 JAN MON-FRI", tz=RIGA, mode="and")),
        (schedule(30), every(timedelta(seconds=30))),
        (schedule(timedelta(minutes=5), relative=True), every(timedelta(minutes=5))),
    ],
)
def test_celerys_schedules_keep_their_meaning(theirs, ours):
    assert from_celery(theirs, RIGA) == as_rule(theirs, RIGA) == ours


@pytest.mark.parametrize(
    ("rule", "theirs"),
    [
        (cron("0 6 * * *"), crontab(minute="0", hour="6")),
        (cron("5/20 * * * SAT-7"), crontab(minute="5,25,45", day_of_week="0,6")),
        (cron("5/20 * * * 5-7"), crontab(minute="5,25,45", day_of_week="0,5,6")),
        (cron("*/15 9-17 * JAN MON-FRI"), crontab("*/15", "9-17", "MON-FRI", "*", "JAN")),
        (cron("0 0 */2 * MON"), crontab("0", "0", "MON", "*/2")),
        (cron("0 0 L * *"), None),
        (cron("0 0 LW * *"), None),
        (cron("0 0 * * 5L"), None),
        (cron("0 0 * * 5#2"), None),
        (cron("0 0 13 * FRI"), None),
        (cron("0 0 13 * FRI", mode="and"), crontab("0", "0", "FRI", "13")),
        (rrule("FREQ=DAILY", dtstart=NOON), None),
        (cron("0 6 * * *", tz=RIGA), None),
        (every(timedelta(seconds=30)), schedule(30)),
    ],
)
def test_rules_are_shown_to_redbeats_tools_where_celery_has_words_for_them(rule, theirs):
    assert to_celery(rule) == theirs


@quick
@given(st.sampled_from(["*", "13", "1-7", "*/2", "1-31"]), st.sampled_from(["*", "fri", "mon-fri", "*/3", "0-6"]))
def test_a_crontab_is_due_on_the_days_on_which_celery_says(day, weekday):
    theirs = crontab(0, 0, weekday, day)
    days = [fire.date() for fire in from_celery(theirs, "UTC").between(at("2025-12-31"), at("2026-12-31"))]
    every_day = [at("2026-01-01").date() + timedelta(days=number) for number in range(365)]
    assert days == [
        each for each in every_day if each.day in theirs.day_of_month and each.isoweekday() % 7 in theirs.day_of_week
    ]


def test_a_crontab_is_in_the_time_zone_of_the_app():
    assert to_celery(cron("0 6 * * *", tz=RIGA), tz=RIGA) == crontab("0", "6")


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (timedelta(seconds=30), every(timedelta(seconds=30))),
        (30, every(timedelta(seconds=30))),
        (1.5, every(timedelta(seconds=1.5))),
        (Every(timedelta(seconds=9), NOON), every(timedelta(seconds=9), anchor=NOON)),
    ],
)
def test_a_schedule_may_be_written_as(value, rule):
    assert as_rule(value) == rule


# What is refused


class Lunar(BaseSchedule):
    def __repr__(self):
        return "<full moon>"


class solar(BaseSchedule):
    """Celery's own needs a package to be made."""

    def __repr__(self):
        return "<sunset>"


class clocked(BaseSchedule):
    """As django-celery-beat has one."""

    def __repr__(self):
        return "<once>"


NAIVE = datetime(2026, 1, 15, 12)
DAILY = cron("@daily")
NO_ZONE = "=datetime.datetime(2026, 1, 15, 12, 0): has no time zone; write datetime(…, tzinfo=timezone.utc)."
KINDS = "type must be 'cron', 'every', 'once', 'rrule', 'any_of', 'excluding', 'limited', 'starting' or 'until'."
FORMS = "also as *, 1,5, 1-5 or */5."


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cron("60 * * * *"), f"minute='60': not allowed in cron('60 * * * *'); write 0-59, {FORMS}"),
        (lambda: cron("* 24 * * *"), f"hour='24': not allowed in cron('* 24 * * *'); write 0-23, {FORMS}"),
        (
            lambda: cron("* * 0 * *"),
            f"day of month='0': not allowed in cron('* * 0 * *'); write 1-31, L (last day), LW (last weekday), {FORMS}",
        ),
        (lambda: cron("* * * jam *"), f"month='JAM': not allowed in cron('* * * jam *'); write 1-12, JAN-DEC, {FORMS}"),
        (
            lambda: cron("* * * * 8"),
            (
                "day of week='8': not allowed in cron('* * * * 8'); write 0-7, SUN-SAT, 5L (last Friday), "
                f"5#2 (second Friday), {FORMS}"
            ),
        ),
        (lambda: cron("*/0 * * * *"), f"minute='*/0': not allowed in cron('*/0 * * * *'); write 0-59, {FORMS}"),
        (
            lambda: cron("0 6 * *"),
            (
                "expression='0 6 * *': has 4 fields instead of five: minute, hour, day of month, month, day of week. "
                "For seconds write every(timedelta(seconds=…))."
            ),
        ),
        (
            lambda: cron("0 0 30 2 *"),
            (
                "expression='0 0 30 2 *': no date has day of month '30', month '2' and day of week '*'; "
                "write one that exists (L is the last day of a month)."
            ),
        ),
        (
            lambda: cron("0 0 */30 2 MON#5"),
            (
                "expression='0 0 */30 2 MON#5': no date has day of month '*/30', month '2' and day of week 'MON#5'; "
                "write one that exists (L is the last day of a month)."
            ),
        ),
        (lambda: cron("@dayly"), "expression='@dayly': there is no such short form. Did you mean '@daily'?"),
        (
            lambda: cron("@reboot"),
            (
                "expression='@reboot': there is no such short form. Write one of @hourly, @daily, @midnight, @weekly, "
                "@monthly, @yearly, @annually."
            ),
        ),
        (lambda: cron(5), "expression=5: must be a text such as '0 6 * * *'."),
        (
            lambda: cron("@daily", tz="Europe/Rga"),
            "tz='Europe/Rga': there is no such time zone. Did you mean 'Europe/Riga'?",
        ),
        (
            lambda: cron("@daily", tz="../etc"),
            "tz='../etc': there is no such time zone. Write one such as 'Europe/Riga' or 'UTC'.",
        ),
        (
            lambda: cron("@daily", tz=None),
            "tz=None: must be the name of a time zone, such as 'Europe/Riga', or a ZoneInfo.",
        ),
        *(
            (
                lambda value=value: every(value),
                f"interval={value!r}: must be a timedelta of one second or more, such as timedelta(seconds=5).",
            )
            for value in (5, timedelta(0), timedelta(seconds=-5), timedelta(seconds=0.999999))
        ),
        (lambda: every(timedelta(1), anchor=NAIVE), f"anchor{NO_ZONE}"),
        (lambda: DAILY.next_after(NAIVE), f"instant{NO_ZONE}"),
        (lambda: DAILY.next_after(5), "instant=5: must be a datetime with a time zone."),
        (lambda: DAILY.between(NAIVE, NOON), f"start{NO_ZONE}"),
        (lambda: DAILY.between(NOON, NAIVE), f"end{NO_ZONE}"),
        (lambda: fire_key("settle", NAIVE), f"scheduled_for{NO_ZONE}"),
        (lambda: run_id("", NOON), "schedule_name='': must be the name of a schedule."),
        (
            lambda: run_id("s", at("1969-12-31")),
            "scheduled_for=" + repr(at("1969-12-31")) + ": must not be before 1970.",
        ),
        (lambda: new_run_id(NAIVE, bytes(10)), f"now{NO_ZONE}"),
        (lambda: new_run_id(NOON, b"x"), "entropy=b'x': must be 10 bytes, such as os.urandom(10)."),
        (
            lambda: jitter("s", NOON, timedelta(-1), DAILY),
            "jitter=datetime.timedelta(days=-1): must be a timedelta of zero or more, such as timedelta(minutes=1).",
        ),
        (lambda: from_json([]), f"rule=[]: {KINDS}"),
        (lambda: from_json({"type": "corn"}), f"rule={{'type': 'corn'}}: {KINDS}"),
        (lambda: from_json({"type": "every"}), "rule={'type': 'every'}: 'seconds' is missing."),
        (
            lambda: from_json({"type": "every", "seconds": 5, "ancor": None}),
            "rule={'type': 'every', 'seconds': 5, 'ancor': None}: 'ancor' is not known. Did you mean 'anchor'?",
        ),
        (
            lambda: from_json({"type": "every", "seconds": "5"}),
            (
                "rule={'type': 'every', 'seconds': '5'}: seconds must be a number, anchor null or a time such as "
                "'2026-01-01T00:00:00Z'."
            ),
        ),
        (
            lambda: as_rule("0 6 * * *"),
            (
                "schedule='0 6 * * *': a str is no schedule; "
                "write cron(…), every(…), once(…), rrule(…), a timedelta or a number of seconds."
            ),
        ),
        (
            lambda: as_rule(True),
            (
                "schedule=True: a bool is no schedule; "
                "write cron(…), every(…), once(…), rrule(…), a timedelta or a number of seconds."
            ),
        ),
        (lambda: as_rule(float("inf")), "schedule=inf: must be a number of seconds, one or more."),
        *(
            (
                lambda value=value: as_rule(value),
                f"schedule={value!r}: must be one second or more; for more often, let every run do several rounds.",
            )
            for value in (timedelta(seconds=0.5), schedule(0.25), timedelta(0))
        ),
        (
            lambda: cron("0 0 13 * FRI", mode="an"),
            "mode='an': must be one of or, and. Did you mean 'and'?",
        ),
        (
            lambda: cron("0 0 31 2 MON", mode="and"),
            (
                "expression='0 0 31 2 MON': no date has day of month '31', month '2' and day of week 'MON'; "
                "write one that exists (L is the last day of a month)."
            ),
        ),
        (
            lambda: as_rule(Lunar()),
            (
                "schedule=<full moon>: a Lunar is not supported: nobody can tell its times but its own code; "
                "write cron(…), every(…) or rrule(…)."
            ),
        ),
        (
            lambda: as_rule(solar()),
            (
                "schedule=<sunset>: a solar is not supported: the sun keeps no rule of the clock, and Celery finds "
                "its times by asking what time it is now; write every(timedelta(minutes=5)) and let the task look "
                "whether it is time."
            ),
        ),
        (
            lambda: as_rule(clocked()),
            (
                "schedule=<once>: a clocked is not supported: it has no clocked_time; "
                "write once(datetime(…, tzinfo=timezone.utc))."
            ),
        ),
    ],
)
def test_what_is_refused_is_named_with_its_value_and_the_way_out(call, message):
    with pytest.raises(ScheduleError) as caught:
        call()
    assert str(caught.value) == message
    assert "\n" not in message
    assert isinstance(caught.value, ConfigurationError)
    assert caught.value.name == message.partition("=")[0]
