"""The days when clocks are changed, as pairs of wall clock and UTC that were written down by hand."""

from __future__ import annotations

import warnings
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from celery.schedules import crontab
from hypothesis import given, settings
from hypothesis import strategies as st

from steadybeat.errors import ScheduleError, ScheduleWarning
from steadybeat.schedule import any_of, as_rule, cron, from_json, window
from steadybeat.schedule.zones import changes, reading

quick = settings(deadline=None, derandomize=True, database=None, max_examples=40)
NEW_YORK, RIGA, LONDON, KOLKATA = "America/New_York", "Europe/Riga", "Europe/London", "Asia/Kolkata"
LORD_HOWE, APIA, SAO_PAULO = "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo"
CASABLANCA = "Africa/Casablanca"
DST = ("once", "skip", "twice")
MINUTE = timedelta(minutes=1)


def at(text: str, tz: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(tz))


def utc_times(fires) -> list[str]:
    return [fire.strftime("%d %H:%M") for fire in fires]


@pytest.mark.parametrize(
    ("expression", "tz", "start", "end", "once", "skip", "twice"),
    [  # days are those of the zone, what is expected is UTC
        # New York, 8 March 2026: 02:00 -05:00 becomes 03:00 -04:00; 1 November: 02:00 -04:00 becomes 01:00 -05:00
        ("30 2 * * *", NEW_YORK, "2026-03-08", "2026-03-10", ["08 07:00", "09 06:30"], ["09 06:30"], None),
        ("30 2,3 * * *", NEW_YORK, "2026-03-08", "2026-03-09", ["08 07:00", "08 07:30"], ["08 07:30"], None),
        ("0 2,3 * * *", NEW_YORK, "2026-03-08", "2026-03-09", ["08 07:00"], ["08 07:00"], None),
        ("30 1 * * *", NEW_YORK, "2026-11-01", "2026-11-02", ["01 05:30"], None, ["01 05:30", "01 06:30"]),
        ("0 1,2 * * *", NEW_YORK, "2026-11-01", "2026-11-02", ["01 05:00", "01 07:00"], None,
         ["01 05:00", "01 06:00", "01 07:00"]),
        # Riga, 29 March 2026: 03:00 +02:00 becomes 04:00 +03:00; 25 October: 04:00 +03:00 becomes 03:00 +02:00
        ("15 3 * * *", RIGA, "2026-03-29", "2026-03-30", ["29 01:00"], [], None),
        ("15 3 * * *", RIGA, "2026-10-25", "2026-10-26", ["25 00:15"], None, ["25 00:15", "25 01:15"]),
        ("0 2 * * *", RIGA, "2026-10-25", "2026-10-26", ["24 23:00"], None, None),
        # London, 29 March 2026: 01:00 +00:00 becomes 02:00 +01:00; 25 October: 02:00 +01:00 becomes 01:00 +00:00
        ("30 1 * * *", LONDON, "2026-03-29", "2026-03-30", ["29 01:00"], [], None),
        ("30 1 * * *", LONDON, "2026-10-25", "2026-10-26", ["25 00:30"], None, ["25 00:30", "25 01:30"]),
        ("0 2 * * *", LONDON, "2026-10-25", "2026-10-26", ["25 02:00"], None, None),
        # Lord Howe, 5 October 2025: 02:00 +10:30 becomes 02:30 +11:00; 5 April 2026: 02:00 +11:00 becomes 01:30 +10:30
        ("15 2 * * *", LORD_HOWE, "2025-10-05", "2025-10-06", ["04 15:30"], [], None),
        ("45 1 * * *", LORD_HOWE, "2026-04-05", "2026-04-06", ["04 14:45"], None, ["04 14:45", "04 15:15"]),
        ("15 1 * * *", LORD_HOWE, "2026-04-05", "2026-04-06", ["04 14:15"], None, None),
        # Sao Paulo, 4 November 2018: 00:00 -03:00 becomes 01:00 -02:00; 18 February: 00:00 -02:00 becomes 23:00 -03:00
        ("0 0 * * *", SAO_PAULO, "2018-11-03T12:00", "2018-11-05T12:00", ["04 03:00", "05 02:00"], ["05 02:00"], None),
        ("30 23 * * *", SAO_PAULO, "2018-02-17", "2018-02-18T12:00", ["18 01:30"], None, ["18 01:30", "18 02:30"]),
        # Apia had no 30 December 2011, -10:00 before and +14:00 after: a correction, whatever is said
        ("0 6 * * *", APIA, "2011-12-29", "2012-01-01", ["29 16:00", "30 16:00"], None, None),
        # Casablanca, 15 February 2026: 03:00 +01:00 becomes 02:00 +00:00; 22 March: 02:00 +00:00 becomes 03:00 +01:00
        ("30 2 * * *", CASABLANCA, "2026-02-15", "2026-02-16", ["15 01:30"], None, ["15 01:30", "15 02:30"]),
        ("30 2 * * *", CASABLANCA, "2026-03-22", "2026-03-23", ["22 02:00"], [], None),
        # Kolkata, +05:30, never changes
        ("30 2 * * *", KOLKATA, "2026-03-08", "2026-03-10", ["07 21:00", "08 21:00"], None, None),
        # What follows real time does so whatever is said
        ("*/30 2,3 * * *", NEW_YORK, "2026-03-08", "2026-03-09", ["08 07:00", "08 07:30"], None, None),
        ("30 * * * *", LONDON, "2026-10-25T00:45", "2026-10-25T02:00", ["25 00:30", "25 01:30"], None, None),
    ],
)  # fmt: skip
def test_fixed_times_in_a_gap_or_a_repeated_hour_are_due_as_dst_says(expression, tz, start, end, once, skip, twice):
    expected = {"once": once, "skip": once if skip is None else skip, "twice": once if twice is None else twice}
    found = {dst: utc_times(cron(expression, tz=tz, dst=dst).between(at(start, tz), at(end, tz))) for dst in DST}
    assert found == expected


def by_hand(minutes, hours, tz, start, end, dst):
    """Every instant that a look at the clock once a minute finds; `hours` None is ``*``."""
    zone, fires = ZoneInfo(tz), []
    last = start.astimezone(zone).replace(tzinfo=None)

    def fits(wall):
        return wall.minute in minutes and (hours is None or wall.hour in hours)

    for number in range(1, (end - start) // MINUTE + 1):
        local = (start + number * MINUTE).astimezone(zone)
        wall = local.replace(tzinfo=None, fold=0)
        gap = (wall - last) // MINUTE
        swallowed = hours is not None and 1 < gap < 180 and any(fits(last + n * MINUTE) for n in range(1, gap))
        again = hours is not None and local.fold and dst != "twice"
        if (swallowed and dst != "skip") or (fits(wall) and not again):
            fires.append(start + number * MINUTE)
        last = wall
    return fires


@quick
@given(
    st.sets(st.integers(0, 59), min_size=1, max_size=4),
    st.none() | st.sets(st.integers(0, 4), min_size=1),
    st.sampled_from([
        (NEW_YORK, date(2026, 3, 8)),
        (NEW_YORK, date(2026, 11, 1)),
        (RIGA, date(2026, 3, 29)),
        (RIGA, date(2026, 10, 25)),
        (LONDON, date(2026, 3, 29)),
        (LONDON, date(2026, 10, 25)),
        (LORD_HOWE, date(2025, 10, 5)),
        (LORD_HOWE, date(2026, 4, 5)),
        (SAO_PAULO, date(2018, 11, 4)),
        (SAO_PAULO, date(2018, 2, 18)),
        (APIA, date(2011, 12, 30)),
        (CASABLANCA, date(2026, 2, 15)),
        (CASABLANCA, date(2026, 3, 22)),
        (KOLKATA, date(2026, 3, 8)),
    ]),
    st.sampled_from(DST),
)  # fmt: skip
def test_what_is_due_is_what_a_look_at_the_clock_every_minute_finds(minutes, hours, place, dst):
    tz, day = place
    start = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(tz)).astimezone(UTC) - timedelta(hours=3)
    end = start + timedelta(hours=12)
    texts = [",".join(map(str, sorted(each))) if each else "*" for each in (minutes, hours)]
    rule = cron(f"{texts[0]} {texts[1]} * * *", tz=tz, dst=dst)
    assert list(rule.between(start, end)) == by_hand(minutes, hours, tz, start, end, dst)


def test_what_dst_says_is_part_of_the_rule():
    rule = cron("30 2 * * *", tz=NEW_YORK, dst="twice")
    assert repr(rule) == "cron('30 2 * * *', tz='America/New_York', dst='twice')"
    assert rule.to_json() == {"type": "cron", "expression": "30 2 * * *", "tz": NEW_YORK, "dst": "twice"}
    assert rule != cron("30 2 * * *", tz=NEW_YORK, dst="once")
    assert rule.explain() == "At 02:30 every day (America/New_York), twice where the clocks repeat it"
    assert "dst" not in cron("30 4 * * *", tz=NEW_YORK).to_json()


def test_where_a_rule_follows_real_time_dst_means_nothing():
    assert cron("*/15 2 * * *", tz=RIGA, dst="skip") == cron("*/15 2 * * *", tz=RIGA)
    assert cron("0 * * * *", tz=RIGA, dst="twice") == cron("0 * * * *", tz=RIGA)


@pytest.mark.parametrize(
    ("expression", "tz", "time"),
    [
        ("30 2 * * *", NEW_YORK, "02:30"),
        ("0 1 * * *", NEW_YORK, "01:00"),
        ("59 2 1 1 *", RIGA, "02:59"),
        ("0 3 * * *", RIGA, "03:00"),
        ("59 3 * * *", RIGA, "03:59"),
        ("0,30 0-6/3 * * *", RIGA, "03:00"),
        ("H 2 * * *", LONDON, "02:00"),
    ],
)
def test_a_fixed_time_at_which_clocks_are_changed_warns_at_the_line_that_wrote_it(expression, tz, time):
    with pytest.warns(ScheduleWarning, match=f"{time} lies in the hours in which clocks are changed") as caught:
        rule = cron(expression, tz=tz)
    assert [each.filename for each in caught] == [__file__]
    assert rule.cautions() == [str(caught[0].message)]
    assert "dst='once'" in rule.cautions()[0]
    assert any_of(rule, rule.starting(at("2026-01-01"))).cautions() == rule.cautions() * 2
    assert cron("0 6 * * *").excluding(window(rule, MINUTE)).cautions() == rule.cautions()


@pytest.mark.parametrize(
    ("expression", "tz", "dst"),
    [
        ("30 2 * * *", NEW_YORK, "once"),
        ("0 3 * * *", NEW_YORK, None),  # where the gap ends
        ("59 0 * * *", NEW_YORK, None),
        ("0 4 * * *", RIGA, None),
        ("*/5 2 * * *", RIGA, None),
        ("30 * * * *", RIGA, None),
        ("H H * * *", RIGA, None),  # the name decides
        ("30 2 * * *", "UTC", None),
        ("30 2 * * *", KOLKATA, None),
        ("30 2 * * *", SAO_PAULO, None),  # not since 2019
        ("30 2 * * *", APIA, None),  # not since 2021
    ],
)
def test_no_other_time_warns(expression, tz, dst):
    assert cron(expression, tz=tz, dst=dst).cautions() == []


def test_what_is_stored_or_comes_from_celery_does_not_warn_but_can_be_asked():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rule = as_rule(crontab("30", "2"), tz=NEW_YORK)
        assert from_json(rule.to_json()) == rule
    assert len(rule.cautions()) == 1


def test_what_dst_cannot_say_is_refused():
    with pytest.raises(ScheduleError) as caught:
        cron("30 2 * * *", tz=RIGA, dst="skipped")
    assert str(caught.value) == "dst='skipped': must be one of once, skip, twice, or left out. Did you mean 'skip'?"


@pytest.mark.parametrize("tz", [NEW_YORK, LORD_HOWE, SAO_PAULO, "America/Recife", "Asia/Gaza", "Africa/Casablanca"])
@pytest.mark.parametrize("year", [1995, 2000, 2018, 2026])
def test_the_changes_of_a_year_are_those_that_a_look_every_half_hour_finds(tz, year):
    zone, begin = ZoneInfo(tz), datetime(year, 1, 1, tzinfo=UTC)
    looks = [begin + timedelta(minutes=30 * number) for number in range(48 * 365)]
    offsets = [look.astimezone(zone).utcoffset() for look in looks]
    expected = [
        (look, before, after)
        for look, before, after in zip(looks[1:], offsets, offsets[1:], strict=False)
        if before != after
    ]
    assert list(changes(tz, year)) == expected


@pytest.mark.parametrize(
    ("tz", "wall", "last", "instant"),
    [
        (RIGA, "2026-01-15T12:00", False, "2026-01-15T10:00"),
        (RIGA, "2026-03-29T03:30", False, "2026-03-29T01:00"),  # skipped: the change
        (RIGA, "2026-03-29T03:30", True, "2026-03-29T01:00"),
        (RIGA, "2026-10-25T03:30", False, "2026-10-25T00:30"),  # shown twice
        (RIGA, "2026-10-25T03:30", True, "2026-10-25T01:30"),
        (APIA, "2011-12-30T12:00", False, "2011-12-30T10:00"),
        ("+02:00", "2026-03-29T03:30", False, "2026-03-29T01:30"),
    ],
)
def test_a_reading_of_a_clock_is_an_instant(tz, wall, last, instant):
    assert reading(tz, datetime.fromisoformat(wall), last=last) == at(instant)
