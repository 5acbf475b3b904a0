"""Promise: when a worker is killed in the middle of a task, another finishes it, with one effect."""

from __future__ import annotations

import psutil

from tests.acceptance.installation import Shop
from tests.eventually import eventually


def test_another_worker_finishes_what_a_killed_one_had_begun(shop: Shop) -> None:
    first, beat = shop.worker("orders"), shop.beat()
    assert first.ready()
    assert beat.ready()
    run = shop.send("orders.pack", "parcel", gate="parcel")
    eventually(lambda: shop.starts("parcel"))

    first.kill("SIGKILL")
    second = shop.worker("orders")
    assert second.ready()
    eventually(lambda: len(shop.starts("parcel")) == 2)
    shop.open("parcel")

    eventually(lambda: shop.run(run).state == "succeeded")
    shop.settle()
    assert len(shop.effects("parcel")) == 1
    assert shop.outcomes(run) == ["lost", "succeeded"]


def test_no_pool_process_outlives_its_worker(shop: Shop) -> None:
    worker = shop.worker("orders", concurrency=2)
    assert worker.ready()
    shop.send("orders.pack", "parcel", gate="never")
    eventually(lambda: shop.starts("parcel"))
    pool = worker.children()
    assert shop.starts("parcel")[0]["pid"] in [process.pid for process in pool]

    worker.kill("SIGKILL")

    eventually(lambda: not any(alive(process) for process in pool))


def test_what_a_killed_worker_had_taken_and_not_begun_is_not_lost(shop: Shop) -> None:
    first, beat = shop.worker("orders", concurrency=2), shop.beat()
    assert first.ready()
    assert beat.ready()
    names = [f"parcel {number}" for number in range(12)]
    for name in names:
        shop.send("orders.pack", name, gate="parcels")
    eventually(lambda: sum(len(shop.starts(name)) for name in names) == 2)

    first.kill("SIGKILL")
    shop.open("parcels")
    second = shop.worker("orders")
    assert second.ready()

    shop.settle()
    assert {name: len(shop.effects(name)) for name in names} == dict.fromkeys(names, 1)


def alive(process: psutil.Process) -> bool:
    """Whether a process runs; one that nobody has waited for has ended too."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
