"""Promise: however many runs of one key there are at once, one has the effect; the others say why not, or share it."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.acceptance.installation import Shop
from tests.eventually import eventually

CALLERS = 1000


def test_of_a_thousand_callers_of_one_key_at_once_one_has_its_effect(shop: Shop) -> None:
    workers, beat = [shop.worker("orders"), shop.worker("orders")], shop.beat(STEADYBEAT_GRACE_SECONDS="60")
    assert all(node.ready() for node in (*workers, beat))
    key = {"idempotency_key": "order 17"}
    with ThreadPoolExecutor(8) as callers:
        sent = [callers.submit(shop.send, "orders.pack", "parcel", options=key) for _ in range(CALLERS)]
    runs = {each.result() for each in sent}

    eventually(lambda: shop._unfinished() == 0, seconds=120)
    assert len(shop.effects("parcel")) == len(shop.starts("parcel")) == 1
    states = Counter(row.state for row in shop.rows("SELECT state FROM steadybeat.runs"))
    assert (len(runs), states) == (CALLERS, {"succeeded": 1, "cancelled": CALLERS - 1})
    causes = shop.rows("SELECT cause, count(*) AS times, count(DISTINCT run) FROM steadybeat.duplicates GROUP BY cause")
    assert causes == [("callers_key", CALLERS - 1, CALLERS - 1)]
    unsaid = "SELECT FROM steadybeat.runs WHERE state = 'cancelled' AND reason !~ 'run [0-9a-f-]{36}|took the key'"
    assert not shop.rows(unsaid)


def test_the_others_wait_for_the_result_of_the_one_where_a_task_says_so(shop: Shop) -> None:
    worker, beat = shop.worker(), shop.beat()
    assert worker.ready()
    assert beat.ready()
    key = {"idempotency_key": "quote 17"}
    first = shop.send("billing.quote", "quote", gate="quote", options=key)
    eventually(lambda: shop.run(first).state == "running")
    others = [
        shop.caller.signature("shop.billing.quote", args=("quote", "quote")).apply_async(
            link=shop.caller.signature("shop.orders.pack", args=(f"link {number}",), immutable=True), **key
        )
        for number in range(3)
    ]
    eventually(lambda: {shop.run(run.id).state for run in others} == {"waiting"})
    assert shop.run(others[0].id).reason == f"waits for the result of run {first}, which has its key"
    shop.open("quote")

    eventually(lambda: {shop.run(run.id).state for run in others} == {"succeeded"})
    shop.settle()
    assert [shop.run(run).result for run in (first, *(each.id for each in others))] == [first] * 4
    assert len(shop.effects("quote")) == len(shop.starts("quote")) == 1
    assert [len(shop.effects(f"link {number}")) for number in range(3)] == [1, 1, 1]
