"""Promise: an attempt that was stopped for longer than its lease commits nothing."""

from __future__ import annotations

import pytest

from tests.acceptance.installation import Shop
from tests.eventually import eventually


@pytest.mark.parametrize("where", ["before", "inside", "commit"])
def test_a_worker_that_was_stopped_past_its_lease_is_refused(shop: Shop, where: str) -> None:
    stalled, beat = shop.worker("orders"), shop.beat()
    assert stalled.ready()
    assert beat.ready()
    run = shop.send("orders.stall", "parcel", where=where)
    eventually(lambda: stalled.status == "paused")

    other = shop.worker("orders")
    eventually(lambda: shop.run(run).state == "succeeded")
    assert len(shop.effects("parcel")) == 1
    stalled.unpause()

    eventually(lambda: stalled.said("stale attempt refused", run_id=run))
    shop.settle()
    assert len(shop.effects("parcel")) == 1
    assert shop.outcomes(run) == ["lost", "succeeded"]
    assert [each["run"] for each in shop.starts("parcel")] == [run, run]
    eventually(lambda: stalled.status == other.status == "running")


def test_a_pool_process_whose_worker_was_stopped_past_its_lease_is_refused(shop: Shop) -> None:
    stalled, beat = shop.worker("orders", concurrency=1), shop.beat()
    assert stalled.ready()
    assert beat.ready()
    run = shop.send("orders.pack", "parcel", gate="parcel")
    eventually(lambda: shop.starts("parcel"))

    stalled.kill("SIGSTOP")  # the worker alone: its pool process goes on, and nobody speaks for it
    other = shop.worker("orders", concurrency=1)
    eventually(lambda: len(shop.starts("parcel")) == 2)
    shop.open("parcel")

    eventually(lambda: shop.run(run).state == "succeeded" and stalled.said("stale attempt refused", run_id=run))
    stalled.unpause()
    shop.settle()
    assert len(shop.effects("parcel")) == 1
    assert shop.outcomes(run) == ["lost", "succeeded"]
    eventually(lambda: stalled.status == other.status == "running")
