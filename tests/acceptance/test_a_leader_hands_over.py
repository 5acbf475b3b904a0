"""Promise: a Beat that is told to end hands over at once, and no fire is lost or doubled."""

from __future__ import annotations

from tests.acceptance.installation import Shop
from tests.acceptance.project.timetable import CHARGE, TICK
from tests.eventually import eventually


def test_the_standby_dispatches_from_where_an_ending_leader_stopped(shop: Shop) -> None:
    worker, beats = shop.worker(), [shop.beat(), shop.beat()]
    since = shop.deploy("tick", "charge")
    assert all(node.ready() for node in (worker, *beats))
    for _ in range(3):
        leader = shop.leader()
        so_far = len(shop.fired("tick", since))
        eventually(lambda so_far=so_far: len(shop.fired("tick", since)) > so_far)  # type: ignore[misc]

        leader.container.process.stop()

        assert leader.container.process.ending == "ended with exit code 0"
        shop.leader()
        leader.container.process.start()
        assert leader.ready()

    shop.keeps_its_promise({"tick": TICK, "charge": CHARGE}, since)
    assert len(shop.rows("SELECT DISTINCT term FROM steadybeat.fires WHERE state = 'dispatched'")) >= 3
