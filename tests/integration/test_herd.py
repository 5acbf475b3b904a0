"""A herd: many fires of one second, whose messages are built before it and sent together at it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from steadybeat import every
from steadybeat.beat import herd, leading
from steadybeat.errors import LedgerUnavailable
from steadybeat.schedule import run_id
from tests.integration.playing import Play, app_of, declare, played
from tests.integration.records import run_of, schedule_of

MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
BY: dict[str, Any] = {"who": "ann", "reason": "why"}
PAY = "shop.orders.pay"


@pytest.fixture
def play(ledger_url: str, redis_url: str, tmp_path: Path) -> Iterator[Play]:
    with played(app_of("shop", ledger_url, redis_url, tmp_path), redis_url) as play:
        yield play


def herd_of(play: Play, count: int, **options: Any) -> datetime:
    """Have so many schedules due every minute; return when they are due next."""
    declare(play.app, PAY)
    # An edit counts from Postgres' clock, which is behind ours: what lies between is not made up for.
    entry = {"task": PAY, "schedule": every(MINUTE), "catch_up": "none", **options}
    play.app.conf.beat_schedule = {f"s{number:03}": {**entry, "args": (number,)} for number in range(count)}
    play.apply()
    at = every(MINUTE).next_after(play.clock.now)
    assert at is not None
    return at


def states(play: Play, at: datetime) -> dict[str, int]:
    """How many fires of an instant are in which state."""
    statement = "SELECT state, count(*) AS fires FROM steadybeat.fires WHERE scheduled_for = :at GROUP BY state"
    return {row.state: row.fires for row in play.ledger.database.execute(sa.text(statement), {"at": at})}


def runs(play: Play) -> dict[str, int]:
    """How many runs are in which state."""
    statement = "SELECT state, count(*) AS runs FROM steadybeat.runs GROUP BY state"
    return {row.state: row.runs for row in play.ledger.database.execute(sa.text(statement))}


def built(play: Play) -> int:
    """How many messages the leader holds."""
    return sum(each.built is not None for each in play.leader._herd._coming.values())


def test_nothing_is_sent_before_the_boundary_and_everything_at_it(play: Play) -> None:
    at = herd_of(play, 60)
    play.tick()
    assert (built(play), runs(play)) == (0, {}), "what is due in forty seconds is not built yet"
    play.tick(at - 10 * SECOND)
    assert (built(play), runs(play), play.on("orders")) == (60, {"enqueued": 60}, 0)
    play.tick(at - timedelta(microseconds=1))
    assert play.on("orders") == 0
    play.tick(at)
    assert play.on("orders") == 60
    assert states(play, at) == {"dispatched": 60}
    messages = play.take("orders")
    assert {each["id"] for each in messages} == {run_id(f"s{number:03}", at) for number in range(60)}
    assert {play.start(each) for each in messages} == {"claimed"}
    play.tick(at + SECOND)
    assert play.on("orders") == 0


def test_at_the_boundary_messages_go_before_anything_else_is_asked(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    at = herd_of(play, 10, overlap="allow")
    play.tick()
    play.tick(at - 10 * SECOND)

    def away(*_: Any) -> Any:
        raise LedgerUnavailable("Postgres is away")

    with monkeypatch.context() as patched:
        patched.setattr(play.ledger.fires, "mark", away)
        patched.setattr(play.ledger.fires, "expect", away)
        with pytest.raises(LedgerUnavailable):
            play.tick(at)
    assert play.on("orders") == 10
    assert states(play, at) == {"expected": 10}
    play.tick(SECOND)
    assert states(play, at) == {"dispatched": 10}
    assert play.on("orders") == 10, "what could not be marked is marked, and not sent again"


def test_messages_of_a_higher_rank_leave_first(play: Play) -> None:
    at = herd_of(play, 30)
    ranks = {f"s{number:03}": (0, 3, 9)[number % 3] for number in range(30)}
    for name, rank in ranks.items():
        play.app.conf.beat_schedule[name]["options"] = {"priority": rank}
    play.apply()
    play.tick()
    play.tick(at - 10 * SECOND)
    sent: list[int] = []
    ahead = play.leader._hooks.ahead
    original, ahead.send = ahead.send, lambda batch: (sent.extend(each.priority for each in batch), original(batch))
    try:
        play.tick(at)
    finally:
        ahead.send = original
    assert sent == [0] * 10 + [3] * 10 + [9] * 10
    order = [ranks[each["steadybeat_schedule"]] for each in play.take("orders")]
    assert order == sent


def test_messages_of_one_rank_leave_in_no_fixed_order(play: Play) -> None:
    at = herd_of(play, 60, overlap="allow")
    play.tick()
    orders = []
    for boundary in (at, at + MINUTE):
        play.tick(boundary - 10 * SECOND)
        play.tick(boundary)
        orders.append([each["steadybeat_schedule"] for each in play.take("orders")])
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]


@pytest.mark.parametrize("overlap", ["skip", "allow"])
def test_a_herd_that_is_bigger_than_what_can_be_held_leaves_completely(
    play: Play, monkeypatch: pytest.MonkeyPatch, overlap: str
) -> None:
    for module, name, value in (
        (herd, "CAPACITY", 40), (herd, "_PAGE", 10), (herd, "_FEW", 5), (leading, "BATCH", 7),
        (leading, "_BUILD_BATCH", 5), (leading, "_MARK_BATCH", 9),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    at = herd_of(play, 150, overlap=overlap)
    play.tick()
    play.tick(at - 10 * SECOND)
    assert 40 <= built(play) < 60
    play.tick(at)
    for _ in range(40):
        play.tick(SECOND / 10)
    assert states(play, at) == {"dispatched": 150}
    messages = play.take("orders")
    assert sorted(each["id"] for each in messages) == sorted(run_id(f"s{number:03}", at) for number in range(150))


def test_an_edit_between_building_and_the_boundary_is_what_is_sent(play: Play) -> None:
    at = herd_of(play, 3)
    play.tick()
    play.tick(at - 10 * SECOND)
    assert built(play) == 3
    edited = replace(schedule_of(play.ledger, "s001"), args=["edited"])
    play.ledger.interventions.put(edited, **BY)
    elsewhere = replace(
        schedule_of(play.ledger, "s002"), spec=every(timedelta(minutes=7), anchor=at + SECOND).to_json()
    )
    play.ledger.interventions.put(elsewhere, **BY)
    play.tick(at - 5 * SECOND)
    play.tick(at)
    sent = {each["steadybeat_schedule"]: each for each in play.take("orders")}
    assert sorted(sent) == ["s000", "s001"]
    assert play.start(sent["s001"]) == "claimed"
    story = play.ledger.story.run(sent["s001"]["id"])
    assert story is not None
    assert story["body"].startswith('[["edited"]')
    assert sent["s001"]["argsrepr"] == "['edited']"
    assert sent["s001"]["id"] == run_id("s001", at)
    fire = play.ledger.story.fire("s002", at)
    assert fire is not None
    assert fire["state"] == "superseded"
    taken_back = play.ledger.story.run(run_id("s002", at))
    assert taken_back is not None
    assert (taken_back["state"], taken_back["reason"]) == ("cancelled", "the schedule was changed")


def test_a_pause_between_building_and_the_boundary_holds_what_was_built(play: Play) -> None:
    at = herd_of(play, 2)
    play.tick()
    play.tick(at - 10 * SECOND)
    play.ledger.interventions.pause("s001", **BY)
    play.tick(at)
    assert [each["steadybeat_schedule"] for each in play.take("orders")] == ["s000"]
    assert states(play, at) == {"dispatched": 1, "skipped": 1}
    assert runs(play) == {"enqueued": 1, "cancelled": 1}


def test_what_a_person_triggers_does_not_wait_for_its_time_nor_for_the_end_of_a_pause(play: Play) -> None:
    at = herd_of(play, 2)
    play.tick()
    play.ledger.interventions.pause("s000", **BY)
    play.tick(at - 10 * SECOND)
    for name in ("s000", "s001"):
        assert play.ledger.interventions.ask(name, [at], kind="trigger", **BY) == [at]
    play.tick(at - 8 * SECOND)
    assert states(play, at) == {"dispatched": 2}
    messages = play.take("orders")
    assert sorted(each["steadybeat_schedule"] for each in messages) == ["s000", "s001"]
    assert {play.start(each) for each in messages} == {"claimed"}
    play.tick(at)
    assert play.on("orders") == 0


def test_an_edit_that_is_taken_back_before_the_boundary_loses_no_fire(play: Play) -> None:
    at = herd_of(play, 1)
    play.tick()
    play.tick(at - 10 * SECOND)
    before = schedule_of(play.ledger, "s000")
    play.ledger.interventions.put(replace(before, spec=every(timedelta(hours=7)).to_json()), **BY)
    play.tick(at - 8 * SECOND)
    play.ledger.interventions.put(before, **BY)
    play.tick(at - 5 * SECOND)
    play.tick(at)
    (message,) = play.take("orders")
    assert play.start(message) == "claimed"


def test_a_retired_schedule_sends_nothing_that_was_built(play: Play) -> None:
    at = herd_of(play, 2)
    play.tick()
    play.tick(at - 10 * SECOND)
    del play.app.conf.beat_schedule["s001"]
    play.apply()
    play.tick(at)
    assert [each["steadybeat_schedule"] for each in play.take("orders")] == ["s000"]
    assert states(play, at) == {"dispatched": 1, "superseded": 1}


def test_a_run_that_starts_by_another_hand_after_the_leader_has_looked_is_seen_by_the_claim(play: Play) -> None:
    at = herd_of(play, 1)
    play.tick()
    play.tick(at - 10 * SECOND)
    play.tick(at - SECOND / 4)
    by_hand = run_of(play.ledger, at - timedelta(hours=1), "s000")
    assert play.start({"id": by_hand.id, "steadybeat_delivery": 1}) == "claimed"
    play.tick(at)
    assert [play.start(each) for each in play.take("orders")] == ["overlap"]
    assert states(play, at) == {"skipped": 1}


def test_a_run_that_the_leader_itself_has_sent_since_it_looked_is_seen_by_the_leader(play: Play) -> None:
    at = herd_of(play, 1)
    play.tick()
    play.tick(at - 10 * SECOND)
    play.tick(at - SECOND / 4)
    play.ledger.interventions.ask("s000", [at - timedelta(hours=1)], kind="backfill", **BY)
    play.tick()
    (backfill,) = play.take("orders")
    assert play.start(backfill) == "claimed"
    play.tick(at)
    assert (play.on("orders"), states(play, at)) == (0, {"skipped": 1})


def test_a_leader_that_dies_after_sending_leaves_a_herd_that_the_next_one_sends_again_and_that_runs_once(
    play: Play,
) -> None:
    class Crash(BaseException): ...

    def die(point: str) -> None:
        if point == "after publish":
            raise Crash

    at = herd_of(play, 20)
    play.tick()
    play.tick(at - 10 * SECOND)
    play.passed = die
    with pytest.raises(Crash):
        play.tick(at)
    assert (play.on("orders"), states(play, at)) == (20, {"expected": 20})
    play.passed = lambda point: None
    play.lead()
    play.tick(SECOND)
    assert states(play, at) == {"dispatched": 20}
    messages = play.take("orders")
    assert len(messages) == 40
    verdicts = [play.start(each) for each in messages]
    assert (verdicts.count("claimed"), verdicts.count("running")) == (20, 20)


def test_a_leader_that_no_longer_leads_sends_nothing_of_what_it_has_built(play: Play) -> None:
    at = herd_of(play, 5)
    play.tick()
    play.tick(at - 10 * SECOND)
    play.leader._leadership.held = False
    play.clock.now = at
    play.leader.tick(SECOND)
    assert (play.on("orders"), states(play, at)) == (0, {"expected": 5})
    play.lead()
    play.tick(SECOND)
    assert (play.on("orders"), states(play, at)) == (5, {"dispatched": 5})


def test_a_redis_that_is_away_at_the_boundary_leaves_the_herd_to_the_relay(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = herd_of(play, 5)
    play.tick()
    play.tick(at - 10 * SECOND)
    channel = play.leader._hooks.ahead._open().channel

    def away(_: Any) -> None:
        raise ConnectionError("no route to redis")

    monkeypatch.setattr(channel, "execute", away)
    play.tick(at)
    assert (play.on("orders"), states(play, at)) == (0, {"dispatched": 5})
    assert play.app.steadybeat.relay() == 5
    assert play.on("orders") == 5


def test_a_fire_that_cannot_be_decided_is_accounted_for_and_the_others_are_sent(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = herd_of(play, 3)
    decide = leading.decide

    def of_one_raises(fire: Any, *others: Any) -> Any:
        if fire.schedule == "s001":
            raise OverflowError("date value out of range")
        return decide(fire, *others)

    monkeypatch.setattr(leading, "decide", of_one_raises)
    play.tick(at)
    assert play.on("orders") == 2
    assert states(play, at) == {"dispatched": 2, "missed": 1}


def test_a_fire_that_is_let_go_of_and_taken_in_again_is_built_once(play: Play) -> None:
    at = herd_of(play, 2)
    play.tick(at - 10 * SECOND)
    for coming in [*play.leader._herd._coming.values()]:
        play.leader._herd.forget({coming.fire.schedule})
        play.leader._herd.add(coming.fire)
        play.leader._herd.forget({coming.fire.schedule})
        play.leader._herd.add(coming.fire)
    assert [each.fire.schedule for each in play.leader._herd.unbuilt()] in (["s000", "s001"], ["s001", "s000"])
