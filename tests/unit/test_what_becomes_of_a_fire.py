from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from steadybeat.beat.deciding import FREE, LATE, Decision, Standing, decide, due_at
from steadybeat.beat.projection import Definition
from steadybeat.ledger.rows import FireRow, ScheduleRow
from steadybeat.schedule import every
from steadybeat.schedule.policies import CATCH_UP, OVERLAP, policies

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
PERIOD = timedelta(minutes=5)
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
ON_TIME, OUTAGE = timedelta(), timedelta(minutes=7)

BUSY = Standing(under_way=["a run"])
QUEUED = Standing(queued_count=1)
"""A fire waits already; the run that it waited for has just ended."""


def of(row: dict[str, Any] | None = None, period: timedelta = PERIOD, **given: Any) -> Definition:
    facts: dict[str, Any] = {"name": "s", "task": "t", "service": "x", "spec": every(period).to_json()}
    return Definition.of(ScheduleRow(**facts, policies=policies(given).to_json(), **(row or {})))


def fire_at(at: datetime = NOON, **facts: Any) -> FireRow:
    return FireRow(schedule="s", scheduled_for=at, due_at=facts.pop("due_at", at), **facts)


def decided(
    late: timedelta = ON_TIME,
    standing: Standing = FREE,
    *,
    row: dict[str, Any] | None = None,
    fire: FireRow | None = None,
    **given: Any,
) -> Decision:
    fire = fire or fire_at()
    return decide(fire, of(row, **given), fire.due_at + late, standing)


def becomes(*args: Any, **kwargs: Any) -> tuple[str, str | None]:
    found = decided(*args, **kwargs)
    return found.state, found.cause


DISPATCHED = ("dispatched", None)


# Lateness and catch-up


@pytest.mark.parametrize("catch_up", CATCH_UP)
@pytest.mark.parametrize("late", [ON_TIME, 5 * SECOND, LATE])
def test_a_fire_that_a_failover_delays_is_on_time(catch_up: str, late: timedelta) -> None:
    assert becomes(late, catch_up=catch_up, catch_up_window=SECOND, catch_up_limit=1) == DISPATCHED


# Every five minutes, so that seven minutes late one younger fire is due, and seventeen minutes late three.
@pytest.mark.parametrize(
    ("catch_up", "window", "limit", "late", "expected"),
    [
        ("none", 60 * MINUTE, None, LATE + SECOND, ("missed", "catch_up")),
        ("none", 60 * MINUTE, None, 61 * MINUTE, ("missed", "window")),
        ("latest", 60 * MINUTE, None, LATE + SECOND, DISPATCHED),
        ("latest", 60 * MINUTE, None, 5 * MINUTE - SECOND, DISPATCHED),
        ("latest", 60 * MINUTE, None, 5 * MINUTE, ("coalesced", "catch_up")),
        ("latest", 60 * MINUTE, None, 61 * MINUTE, ("missed", "window")),
        ("latest", MINUTE, None, 2 * MINUTE, ("missed", "window")),
        ("latest", 60 * MINUTE, 1, 4 * MINUTE, DISPATCHED),
        ("all", 60 * MINUTE, None, 17 * MINUTE, DISPATCHED),
        ("all", 60 * MINUTE, None, 60 * MINUTE, DISPATCHED),
        ("all", 60 * MINUTE, None, 60 * MINUTE + SECOND, ("missed", "window")),
        ("all", timedelta(), None, LATE + SECOND, ("missed", "window")),
        ("all", timedelta(days=400), None, timedelta(days=399), DISPATCHED),
        ("all", 60 * MINUTE, 1, 5 * MINUTE - SECOND, DISPATCHED),
        ("all", 60 * MINUTE, 1, 5 * MINUTE, ("missed", "catch_up_limit")),
        ("all", 60 * MINUTE, 3, 15 * MINUTE - SECOND, DISPATCHED),
        ("all", 60 * MINUTE, 3, 15 * MINUTE, ("missed", "catch_up_limit")),
        ("all", 60 * MINUTE, 3, 61 * MINUTE, ("missed", "window")),
    ],
)
def test_a_missed_fire_is_made_up_for_as_its_schedule_says(
    catch_up: str, window: timedelta, limit: int | None, late: timedelta, expected: tuple[str, str | None]
) -> None:
    assert becomes(late, catch_up=catch_up, catch_up_window=window, catch_up_limit=limit) == expected


@pytest.mark.parametrize(
    ("given", "dispatched"),
    [({"catch_up": "all"}, 6), ({"catch_up": "all", "catch_up_limit": 2}, 2), ({"catch_up": "latest"}, 1),
     ({"catch_up": "none"}, 0), ({"catch_up": "all", "catch_up_window": 11 * MINUTE}, 3),
     ({"catch_up": "latest", "catch_up_limit": 2}, 1)],
)  # fmt: skip
def test_of_an_outage_as_many_fires_are_made_up_for_as_the_schedule_says_and_they_are_the_latest(
    given: dict[str, Any], dispatched: int
) -> None:
    now = NOON + 26 * MINUTE
    fires = [fire_at(NOON + number * PERIOD) for number in range(6)]
    found = [decide(fire, of(overlap="allow", **given), now, FREE).state == "dispatched" for fire in fires]
    assert found == [False] * (6 - dispatched) + [True] * dispatched


def test_whether_a_younger_fire_is_due_too_is_a_matter_of_its_jitter() -> None:
    given = {"catch_up": "latest", "jitter": 4 * MINUTE, "catch_up_window": timedelta(hours=2)}
    definition, following = of(**given), NOON + PERIOD
    fire = fire_at(due_at=due_at(of(**given), NOON))
    due = due_at(definition, following)
    assert following < due < following + 4 * MINUTE, "the hash of this name gives it some jitter"
    assert decide(fire, definition, due - SECOND, FREE).state == "dispatched"
    assert decide(fire, definition, due, FREE).state == "coalesced"


def test_a_fire_that_waits_for_its_turn_is_not_missed_however_long_it_has_waited() -> None:
    for catch_up in CATCH_UP:
        assert becomes(timedelta(days=1), fire=fire_at(state="waiting"), catch_up=catch_up) == DISPATCHED


@pytest.mark.parametrize("asked", ["trigger", "backfill", "resume"])
def test_a_fire_that_a_person_asked_for_is_not_missed(asked: str) -> None:
    for catch_up in CATCH_UP:
        assert becomes(timedelta(days=1), fire=fire_at(asked=asked), catch_up=catch_up) == DISPATCHED


# Overlap


@pytest.mark.parametrize(
    ("overlap", "free", "busy", "queued"),
    [
        ("skip", "dispatched", "skipped", "skipped"),
        ("queue_one", "dispatched", "waiting", "skipped"),
        ("queue_all", "dispatched", "waiting", "waiting"),
        ("cancel_running", "dispatched", "waiting", "waiting"),
        ("allow", "dispatched", "dispatched", "dispatched"),
    ],
)
def test_what_becomes_of_a_fire_while_a_run_goes_on_or_another_fire_waits(
    overlap: str, free: str, busy: str, queued: str
) -> None:
    assert decided(overlap=overlap).state == free
    assert decided(ON_TIME, BUSY, overlap=overlap).state == busy
    assert decided(ON_TIME, QUEUED, overlap=overlap).state == queued
    both = decided(ON_TIME, Standing(["a run"], 1), overlap=overlap)
    assert both.state == queued
    assert both.cause == (None if queued == "dispatched" else "overlap")


@pytest.mark.parametrize("overlap", OVERLAP)
def test_a_fire_whose_turn_it_is_goes_on(overlap: str) -> None:
    assert becomes(OUTAGE, fire=fire_at(state="waiting"), overlap=overlap) == DISPATCHED


@pytest.mark.parametrize("late", [ON_TIME, OUTAGE])
@pytest.mark.parametrize(
    ("catch_up", "overlap", "on_time", "made_up_for"),
    [
        ("all", "skip", "skipped", "waiting"),
        ("latest", "skip", "skipped", "skipped"),
        ("all", "queue_all", "waiting", "waiting"),
        ("all", "allow", "dispatched", "dispatched"),
    ],
)
def test_each_fire_that_is_made_up_for_has_its_turn_where_all_are(
    catch_up: str, overlap: str, on_time: str, made_up_for: str, late: timedelta
) -> None:
    hourly = of(period=60 * MINUTE, catch_up=catch_up, overlap=overlap)
    for standing in (BUSY, QUEUED):
        assert decide(fire_at(), hourly, NOON + late, standing).state == (made_up_for if late else on_time)


@pytest.mark.parametrize(
    ("asked", "state"), [(None, "skipped"), ("trigger", "skipped"), ("backfill", "dispatched"), ("resume", "waiting")]
)
@pytest.mark.parametrize("standing", [BUSY, QUEUED])
def test_a_backfill_may_overlap_and_what_a_resume_makes_up_for_waits_for_its_turn(
    asked: str | None, state: str, standing: Standing
) -> None:
    assert decided(ON_TIME, standing, fire=fire_at(asked=asked), overlap="skip").state == state


# Start deadline, pause, fire limit


@pytest.mark.parametrize("state", ["expected", "waiting"])
@pytest.mark.parametrize("asked", [None, "trigger", "backfill", "resume"])
def test_a_fire_that_could_not_start_by_its_deadline_is_skipped(state: str, asked: str | None) -> None:
    given = {"start_deadline": 2 * MINUTE, "catch_up": "all"}
    fire = fire_at(state=state, asked=asked)
    assert becomes(2 * MINUTE, fire=fire, **given) == DISPATCHED
    assert becomes(2 * MINUTE + SECOND, fire=fire, **given) == ("skipped", "deadline")


def test_the_start_deadline_counts_from_when_a_fire_is_due_not_from_its_nominal_time() -> None:
    fire = fire_at(NOON, due_at=NOON + 3 * MINUTE)
    assert becomes(MINUTE, fire=fire, start_deadline=2 * MINUTE, catch_up="all") == DISPATCHED


@pytest.mark.parametrize(
    ("paused_at", "asked", "expected"),
    [
        (NOON - SECOND, None, ("skipped", "paused")),
        (NOON, None, DISPATCHED),
        (NOON + SECOND, None, DISPATCHED),
        (NOON - SECOND, "trigger", DISPATCHED),
        (NOON - SECOND, "backfill", DISPATCHED),
        (NOON - SECOND, "resume", DISPATCHED),
    ],
)
def test_a_pause_skips_what_is_due_after_it_and_nothing_that_a_person_asks_for(
    paused_at: datetime, asked: str | None, expected: tuple[str, str | None]
) -> None:
    row = {"paused_at": paused_at, "paused_by": "ann", "paused_reason": "the bank is down"}
    found = decided(row=row, fire=fire_at(asked=asked))
    assert (found.state, found.cause) == expected
    assert found.reason == (None if found.state == "dispatched" else "paused by ann: the bank is down")


@pytest.mark.parametrize(
    ("count", "asked", "expected"),
    [(2, None, DISPATCHED), (3, None, ("skipped", "limit")), (4, None, ("skipped", "limit")),
     (3, "trigger", DISPATCHED), (3, "backfill", DISPATCHED)],
)  # fmt: skip
def test_so_many_fires_as_the_limit_says_are_dispatched_and_what_a_person_asks_for_beside_them(
    count: int, asked: str | None, expected: tuple[str, str | None]
) -> None:
    assert becomes(ON_TIME, Standing(fire_count=count), fire=fire_at(asked=asked), fire_limit=3) == expected


def test_without_a_limit_nobody_counts() -> None:
    assert becomes(ON_TIME, Standing(fire_count=10**6)) == DISPATCHED


# All of it


def standings() -> Sequence[Standing]:
    return [FREE, BUSY, QUEUED, Standing(["a run", "another"], 2, fire_count=5)]


def test_whatever_becomes_of_a_fire_is_a_state_and_has_a_cause_and_a_reason_unless_it_is_dispatched() -> None:
    paused = {"paused_at": NOON - SECOND, "paused_by": "ann", "paused_reason": "why"}
    seen: set[str] = set()
    for late, standing, catch_up, overlap, row, given, state, asked in itertools.product(
        [ON_TIME, OUTAGE, timedelta(hours=2)],
        standings(),
        CATCH_UP,
        OVERLAP,
        [None, paused],
        [{}, {"start_deadline": MINUTE}, {"fire_limit": 5}, {"catch_up_limit": 1}],
        ["expected", "waiting"],
        [None, "trigger", "backfill", "resume"],
    ):
        fire = fire_at(state=state, asked=asked)
        found = decided(late, standing, row=row, fire=fire, catch_up=catch_up, overlap=overlap, **given)
        seen.add(found.state)
        if found.state == "dispatched":
            assert found == Decision("dispatched")
        else:
            assert found.cause
            assert found.reason
            assert found.cause.replace("_", "").isalpha(), "one word, for counting"
    assert seen == {"dispatched", "waiting", "skipped", "missed", "coalesced"}


def test_reasons_name_the_policy_and_what_it_says() -> None:
    waits = decided(ON_TIME, BUSY, overlap="queue_all").reason
    assert waits == "it waits for its turn (overlap=queue_all)"
    assert "the fire of 2026-01-15T12:05:00+00:00 was due too" in str(decided(OUTAGE, catch_up="latest").reason)
    assert "older than its catch-up window of 1:00:00" in str(decided(timedelta(hours=2)).reason)
    assert "1 later fires are made up for (catch_up_limit)" in str(
        decided(OUTAGE, catch_up="all", catch_up_limit=1).reason
    )
    assert "(start_deadline)" in str(decided(OUTAGE, start_deadline=MINUTE).reason)
    assert "(fire_limit)" in str(decided(ON_TIME, Standing(fire_count=1), fire_limit=1).reason)


def test_a_decision_does_not_depend_on_the_time_zone_in_which_now_is_told() -> None:
    riga = (NOON + OUTAGE).astimezone(ZoneInfo("Europe/Riga"))
    assert decide(fire_at(), of(), riga, FREE) == decide(fire_at(), of(), NOON + OUTAGE, FREE)


def test_a_fire_is_due_at_its_nominal_time_without_jitter_and_always_at_the_same_instant_with_it() -> None:
    assert due_at(of(), NOON) == NOON
    with_jitter = of(jitter=2 * MINUTE)
    assert NOON <= due_at(with_jitter, NOON) < NOON + 2 * MINUTE
    assert due_at(with_jitter, NOON) == due_at(replace(with_jitter), NOON)
