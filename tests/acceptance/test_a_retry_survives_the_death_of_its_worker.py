"""Promise: a retry waits in the ledger, and not in the memory of a worker that may die."""

from __future__ import annotations

from tests.acceptance.installation import Shop
from tests.eventually import eventually


def test_a_retry_that_waits_is_done_by_another_worker(shop: Shop) -> None:
    first, beat = shop.worker("orders"), shop.beat()
    assert first.ready()
    assert beat.ready()
    run = shop.send("orders.flaky", "parcel", failures=1)
    eventually(lambda: shop.run(run).state == "waiting")
    assert shop.rows("SELECT reason FROM steadybeat.outbox WHERE run = CAST(:run AS uuid)", run=run) == [("retry",)]

    first.kill("SIGKILL")
    second = shop.worker("orders")
    assert second.ready()

    eventually(lambda: shop.run(run).state == "succeeded")
    shop.settle()
    assert [(str(each.run_id), each.retries) for each in shop.effects("parcel")] == [(run, 1)]
    assert shop.outcomes(run) == ["retried", "succeeded"]


def test_a_delayed_task_waits_in_the_ledger_too(shop: Shop) -> None:
    first, beat = shop.worker("orders"), shop.beat()
    assert first.ready()
    assert beat.ready()
    run = shop.send("orders.pack", "parcel", options={"countdown": 4})
    assert shop.run(run).state == "waiting"
    assert shop.redis.llen("orders") == shop.redis.hlen("unacked") == 0

    first.kill("SIGKILL")
    second = shop.worker("orders")
    assert second.ready()

    eventually(lambda: shop.run(run).state == "succeeded")
    shop.settle()
    assert len(shop.effects("parcel")) == 1
    assert shop.run(run).started_at >= shop.run(run).enqueued_at
