"""Recurrence rules of RFC 5545, against clocks that are written down, and as RedBeat stores them."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import FR, rrulestr
from hypothesis import given, settings
from hypothesis import strategies as st
from redbeat.decoder import RedBeatJSONDecoder, RedBeatJSONEncoder
from redbeat.schedules import rrule as redbeats_rrule

from steadybeat.errors import ScheduleError
from steadybeat.schedule import as_rule, from_json, rrule

quick = settings(deadline=None, derandomize=True, database=None, max_examples=40)
NEW_YORK, RIGA, SAO_PAULO = "America/New_York", "Europe/Riga", "America/Sao_Paulo"
MONDAY = datetime(2026, 1, 5, 6, tzinfo=UTC)
PLUS_TWO = timezone(timedelta(hours=2))


def at(text: str, tz: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(tz))


def utc_times(fires) -> list[str]:
    return [fire.strftime("%m-%d %H:%M") for fire in fires]


def first(rule, start=None, count=4) -> list[str]:
    return utc_times(islice(rule.between(start or MONDAY - timedelta(days=1), datetime.max.replace(tzinfo=UTC)), count))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FREQ=WEEKLY", ["01-05 06:00", "01-12 06:00", "01-19 06:00", "01-26 06:00"]),
        ("freq=weekly;interval=2;byday=mo,we", ["01-05 06:00", "01-07 06:00", "01-19 06:00", "01-21 06:00"]),
        ("RRULE:FREQ=MONTHLY;BYDAY=2FR", ["01-09 06:00", "02-13 06:00", "03-13 06:00", "04-10 06:00"]),
        ("FREQ=MONTHLY;BYMONTHDAY=-1;COUNT=2", ["01-31 06:00", "02-28 06:00"]),
        ("FREQ=DAILY;UNTIL=20260107T060000", ["01-05 06:00", "01-06 06:00", "01-07 06:00"]),
        ("FREQ=DAILY;UNTIL=20260107T055959Z", ["01-05 06:00", "01-06 06:00"]),
        ("FREQ=HOURLY;BYHOUR=9,10;BYMINUTE=0,30", ["01-05 09:00", "01-05 09:30", "01-05 10:00", "01-05 10:30"]),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", ["01-30 06:00", "02-27 06:00", "03-31 06:00", "04-30 06:00"]),
        ("FREQ=YEARLY;BYEASTER=1", ["04-06 06:00", "03-29 06:00", "04-17 06:00", "04-02 06:00"]),
    ],
)
def test_a_recurrence_starts_with_its_start_where_that_fits(text, expected):
    assert first(rrule(text, dtstart=MONDAY)) == expected


@pytest.mark.parametrize(
    ("text", "dtstart", "start", "expected"),
    [
        # 8 March 2026, 07:00 UTC: the hour from 02:00 is skipped; its times are taken with the offset before
        ("FREQ=DAILY", at("2026-03-07T02:30", NEW_YORK), None, ["03-07 07:30", "03-08 07:30", "03-09 06:30"]),
        (
            "FREQ=DAILY;BYHOUR=2,3;BYMINUTE=0,30",
            at("2026-03-08T00:00", NEW_YORK),
            None,
            ["03-08 07:00", "03-08 07:30", "03-09 06:00"],
        ),
        # 1 November 2026, 06:00 UTC: the hour from 01:00 is repeated; its times are due the first time
        ("FREQ=DAILY", at("2026-10-31T01:30", NEW_YORK), None, ["10-31 05:30", "11-01 05:30", "11-02 06:30"]),
        ("FREQ=DAILY", at("2026-10-31T01:30", NEW_YORK), at("2026-11-01T06:10"), ["11-02 06:30", "11-03 06:30"]),
        # Riga, UTC+2 and +3: a day on the wall clock; an offset stays what it is
        ("FREQ=WEEKLY", at("2026-03-22T06:00", RIGA), None, ["03-22 04:00", "03-29 03:00", "04-05 03:00"]),
        ("FREQ=WEEKLY", datetime(2026, 3, 22, 6, tzinfo=PLUS_TWO), None, ["03-22 04:00", "03-29 04:00", "04-05 04:00"]),
        # Sao Paulo skipped midnight of 4 November 2018
        ("FREQ=DAILY", at("2018-11-03T00:00", SAO_PAULO), None, ["11-03 03:00", "11-04 03:00", "11-05 02:00"]),
    ],
)
def test_the_days_when_the_clocks_change(text, dtstart, start, expected):
    assert first(rrule(text, dtstart=dtstart), start or dtstart - timedelta(seconds=1), len(expected)) == expected


texts = st.sampled_from([
    "FREQ=YEARLY;BYDAY=20MO",
    "FREQ=MONTHLY;INTERVAL=5",
    "FREQ=WEEKLY;INTERVAL=3;WKST=SU;BYDAY=SU,TU",
    "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,SA;BYSETPOS=-1",
    "FREQ=DAILY;INTERVAL=10;COUNT=50",
    "FREQ=HOURLY;INTERVAL=7",
    "FREQ=HOURLY;INTERVAL=5;BYDAY=FR",
    "FREQ=MINUTELY;INTERVAL=61;BYHOUR=3,4",
    "FREQ=SECONDLY;INTERVAL=100000;UNTIL=20270101T000000",
])  # fmt: skip
starts = st.datetimes(datetime(2015, 1, 1), datetime(2025, 1, 1), timezones=st.just(UTC)).map(
    lambda each: each.replace(microsecond=0)
)


@quick
@given(texts, starts, st.timedeltas(timedelta(0), timedelta(days=900)))
def test_asked_anywhere_a_recurrence_agrees_with_a_walk_from_its_start(text, dtstart, later):
    walk = (fire.replace(tzinfo=UTC) for fire in rrulestr(text, dtstart=dtstart.replace(tzinfo=None)))
    expected = list(islice((fire for fire in walk if fire > dtstart + later), 5))
    fires = list(islice(rrule(text, dtstart=dtstart).between(dtstart + later, datetime.max.replace(tzinfo=UTC)), 5))
    assert fires == expected
    assert all(earlier < after for earlier, after in pairwise(fires))


def test_a_recurrence_of_seconds_is_not_walked_from_years_ago():
    rule = rrule("FREQ=SECONDLY;INTERVAL=7", dtstart=datetime(1990, 1, 1, tzinfo=UTC))
    assert rule.next_after(at("2026-01-05T00:00")) - at("2026-01-05T00:00") <= timedelta(seconds=7)


def test_after_its_last_date_a_recurrence_has_none():
    rule = rrule("FREQ=DAILY;COUNT=3", dtstart=MONDAY)
    assert rule.next_after(at("2026-01-06T06:00")) == at("2026-01-07T06:00")
    assert rule.next_after(at("2026-01-07T06:00")) is None
    assert rrule("FREQ=YEARLY", dtstart=MONDAY).next_after(datetime.max.replace(tzinfo=UTC)) is None


@pytest.mark.parametrize(
    ("rule", "text", "data", "words"),
    [
        (
            rrule("interval=2;FREQ=WEEKLY;byday=mo", dtstart=at("2026-01-05T06:00", RIGA)),
            (
                "rrule('FREQ=WEEKLY;INTERVAL=2;BYDAY=MO', "
                "dtstart=datetime(2026, 1, 5, 6, 0, tzinfo=ZoneInfo(key='Europe/Riga')))"
            ),
            {"type": "rrule", "rule": "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO", "dtstart": "2026-01-05T06:00:00", "tz": RIGA},
            "Every 2 weeks, BYDAY=MO, from 2026-01-05 06:00:00 (Europe/Riga)",
        ),
        (
            rrule("FREQ=DAILY;UNTIL=20260201T000000Z", dtstart=MONDAY.replace(tzinfo=PLUS_TWO, microsecond=5)),
            (
                "rrule('FREQ=DAILY;UNTIL=20260201T020000', "
                "dtstart=datetime(2026, 1, 5, 6, 0, tzinfo=timezone(timedelta(seconds=7200))))"
            ),
            {
                "type": "rrule",
                "rule": "FREQ=DAILY;UNTIL=20260201T020000",
                "dtstart": "2026-01-05T06:00:00",
                "tz": "+02:00",
            },
            "Every day, UNTIL=20260201T020000, from 2026-01-05 06:00:00 (+02:00)",
        ),
        (
            rrule("FREQ=HOURLY", dtstart=MONDAY),
            "rrule('FREQ=HOURLY', dtstart=datetime(2026, 1, 5, 6, 0, tzinfo=timezone.utc))",
            {"type": "rrule", "rule": "FREQ=HOURLY", "dtstart": "2026-01-05T06:00:00", "tz": "UTC"},
            "Every hour, from 2026-01-05 06:00:00 (UTC)",
        ),
        (
            rrule("FREQ=HOURLY", dtstart=MONDAY.replace(tzinfo=timezone(-timedelta(hours=3, minutes=30)))),
            (
                "rrule('FREQ=HOURLY', "
                "dtstart=datetime(2026, 1, 5, 6, 0, tzinfo=timezone(timedelta(days=-1, seconds=73800))))"
            ),
            {"type": "rrule", "rule": "FREQ=HOURLY", "dtstart": "2026-01-05T06:00:00", "tz": "-03:30"},
            "Every hour, from 2026-01-05 06:00:00 (-03:30)",
        ),
    ],
)
def test_a_recurrence_is_a_value_and_is_written_as(rule, text, data, words):
    assert (repr(rule), rule.to_json(), rule.explain()) == (text, data, words)
    names = {"rrule": rrule, "datetime": datetime, "timezone": timezone, "timedelta": timedelta, "ZoneInfo": ZoneInfo}
    for copy in (eval(text, names), from_json(json.loads(json.dumps(data))), pickle.loads(pickle.dumps(rule))):
        assert copy == rule
        assert hash(copy) == hash(rule)
    assert as_rule(rule) is rule


def stored(theirs):
    """What RedBeat gives back of a rule that it wrote into Redis."""
    return json.loads(json.dumps(theirs, cls=RedBeatJSONEncoder), cls=RedBeatJSONDecoder)


@pytest.mark.parametrize(
    ("theirs", "text", "tz"),
    [
        (redbeats_rrule("WEEKLY", dtstart=MONDAY), "FREQ=WEEKLY", "UTC"),
        (redbeats_rrule("monthly", dtstart=MONDAY, byweekday=FR, count=3), "FREQ=MONTHLY;COUNT=3;BYDAY=FR", "UTC"),
        (
            redbeats_rrule("DAILY", dtstart=MONDAY.replace(tzinfo=PLUS_TWO), interval=2, until=at("2026-02-01")),
            "FREQ=DAILY;INTERVAL=2;UNTIL=20260201T020000",
            "+02:00",
        ),
    ],
)
def test_redbeats_rules_keep_their_times_also_from_redis(theirs, text, tz):
    for each in (theirs, stored(theirs)):
        rule = as_rule(each)
        assert (rule.text, rule.tz) == (text, tz)
        assert list(islice(rule.between(MONDAY - timedelta(days=1), at("2027-01-01")), 3)) == list(
            islice(each.rrule, 3)
        )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rrule(5, dtstart=MONDAY), "rule=5: must be a text such as 'FREQ=WEEKLY;BYDAY=MO'."),
        (lambda: rrule("FREQ=DAYLY", dtstart=MONDAY), "rule='FREQ=DAYLY': is no rule of RFC 5545 ("),
        (lambda: rrule("BYDAY=MO", dtstart=MONDAY), "rule='BYDAY=MO': is no rule of RFC 5545 ("),
        (
            lambda: rrule("FREQ=DAILY;COUNT=3;UNTIL=20270101", dtstart=MONDAY),
            "rule='FREQ=DAILY;COUNT=3;UNTIL=20270101': is no rule of RFC 5545 (",
        ),
        (
            lambda: rrule("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", dtstart=MONDAY),
            (
                "rule='FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30': has no date from 2026-01-05 06:00:00 on; "
                "write one that exists."
            ),
        ),
        (
            lambda: rrule("FREQ=DAILY;UNTIL=20260101", dtstart=MONDAY),
            "rule='FREQ=DAILY;UNTIL=20260101T000000': has no date from 2026-01-05 06:00:00 on; write one that exists.",
        ),
        (
            lambda: rrule("FREQ=HOURLY", dtstart=at("2026-01-05", RIGA)),
            (
                "rule='FREQ=HOURLY': repeats within a day, and the hours of Europe/Riga are not all alike; "
                "write dtstart in UTC, or cron('…', tz=…)."
            ),
        ),
        (
            lambda: rrule("FREQ=DAILY", dtstart=datetime(2026, 1, 5)),
            ("dtstart=datetime.datetime(2026, 1, 5, 0, 0): has no time zone; write datetime(…, tzinfo=timezone.utc)."),
        ),
        (
            lambda: from_json({"type": "rrule", "rule": "FREQ=DAILY", "dtstart": "2026-01-05T06:00:00", "tz": "+2"}),
            "tz='+2': must be an offset such as '+02:00', or the name of a time zone.",
        ),
        (
            lambda: from_json({"type": "rrule", "rule": "FREQ=DAILY", "dtstart": 5, "tz": "UTC"}),
            (
                "rule={'type': 'rrule', 'rule': 'FREQ=DAILY', 'dtstart': 5, 'tz': 'UTC'}: "
                "dtstart must be a time such as '2026-01-05T06:00:00'."
            ),
        ),
        (
            lambda: as_rule(redbeats_rrule("DAILY", dtstart=MONDAY.replace(microsecond=1))),
            "it has no dtstart, and would count from the moment at which each program was started; write dtstart=",
        ),
    ],
)
def test_what_is_refused_is_named_with_its_value_and_the_way_out(call, message):
    with pytest.raises(ScheduleError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
