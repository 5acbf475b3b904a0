"""Promise: a worker that is told to end starts nothing new, and hands back at once what it does not finish."""

from __future__ import annotations

from tests.acceptance.installation import Shop
from tests.acceptance.nodes import WorkerNode
from tests.eventually import eventually

POOLS = ["prefork", "threads", "solo"]


def ended(worker: WorkerNode) -> None:
    """Wait until a worker has ended in good order: with exit code 0, and without leaving a lease behind."""
    eventually(lambda: worker.status == "exited")
    assert worker.container.process.ending == "ended with exit code 0"


def handed_back(shop: Shop, run: str) -> None:
    """What a shutdown interrupts is no failure, no retry and no crash."""
    assert shop.outcomes(run)[0] == "interrupted"
    found = shop.run(run)
    assert (found.crash_count, found.retry_count, found.rescue_count) == (0, 0, 0)
    assert not shop.rows("SELECT id FROM steadybeat.instances WHERE role = 'worker'")


def one_of_each(shop: Shop, **env: str) -> list[WorkerNode]:
    """Return a worker of each pool, each of which takes one run at a time."""
    workers = [shop.worker("orders", pool=pool, concurrency=1, **env) for pool in POOLS]
    assert all(worker.ready() for worker in workers)
    return workers


def test_work_that_iterates_goes_on_elsewhere_behind_its_checkpoint(shop: Shop) -> None:
    beat, workers = shop.beat(), one_of_each(shop)
    assert beat.ready()
    runs = {name: shop.send("orders.walk", name, count=40, gate="fast") for name in POOLS}
    eventually(lambda: all(shop.effects(f"{name} 5") for name in runs))

    for worker in workers:
        worker.kill("SIGTERM")
    for worker in workers:
        ended(worker)
    for name, run in runs.items():
        handed_back(shop, run)
        reached = shop.run(run).checkpoint
        assert shop.effects(f"{name} {reached}")
        assert not shop.effects(f"{name} {reached + 1}")
    shop.open("fast")
    assert shop.worker("orders").ready()

    eventually(lambda: all(shop.run(run).state == "succeeded" for run in runs.values()))
    shop.settle()
    for name, run in runs.items():
        assert [len(shop.effects(f"{name} {number}")) for number in range(1, 41)] == [1] * 40
        found = shop.run(run)
        assert (found.items_done, found.items_total, found.checkpoint) == (40, 40, 40)
        assert shop.outcomes(run) == ["interrupted", "succeeded"]


def test_work_that_takes_too_long_is_handed_back_when_the_time_to_finish_is_over(shop: Shop) -> None:
    beat, workers = shop.beat(), one_of_each(shop, SHOP_SOFT_SHUTDOWN_SECONDS="1")
    assert beat.ready()
    runs = {name: shop.send("orders.pack", name, gate="parcels") for name in POOLS}
    eventually(lambda: all(shop.starts(name) for name in runs))

    for worker in workers:
        worker.kill("SIGTERM")
    for worker in workers:
        ended(worker)
    for run in runs.values():
        handed_back(shop, run)
    shop.open("parcels")
    assert shop.worker("orders").ready()

    eventually(lambda: all(shop.run(run).state == "succeeded" for run in runs.values()))
    shop.settle()
    assert {name: len(shop.effects(name)) for name in runs} == dict.fromkeys(POOLS, 1)
    assert [shop.outcomes(run) for run in runs.values()] == [["interrupted", "succeeded"]] * 3


def test_work_may_finish_and_no_other_begins(shop: Shop) -> None:
    worker = shop.worker("orders", concurrency=1, SHOP_SOFT_SHUTDOWN_SECONDS="60")
    assert worker.ready()
    runs = [shop.send("orders.pack", name, gate="parcel") for name in ("first", "second")]
    eventually(lambda: shop.starts("first"))

    worker.kill("SIGTERM")
    eventually(lambda: worker.said("worker stopping"))
    shop.open("parcel")
    ended(worker)
    assert shop.outcomes(runs[0]) == ["succeeded"]
    assert shop.run(runs[1]).state == "enqueued"
    assert not shop.starts("second")

    assert shop.worker("orders").ready()
    shop.settle()
    assert [len(shop.effects(name)) for name in ("first", "second")] == [1, 1]


def test_a_second_signal_takes_the_time_to_finish_away(shop: Shop) -> None:
    signals = [("SIGTERM", "SIGTERM"), ("SIGTERM", "SIGQUIT"), ("SIGQUIT", "SIGQUIT")]
    workers = [shop.worker("orders", concurrency=1, SHOP_SOFT_SHUTDOWN_SECONDS="600") for _ in signals]
    assert all(worker.ready() for worker in workers)
    runs = [shop.send("orders.pack", f"parcel {number}", gate="never") for number in range(3)]
    eventually(lambda: all(shop.starts(f"parcel {number}") for number in range(3)))

    for worker, (first, second) in zip(workers, signals, strict=True):
        worker.kill(first)
        worker.wait_for_log("work may finish")
        worker.kill(second)

    eventually(lambda: all(worker.status == "exited" for worker in workers))
    for run in runs:
        handed_back(shop, run)


def test_an_idle_worker_has_nothing_to_wait_for(shop: Shop) -> None:
    workers = one_of_each(shop, SHOP_SOFT_SHUTDOWN_SECONDS="600")
    for worker in workers:
        worker.kill("SIGTERM")
    for worker in workers:
        ended(worker)
