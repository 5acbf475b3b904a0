"""Promise: when the leader and a worker die at once, nothing is lost or doubled."""

from __future__ import annotations

from tests.acceptance.installation import Shop
from tests.acceptance.project.timetable import CHARGE, TICK
from tests.eventually import eventually


def test_nothing_is_lost_or_doubled_when_every_process_is_killed_at_once(shop: Shop) -> None:
    worker, beat = shop.worker(), shop.beat()
    since = shop.deploy("tick", "charge")
    assert worker.ready()
    assert beat.ready()
    run = shop.send("orders.pack", "parcel", gate="parcel")
    eventually(lambda: shop.starts("parcel") and shop.fired("tick", since) and shop.fired("charge", since))

    for node in (beat, worker):
        node.kill("SIGKILL")
    shop.open("parcel")
    survivors = [shop.worker(), shop.beat()]
    assert all(node.ready() for node in survivors)

    shop.keeps_its_promise({"tick": TICK, "charge": CHARGE}, since)
    assert shop.run(run).state == "succeeded"
    assert len(shop.effects("parcel")) == 1
