from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from steadybeat import cron, every
from steadybeat.operating.herds import Fullest, Kind, fullest, herds, stretches
from steadybeat.schedule import Rule

NOW = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
NONE = timedelta()


def found(*groups: tuple[str, Rule, int] | tuple[str, Rule, int, timedelta], limit: int = 10) -> list[tuple[str, int]]:
    schedules = {
        f"{name}-{n}": (rule.named(f"{name}-{n}"), rest[0] if rest else NONE)
        for name, rule, number, *rest in groups
        for n in range(number)
    }
    return [(f"{herd.at:%Y-%m-%dT%H:%M:%S}", herd.count) for herd in herds(schedules, limit, NOW)]


def test_as_many_as_are_allowed_are_no_herd() -> None:
    assert found(("a", cron("0 6 * * *"), 10)) == []
    assert found(("a", cron("0 6 * * *"), 11)) == [("2026-11-23T06:00:00", 11)]


def test_different_rules_that_meet_are_counted_together_where_they_meet() -> None:
    weekly, daily = ("weekly", cron("0 6 * * MON"), 6), ("daily", cron("0 6 * * *"), 5)
    assert found(weekly, daily) == [("2026-11-23T06:00:00", 11)]
    assert found(("tuesday", cron("0 6 * * TUE"), 6), ("monday", cron("0 6 * * MON"), 6)) == []


def test_yearly_and_monthly_ones_are_seen_a_year_ahead() -> None:
    yearly, monthly = ("y", cron("0 0 1 7 *"), 6), ("m", cron("0 0 1 * *"), 6)
    assert found(yearly, monthly) == [("2027-07-01T00:00:00", 12)]
    assert found(("auckland", cron("0 0 1 7 *", tz="Pacific/Auckland"), 11)) == [("2027-06-30T12:00:00", 11)]


def test_the_fullest_comes_first_and_the_same_ones_are_named_once() -> None:
    assert found(("minutely", cron("* * * * *"), 11), ("daily", cron("0 6 * * *"), 2)) == [
        ("2026-11-23T06:00:00", 13),
        ("2026-11-22T10:31:00", 11),
    ]


def test_a_jitter_and_h_spread_a_herd() -> None:
    assert found(("a", cron("0 6 * * *"), 100, timedelta(seconds=5))) == [("2026-11-23T06:00:00", 20)]
    assert found(("a", cron("0 6 * * *"), 100, timedelta(minutes=1))) == []
    assert found(("a", cron("H H * * *"), 100)) == []


def test_what_is_due_all_the_time_is_counted_as_well() -> None:
    assert found(("a", every(timedelta(seconds=1)), 11))[0][1] == 11


def test_no_stretch_overlaps_the_next() -> None:
    def gaps(stretched: Sequence[tuple[datetime, datetime]]) -> bool:
        return all(end <= begin for (_, end), (begin, _) in pairwise(stretched))

    for day in range(366):
        assert gaps([*stretches(NOW + timedelta(days=day))])


def ahead(*kinds: tuple[str, Rule, int] | tuple[str, Rule, int, timedelta], most: int = 100_000) -> Fullest:
    asked = [
        Kind(rule=rule, count=number, about=about, jitter=rest[0] if rest else NONE)
        for about, rule, number, *rest in kinds
    ]
    return fullest(asked, NOW, NOW + timedelta(hours=6), most)


def test_the_fullest_second_of_the_next_hours_is_that_of_most_schedules_and_says_whose_they_are() -> None:
    noon = cron("0 12 * * *")
    found = ahead(("mail", noon, 40), ("pay", noon, 60), ("pay", cron("* * * * *"), 5), ("sync", cron("0 11 * * *"), 9))
    assert (found.at, found.count) == (datetime(2026, 11, 22, 12, tzinfo=UTC), 105)
    assert found.by == [("pay", 65), ("mail", 40)]
    assert found.fire_count == 40 + 60 + 6 * 60 * 5 + 9
    assert found.until == NOW + timedelta(hours=6)


def test_of_seconds_that_are_as_full_the_first_is_the_fullest() -> None:
    assert ahead(("a", cron("* * * * *"), 5)).at == NOW + timedelta(minutes=1)


def test_a_herd_that_its_jitter_spreads_is_not_the_fullest() -> None:
    spread = ("mail", cron("0 12 * * *"), 600, timedelta(minutes=5))
    assert ahead(spread, ("pay", cron("0 13 * * *"), 3)).by == [("pay", 3)]
    assert ahead(spread).count == 2


def test_what_lies_beyond_the_hours_that_are_asked_for_is_not_looked_at() -> None:
    found = ahead(("a", cron("0 17 * * *"), 100))
    assert (found.at, found.count, found.fire_count) == (None, 0, 0)


def test_where_too_much_is_due_it_looks_less_far_and_says_how_far() -> None:
    found = ahead(("a", every(timedelta(seconds=1)), 2), ("b", cron("0 12 * * *"), 100), most=600)
    assert found.until == NOW + timedelta(seconds=300)
    assert (found.count, found.by, found.fire_count) == (2, [("a", 2)], 600)
