"""Promise: a run that a person cancels ends: before it starts, between two items, or with its process."""

from __future__ import annotations

import json
from typing import Any

from tests.acceptance.installation import Shop
from tests.eventually import eventually

REASON = ("--reason", "wrong tariff")


def cancelled(shop: Shop, *arguments: str, code: int = 0) -> Any:
    return json.loads(shop.celery("runs", "cancel", *arguments, *REASON, "--json", code=code))


def test_what_waits_ends_also_while_no_worker_is_up(shop: Shop) -> None:
    runs = [shop.send("orders.pack", name) for name in ("first", "second", "third")]
    later = shop.send("orders.pack", "later", options={"countdown": 3600})

    assert cancelled(shop, "--task", "shop.orders.pack", "--dry-run")["runs"] == [*runs, later]
    assert cancelled(shop, runs[0])["cancelled"] == [runs[0]]
    assert cancelled(shop, runs[0], code=1)["ended_before"] == [runs[0]]
    assert cancelled(shop, "--task", "shop.orders.pack", "--state", "waiting")["cancelled"] == [later]
    worker = shop.worker("orders")
    assert worker.ready()

    eventually(lambda: shop.run(runs[2]).state == "succeeded")
    shop.redis.delete("orders")
    assert [len(shop.starts(name)) for name in ("first", "second", "third", "later")] == [0, 1, 1, 0]
    assert [shop.run(run).state for run in (runs[0], later)] == ["cancelled", "cancelled"]
    assert shop.run(runs[0]).reason.startswith("wrong tariff (")
    notes = shop.rows("SELECT target, reason FROM steadybeat.operations WHERE what = 'runs cancel' ORDER BY id")
    assert [tuple(note) for note in notes] == [(run, "wrong tariff") for run in (runs[0], runs[0], later)]


def test_work_that_iterates_stops_between_two_items(shop: Shop) -> None:
    pools = ["prefork", "threads", "solo"]
    workers = [shop.worker("orders", pool=pool, concurrency=1) for pool in pools]
    assert all(worker.ready() for worker in workers)
    runs = {name: shop.send("orders.walk", name, count=100_000, gate="fast") for name in pools}
    eventually(lambda: all(shop.effects(f"{name} 3") for name in runs))

    assert {*cancelled(shop, *runs.values())["asked"]} == {*runs.values()}

    eventually(lambda: all(shop.run(run).state == "cancelled" for run in runs.values()))
    for name, run in runs.items():
        found = shop.run(run)
        assert found.reason.startswith("wrong tariff (")
        assert found.items_done == found.checkpoint < 100_000
        assert shop.effects(f"{name} {found.items_done}")
        assert not shop.effects(f"{name} {found.items_done + 1}")
        assert shop.outcomes(run) == ["cancelled"]
    after = [shop.send("orders.pack", name, gate="parcels") for name in pools]
    eventually(lambda: all(shop.starts(name) for name in pools))
    shop.open("parcels")
    eventually(lambda: all(shop.run(run).state == "succeeded" for run in after))


def test_other_work_goes_on_unless_it_is_to_be_terminated(shop: Shop) -> None:
    worker = shop.worker("orders", concurrency=3)
    assert worker.ready()
    patient, stuck = (shop.send("orders.pack", name, gate=name) for name in ("patient", "stuck"))
    eventually(lambda: shop.starts("patient") and shop.starts("stuck"))
    for taken in shop.redis.hvals("unacked"):
        shop.redis.lpush("orders", json.dumps(json.loads(taken)[0]))
    eventually(lambda: all(worker.said("duplicate ignored", run_id=run) for run in (patient, stuck)))

    assert cancelled(shop, patient)["asked"] == [patient]
    assert cancelled(shop, stuck, "--terminate")["asked"] == [stuck]
    eventually(lambda: shop.run(stuck).state == "cancelled")
    assert shop.run(patient).state == "running"
    shop.open("patient")

    eventually(lambda: shop.run(patient).state == "succeeded")
    shop.settle()
    assert shop.outcomes(stuck) == ["cancelled"]
    assert shop.run(stuck).reason.startswith("wrong tariff (")
    assert not shop.effects("stuck")
