"""Promise: when the leading Beat dies or stalls, another leads, and no fire is lost or doubled."""

from __future__ import annotations

from tests.acceptance.installation import Shop
from tests.acceptance.nodes import BeatNode
from tests.acceptance.project.timetable import TICK
from tests.eventually import eventually


def two_beats(shop: Shop) -> tuple[BeatNode, BeatNode]:
    """Start two Beats; return the one that leads and the one that stands by."""
    beats = [shop.beat(), shop.beat()]
    assert all(beat.ready() for beat in beats)
    leader = shop.leader()
    beats.remove(leader)
    return leader, beats[0]


def test_the_standby_leads_once_the_leader_is_killed(shop: Shop) -> None:
    worker = shop.worker()
    leader, standby = two_beats(shop)
    since = shop.deploy("tick")
    assert worker.ready()
    eventually(lambda: shop.fired("tick", since))

    leader.kill("SIGKILL")

    eventually(lambda: standby.leads)
    fires_so_far = len(shop.fired("tick", since))
    eventually(lambda: len(shop.fired("tick", since)) >= fires_so_far + 3)
    leader.restart()
    assert shop.leader() == standby
    shop.keeps_its_promise({"tick": TICK}, since)


def test_a_leader_that_was_stopped_past_its_lock_stands_by_and_doubles_nothing(shop: Shop) -> None:
    worker = shop.worker()
    leader, standby = two_beats(shop)
    since = shop.deploy("tick")
    assert worker.ready()
    eventually(lambda: shop.fired("tick", since))

    leader.pause()
    eventually(lambda: standby.leads)
    fires_so_far = len(shop.fired("tick", since))
    eventually(lambda: len(shop.fired("tick", since)) >= fires_so_far + 3)
    leader.unpause()

    eventually(lambda: leader.said("beat stands by"))
    assert shop.leader() == standby
    shop.keeps_its_promise({"tick": TICK}, since)
