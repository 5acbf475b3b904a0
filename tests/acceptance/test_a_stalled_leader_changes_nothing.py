"""Promise: of the messages that a stalled leader has at hand, none has an effect that was meanwhile not to be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.acceptance.installation import Shop
from tests.acceptance.nodes import BeatNode
from tests.acceptance.project.timetable import CHARGE, TICK
from tests.eventually import eventually

BY = {"who": "ann", "reason": "stocktaking"}


def stalled_right_before_a_fire(shop: Shop, since: datetime) -> BeatNode:
    """Wait until the leader has built the messages of the next fires, and stop it before it sends the first."""
    leader = shop.leader()
    eventually(lambda: shop.fired("charge", since))

    def stopped() -> bool:
        now = datetime.now(UTC)
        following = CHARGE.next_after(now)
        assert following is not None
        if not timedelta(seconds=0.1) < following - now < timedelta(seconds=0.6):
            return False
        leader.pause()
        if len(built(shop, since)) >= 2 and datetime.now(UTC) < following:
            return True
        leader.unpause()
        return False

    eventually(stopped)
    return leader


def built(shop: Shop, since: datetime) -> list[object]:
    """The runs of coming fires whose messages are built and not sent."""
    return shop.rows(
        "SELECT r.id FROM steadybeat.runs r JOIN steadybeat.fires f ON f.schedule = r.schedule"
        " AND f.scheduled_for = r.scheduled_for WHERE r.schedule = 'charge' AND r.state = 'enqueued'"
        " AND r.attempt_count = 0 AND f.due_at > greatest(clock_timestamp(), :since)",
        since=since,
    )


def test_what_a_stalled_leader_had_built_is_skipped_and_made_up_for_when_the_pause_ends(shop: Shop) -> None:
    worker, beats = shop.worker(), [shop.beat(), shop.beat()]
    since = shop.deploy("tick", "charge")
    assert all(node.ready() for node in (worker, *beats))

    stalled = stalled_right_before_a_fire(shop, since)
    assert shop.interventions.pause("charge", **BY)
    paused_at = shop.rows("SELECT paused_at FROM steadybeat.schedules WHERE name = 'charge'")[0].paused_at
    other = next(beat for beat in beats if beat is not stalled)
    eventually(lambda: other.leads)
    eventually(lambda: len(skipped(shop, paused_at)) >= 2)
    stalled.unpause()

    eventually(lambda: stalled.said("beat stands by"))
    so_far = len(skipped(shop, paused_at))
    eventually(lambda: len(skipped(shop, paused_at)) >= so_far + 2)
    assert not shop.fired("charge", paused_at)
    assert not states(shop, paused_at) - {"expected", "skipped"}

    of_the_pause = {*skipped(shop, paused_at)}
    made_up = shop.interventions.resume("charge", make_up="all", **BY)
    assert made_up is not None
    assert of_the_pause <= {*made_up}
    eventually(lambda: {*made_up} <= {*shop.fired("charge", paused_at)})
    shop.keeps_its_promise({"tick": TICK}, since)
    had = shop.fired("charge", since)
    assert len({*had}) == len(had)


def test_what_a_leader_sends_after_it_was_stopped_doubles_nothing_and_revives_nothing_retired(shop: Shop) -> None:
    worker, leader = shop.worker(), shop.beat("-S", "shop.faults:StopsBeforeSending")
    since = shop.deploy("tick", "charge")
    assert worker.ready()
    assert shop.leader() == leader
    other = shop.beat()
    assert other.ready()
    eventually(lambda: shop.fired("charge", since))

    (shop.folder / "stop-before-sending").touch()
    eventually(lambda: leader.status == "paused")
    shop.deploy("tick")
    retired = shop.rows("SELECT retired_at FROM steadybeat.schedules WHERE name = 'charge'")[0].retired_at
    eventually(lambda: other.leads)
    so_far = len(shop.fired("tick", since))
    eventually(lambda: len(shop.fired("tick", since)) >= so_far + 3)
    leader.unpause()

    eventually(lambda: leader.said("beat stands by"))
    late = {each["run_id"] for each in leader.events() if each["event"] == "fire dispatched"}
    eventually(lambda: any(refused(each) in late for each in worker.events()))
    charges = shop.fires("charge", since)
    shop.keeps_its_promise({"tick": TICK}, since)
    had = shop.fired("charge", since)
    assert had == [fire.scheduled_for for fire in charges if fire.state == "dispatched"]
    assert all(at <= retired for at in had)


def refused(event: dict[str, Any]) -> str | None:
    """The run of a message that a worker has refused."""
    return event.get("run_id") if event.get("status") == "duplicate" else None


def skipped(shop: Shop, since: datetime) -> list[datetime]:
    """The fires that were skipped because of the pause."""
    found = shop.fires("charge", since)
    return [fire.scheduled_for for fire in found if (fire.state, fire.cause) == ("skipped", "paused")]


def states(shop: Shop, since: datetime) -> set[str]:
    return {fire.state for fire in shop.fires("charge", since)}
