"""Promise: long work goes on behind its checkpoint whatever kills it, and a process that took too much is replaced."""

from __future__ import annotations

from tests.acceptance.installation import Shop
from tests.eventually import eventually

MEBIBYTE = 2**20


def test_deaths_between_which_a_run_gets_further_do_not_make_it_poisonous(shop: Shop) -> None:
    worker, beat = shop.worker("orders", concurrency=1), shop.beat()
    assert worker.ready()
    assert beat.ready()

    run = shop.send("orders.stumble", "item", count=11)

    eventually(lambda: shop.run(run).state == "succeeded")
    shop.settle()
    assert [len(shop.effects(f"item {number}")) for number in range(1, 12)] == [1] * 11
    assert shop.outcomes(run) == ["lost"] * 3 + ["succeeded"]
    assert int(shop.caller.steadybeat.settings.crash_count) == 3


def test_the_peak_of_memory_is_on_record_and_a_process_that_exceeds_its_limit_is_replaced(shop: Shop) -> None:
    worker = shop.worker("orders", concurrency=1)
    assert worker.ready()
    sizes = {"greedy": 400, "modest": 10, "failing": 200}
    runs = {}
    for name, size in sizes.items():
        runs[name] = shop.send("orders.hoard", name, mebibytes=size, fail=name == "failing")
        eventually(lambda name=name: shop.run(runs[name]).finished_at)  # type: ignore[misc]

    peaks = {
        name: shop.rows("SELECT peak_memory_bytes FROM steadybeat.attempts WHERE run = :run", run=run)[0][0]
        for name, run in runs.items()
    }
    assert all(400 * MEBIBYTE > peaks[name] - size * MEBIBYTE >= 0 for name, size in sizes.items())
    assert peaks["modest"] < peaks["failing"] < peaks["greedy"]
    assert worker.said("memory limit exceeded", run_id=runs["greedy"])
    assert not worker.said("memory limit exceeded", run_id=runs["failing"])
    processes = {name: shop.starts(name)[0]["pid"] for name in sizes}
    assert processes["greedy"] != processes["modest"] == processes["failing"]
    assert [shop.run(run).state for run in runs.values()] == ["succeeded", "succeeded", "dead"]
