"""Promise: a Beat whose clock is more than a second off Postgres' does not lead, and leads again when it is right."""

from __future__ import annotations

from tests.acceptance.installation import Shop
from tests.acceptance.project.timetable import TICK
from tests.eventually import eventually

OFF = "clock is off: this beat does not lead"


def test_another_beat_leads_while_a_clock_is_off(shop: Shop) -> None:
    told = shop.folder / "clock-is-fast"
    worker, fast = shop.worker(), shop.beat("-S", "shop.faults:ClockIsOff")
    since = shop.deploy("tick")
    assert worker.ready()
    assert shop.leader() == fast
    right = shop.beat()
    assert right.ready()
    eventually(lambda: shop.fired("tick", since))

    told.touch()
    eventually(lambda: right.leads and fast.said(OFF) and not fast.leads)
    right.kill("SIGKILL")
    eventually(lambda: shop.redis.get("redbeat::lock") is None)
    refusals = len([each for each in fast.events() if each["event"] == OFF])
    eventually(lambda: len([each for each in fast.events() if each["event"] == OFF]) >= refusals + 3)
    assert not fast.leads  # although nobody else does
    told.unlink()

    eventually(lambda: fast.leads)
    shop.keeps_its_promise({"tick": TICK}, since)
