"""Promise: a Beat that dies between publishing a fire and saying so doubles nothing."""

from __future__ import annotations

from tests.acceptance.installation import Shop
from tests.acceptance.project.timetable import TICK
from tests.eventually import eventually


def test_a_fire_that_is_published_by_two_terms_runs_once(shop: Shop) -> None:
    since = shop.deploy("tick")
    dying = shop.beat("-S", "shop.faults:DiesBeforeMarking")
    eventually(lambda: dying.status == "exited")
    expected = shop.rows(
        "SELECT f.schedule, f.scheduled_for, r.id FROM steadybeat.fires f JOIN steadybeat.runs r"
        " ON r.schedule = f.schedule AND r.scheduled_for = f.scheduled_for WHERE f.state = 'expected'"
    )
    sent = b"".join(shop.redis.lrange("orders", 0, -1))
    unmarked = [each for each in expected if str(each.id).encode() in sent]  # the others are built ahead
    assert unmarked
    assert shop.redis.llen("orders") == len(unmarked)

    beat = shop.beat()
    assert beat.ready()
    eventually(
        lambda: shop.rows(
            "SELECT 1 FROM steadybeat.fires WHERE run_id = :run AND state = 'dispatched'", run=unmarked[0].id
        )
    )
    assert shop.redis.llen("orders") > len(unmarked)
    published = [message.count(str(unmarked[0].id).encode()) > 0 for message in shop.redis.lrange("orders", 0, -1)]
    assert sum(published) == 2
    worker = shop.worker()
    assert worker.ready()

    eventually(lambda: unmarked[0].scheduled_for in shop.fired("tick", since))
    shop.keeps_its_promise({"tick": TICK}, since)
