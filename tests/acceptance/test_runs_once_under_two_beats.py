"""Promise: however many Beats run, every fire has exactly one effect."""

from __future__ import annotations

from tests.acceptance.installation import Shop
from tests.acceptance.project.timetable import AUDIT, CHARGE, TICK
from tests.eventually import eventually


def test_every_fire_has_one_effect_under_three_beats(shop: Shop) -> None:
    worker = shop.worker()
    beats = [shop.beat(), shop.beat()]
    since = shop.deploy("tick", "charge", "audit")
    assert all(node.ready() for node in (worker, *beats))
    shop.leader()
    third = shop.beat()
    assert third.ready()

    eventually(lambda: len(shop.fired("tick", since)) >= 5)

    assert [node for node in (*beats, third) if node.leads] == [shop.leader()]
    shop.keeps_its_promise({"tick": TICK, "charge": CHARGE, "audit": AUDIT}, since)
