"""What a Beat that leads makes of policies and of what people ask for; the worker is played by hand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery.app.trace import build_tracer

from steadybeat import Permanent, SteadyTask, every
from tests.integration.playing import Play, app_of, declare, played

MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
BY: dict[str, Any] = {"who": "ann", "reason": "why"}
PAY = "shop.orders.pay"


@pytest.fixture
def play(ledger_url: str, redis_url: str, tmp_path: Path) -> Iterator[Play]:
    with played(app_of("shop", ledger_url, redis_url, tmp_path), redis_url) as play:
        yield play


def minutes(play: Play, count: int) -> list[datetime]:
    """The next full minutes of the clock."""
    first = play.clock.now.replace(second=0, microsecond=0)
    return [first + (number + 1) * MINUTE for number in range(count)]


def given(play: Play, **policies: Any) -> None:
    """Have orders paid every minute."""
    declare(play.app, PAY, schedule=every(MINUTE), **policies)
    play.apply()


def times(messages: list[dict[str, Any]]) -> list[datetime]:
    return [datetime.fromisoformat(each["steadybeat_scheduled_for"]) for each in messages]


def test_what_a_person_triggers_is_sent_at_the_next_tick_also_in_a_pause(play: Play) -> None:
    given(play)
    play.tick()
    play.ledger.interventions.pause(PAY, **BY)
    at = datetime.now(UTC)
    play.ledger.interventions.ask(PAY, [at], kind="trigger", **BY)
    play.tick(SECOND)
    (message,) = play.take("orders")
    assert times([message]) == [at]
    assert play.start(message) == "claimed"


def test_fires_in_a_pause_are_skipped_and_those_that_a_resume_makes_up_for_have_their_turn_each(play: Play) -> None:
    given(play)
    play.tick()
    play.ledger.interventions.pause(PAY, **BY)
    skipped = minutes(play, 3)
    for at in skipped:
        play.tick(at)
    assert play.fires(PAY) == dict.fromkeys(skipped, "skipped")
    assert play.on("orders") == 0
    assert play.ledger.interventions.resume(PAY, make_up="all", **BY) == skipped
    sent = []
    for _ in skipped:
        play.tick(SECOND)
        play.tick()
        (message,) = play.take("orders")
        assert play.start(message) == "claimed"
        play.tick(SECOND)
        assert play.on("orders") == 0, "the next one waits until this one has ended"
        play.finish(message)
        sent.append(message)
    assert times(sent) == skipped
    play.tick(SECOND)
    assert play.fires(PAY) == dict.fromkeys(skipped, "dispatched")


@pytest.mark.parametrize(
    ("overlap", "then", "last"),
    [
        ("skip", ["skipped", "skipped", "dispatched"], 0),
        ("queue_one", ["dispatched", "skipped", "dispatched"], 1),
        ("queue_all", ["dispatched", "dispatched", "waiting"], 2),
        ("allow", ["dispatched", "dispatched", "dispatched"], 2),
    ],
)
def test_fires_that_come_due_while_a_run_goes_on_have_their_turn_as_their_schedule_says(
    play: Play, overlap: str, then: list[str], last: int
) -> None:
    """One run lasts for two more fires; then each that was sent is worked on until the fourth fire is due."""
    given(play, overlap=overlap)
    play.tick()
    first, *others = minutes(play, 4)
    play.tick(first)
    (running,) = play.take("orders")
    assert play.start(running) == "claimed"
    for at in others[:2]:
        play.tick(at)
    sent_beside = play.take("orders")
    assert len(sent_beside) == (2 if overlap == "allow" else 0)
    play.finish(running)
    play.tick(SECOND)
    turn = play.take("orders")
    assert times(turn) == (others[:1] if overlap.startswith("queue") else [])
    for message in turn:
        assert play.start(message) == "claimed"
        if overlap == "queue_one":
            play.finish(message)
    play.tick(others[2] - SECOND)
    if overlap == "queue_all":
        play.finish(turn[0])
        play.tick()
        (second,) = play.take("orders")
        assert times([second]) == others[1:2]
        assert play.start(second) == "claimed"
    play.tick(others[2])
    assert list(play.fires(PAY).values()) == ["dispatched", *then]


def test_cancel_running_asks_for_the_end_of_the_run_and_the_fire_follows(play: Play) -> None:
    given(play, overlap="cancel_running")
    play.tick()
    first, second = minutes(play, 2)
    play.tick(first)
    (running,) = play.take("orders")
    assert play.start(running) == "claimed"
    play.tick(second)
    assert play.fires(PAY) == {first: "dispatched", second: "waiting"}
    assert play.on("orders") == 0
    story = play.ledger.story.run(running["id"])
    assert story is not None
    assert story["state"] == "running", "it ends when its worker has heard of it"
    assert play.ledger.cancelling.request([running["id"]], "asked again").asked == [running["id"]]
    held = play.held.pop(running["id"])
    play.ledger.runs.give_up(running["id"], fence=held.fence, reason="cancelled", error="", state="cancelled")
    play.tick(SECOND)
    (follows,) = play.take("orders")
    assert times([follows]) == [second]
    assert play.start(follows) == "claimed"


def test_cancel_running_takes_the_place_of_a_run_that_has_not_started(play: Play) -> None:
    given(play, overlap="cancel_running")
    play.tick()
    first, second = minutes(play, 2)
    play.tick(first)
    play.tick(second)
    play.tick(SECOND)
    old, new = play.take("orders")
    assert times([old, new]) == [first, second]
    assert (play.start(old), play.start(new)) == ("ended", "claimed")


def test_cancel_running_of_two_fires_that_are_due_in_one_tick_lets_the_second_follow(play: Play) -> None:
    given(play, overlap="cancel_running", catch_up="all")
    play.tick()
    first, second = minutes(play, 2)
    play.tick(second + 30 * SECOND)
    assert play.fires(PAY) == {first: "dispatched", second: "waiting"}
    (message,) = play.take("orders")
    assert play.start(message) == "claimed"
    play.finish(message)
    play.tick(SECOND)
    assert times(play.take("orders")) == [second]


def test_cancel_running_of_two_fires_that_were_built_ahead_leaves_the_second_to_run(play: Play) -> None:
    declare(play.app, PAY, schedule=every(5 * SECOND), overlap="cancel_running")
    play.apply()
    start = play.clock.now
    play.tick()
    play.tick(start + 4 * SECOND)
    play.tick(start + 11 * SECOND)
    assert play.fires(PAY) == {start + 5 * SECOND: "dispatched", start + 10 * SECOND: "dispatched"}
    assert [play.start(message) for message in play.take("orders")] == ["ended", "claimed"]


@pytest.mark.parametrize(
    ("overlap", "states"),
    [
        ("skip", ["dispatched", "skipped"]),
        ("queue_one", ["dispatched", "waiting"]),
        ("queue_all", ["dispatched", "waiting"]),
        ("allow", ["dispatched", "dispatched"]),
    ],
)
def test_two_fires_that_were_built_ahead_and_are_due_in_one_slow_tick_do_not_stand_in_each_others_way(
    play: Play, overlap: str, states: list[str]
) -> None:
    declare(play.app, PAY, schedule=every(5 * SECOND), overlap=overlap)
    play.apply()
    start = play.clock.now
    play.tick()
    play.tick(start + 4 * SECOND)
    play.tick(start + 11 * SECOND)
    assert list(play.fires(PAY).values()) == states
    assert {play.start(message) for message in play.take("orders")} == {"claimed"}


def test_a_fire_that_was_built_ahead_and_came_too_late_does_not_stand_in_the_way_of_the_next(play: Play) -> None:
    declare(play.app, PAY, schedule=every(8 * SECOND), catch_up="none")
    play.apply()
    start = play.clock.now
    play.tick()
    first = every(8 * SECOND).next_after(start)
    assert first is not None
    play.tick(first - SECOND)
    play.tick(first + 11 * SECOND)
    assert play.fires(PAY) == {first: "missed", first + 8 * SECOND: "dispatched"}


def test_fires_of_an_outage_are_made_up_for_one_after_the_other(play: Play) -> None:
    given(play, catch_up="all")
    play.tick()
    due = minutes(play, 3)
    play.leader = None
    play.tick(due[-1] + 30 * SECOND)
    assert list(play.fires(PAY).values()) == ["dispatched", "waiting", "waiting"]
    sent = []
    for _ in due:
        (message,) = play.take("orders")
        assert play.start(message) == "claimed"
        play.finish(message)
        sent += times([message])
        play.tick(SECOND)
    assert sent == due


def test_of_an_outage_without_a_leader_the_latest_fire_is_made_up_for_and_the_others_have_a_reason(
    play: Play,
) -> None:
    given(play)
    play.tick()
    due = minutes(play, 3)
    play.lead()
    play.tick(due[-1] + 30 * SECOND)
    assert list(play.fires(PAY).values()) == ["coalesced", "coalesced", "dispatched"]
    assert times(play.take("orders")) == due[-1:]


def test_a_limit_of_fires_outlives_a_change_of_leaders(play: Play) -> None:
    given(play, fire_limit=3, overlap="allow")
    play.tick()
    due = minutes(play, 5)
    for number, at in enumerate(due):
        if number == 2:
            play.lead()
        play.tick(at)
    assert list(play.fires(PAY).values()) == ["dispatched"] * 3 + ["skipped"] * 2


def test_a_schedule_that_its_failures_have_paused_fires_no_more(play: Play) -> None:
    given(play, pause_after_failures=2)
    play.tick()
    due = minutes(play, 3)
    for at in due[:2]:
        play.tick(at)
        (message,) = play.take("orders")
        assert play.start(message) == "claimed"
        fence = play.held.pop(message["id"]).fence
        play.ledger.runs.give_up(message["id"], fence=fence, reason="no bank", error="stack")
    play.tick(due[2])
    assert list(play.fires(PAY).values()) == ["dispatched", "dispatched", "skipped"]
    fire = play.ledger.story.fire(PAY, due[2])
    assert fire is not None
    assert fire["reason"] == "paused by steadybeat: 2 failures in a row; the last: no bank"


def test_a_fire_knows_the_one_before_it_and_the_last_that_succeeded(play: Play) -> None:
    given(play)
    play.tick()
    due = minutes(play, 3)
    story = play.ledger.story
    assert story.fire_before(PAY, due[0], succeeded=False) is None
    for number, at in enumerate(due):
        play.tick(at)
        (message,) = play.take("orders")
        play.start(message)
        if number == 0:
            play.finish(message)
        else:
            fence = play.held.pop(message["id"]).fence
            play.ledger.runs.give_up(message["id"], fence=fence, reason="no bank", error="stack")
    assert story.fire_before(PAY, due[2], succeeded=False) == due[1]
    assert story.fire_before(PAY, due[2], succeeded=True) == due[0]
    assert story.fire_before(PAY, due[0], succeeded=True) is None


def test_a_task_is_told_of_the_fire_before_its_own_and_of_the_last_that_succeeded(play: Play) -> None:
    told: list[tuple[datetime | None, ...]] = []

    def pay(self: SteadyTask) -> None:
        told.append((self.scheduled_for, self.previous_fire, self.last_success))
        if len(told) == 2:
            raise Permanent("no bank")

    task = play.app.task(pay, bind=True, name=PAY, shared=False, schedule=every(MINUTE))
    play.app.finalize()
    play.apply()
    play.app.steadybeat.sign_of_life()
    play.tick()
    due = minutes(play, 3)
    run = build_tracer(PAY, play.app.tasks[PAY], app=play.app)
    for at in due:
        play.tick(at)
        (message,) = play.take("orders")
        run(message["id"], (), {}, message | {"delivery_info": {}, "args": (), "kwargs": {}})
    assert told == [(due[0], None, None), (due[1], due[0], due[0]), (due[2], due[1], due[0])]
    assert (task.previous_fire, task.last_success, task.scheduled_for) == (None, None, None)
