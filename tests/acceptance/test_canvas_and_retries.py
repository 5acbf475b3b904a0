"""Promise: what Celery's users know keeps its meaning, and happens once: chains, callbacks, retries, keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from celery import chain, group

from tests.acceptance.installation import Shop
from tests.eventually import eventually


@pytest.fixture
def busy_shop(shop: Shop) -> Shop:
    """A shop with a worker and a Beat at work."""
    nodes = [shop.worker(), shop.beat()]
    assert all(node.ready() for node in nodes)
    return shop


def add(shop: Shop, *args: int, name: str) -> object:
    return shop.caller.signature("shop.billing.add", args=args, kwargs={"name": name})


def test_every_part_of_a_canvas_happens_once(busy_shop: Shop) -> None:
    shop = busy_shop
    parts = [add(shop, 1, 2, name="first"), add(shop, 3, name="second"), add(shop, 4, name="third")]
    chain(*parts, app=shop.caller).apply_async()
    add(shop, 1, 1, name="with a link").apply_async(link=add(shop, 5, name="link"))
    group([add(shop, number, 1, name=f"member {number}") for number in range(3)], app=shop.caller).apply_async()
    replaced = shop.send("billing.replaced", 2, 3)
    calling = shop.send("billing.calling", 2, 3)

    names = ["first", "second", "third", "with a link", "link", "replacement", "called"]
    names += [f"member {number}" for number in range(3)]
    eventually(lambda: all(shop.effects(name) for name in names))
    shop.settle()
    assert {name: len(shop.effects(name)) for name in names} == dict.fromkeys(names, 1)
    assert [shop.run(shop.effects(name)[0].run_id).result for name in ("third", "link")] == [10, 7]
    assert [(each.run_id, each.retries) for each in shop.effects("called")] == [(None, 0)]
    assert str(shop.effects("replacement")[0].run_id) == replaced
    assert [shop.run(run).state for run in (replaced, calling)] == ["succeeded", "succeeded"]


def test_a_task_is_retried_as_it_says(busy_shop: Shop) -> None:
    shop = busy_shop
    declared = shop.send("billing.declared", "declared", failures=2)
    exhausted = shop.send("billing.declared", "exhausted", failures=3)
    by_hand = shop.send("billing.insistent", "by hand", failures=1)

    eventually(lambda: shop.run(exhausted).state == "dead")
    shop.settle()
    assert [each.retries for each in shop.effects("declared")] == [2]
    assert [each.retries for each in shop.effects("by hand")] == [1]
    assert not shop.effects("exhausted")
    assert shop.outcomes(declared) == ["retried", "retried", "succeeded"]
    assert shop.outcomes(exhausted) == ["retried", "retried", "failed"]
    assert shop.outcomes(by_hand) == ["retried", "succeeded"]
    assert "no answer, time 3" in shop.run(exhausted).reason


def test_two_callers_with_one_idempotency_key_make_one_effect(busy_shop: Shop) -> None:
    shop = busy_shop
    key = {"idempotency_key": "order 17"}
    both = [shop.send("orders.pack", "parcel", gate="parcel", options=key) for _ in range(2)]
    eventually(lambda: sorted(shop.run(run).state for run in both) == ["cancelled", "running"])
    shop.open("parcel")
    shop.settle()
    late = shop.send("orders.pack", "parcel", options=key)
    eventually(lambda: shop.run(late).state == "cancelled")

    assert len(shop.effects("parcel")) == len(shop.starts("parcel")) == 1
    assert sorted(shop.run(run).state for run in both) == ["cancelled", "succeeded"]
    assert "the effect happened at" in shop.run(late).reason


def test_a_result_that_cannot_be_stored_fails_no_task(busy_shop: Shop) -> None:
    shop = busy_shop
    runs = [shop.send("billing.returning", kind) for kind in ("not a number", "NUL", "half a pair", "a set")]
    shop.settle()
    assert [(shop.run(run).state, shop.run(run).result) for run in runs] == [("succeeded", None)] * 4
    assert [shop.outcomes(run) for run in runs] == [["succeeded"]] * 4


def test_a_task_that_outlasts_the_visibility_timeout_runs_once(
    open_shop: Callable[..., Shop], ledger_url: str, redis_url: str
) -> None:
    shop = open_shop(ledger_url, redis_url, SHOP_VISIBILITY_SECONDS="4")
    workers, beat = [shop.worker("orders", concurrency=3), shop.worker("orders", concurrency=3)], shop.beat()
    assert all(node.ready() for node in (*workers, beat))
    runs = [shop.send("orders.pack", f"parcel {number}", gate="parcels") for number in range(3)]

    def came_back() -> Counter[str]:
        said = [each for worker in workers for each in worker.events() if each["event"] == "duplicate ignored"]
        return Counter(each["run_id"] for each in said)

    eventually(lambda: all(came_back()[run] for run in runs))
    counted = shop.rows("SELECT DISTINCT run, cause FROM steadybeat.duplicates")
    assert {(str(each.run), each.cause) for each in counted} == {(run, "visibility_timeout") for run in runs}
    shop.open("parcels")

    eventually(lambda: all(shop.run(run).state == "succeeded" for run in runs))
    shop.settle()
    assert [len(shop.effects(f"parcel {number}")) for number in range(3)] == [1, 1, 1]
    assert [len(shop.starts(f"parcel {number}")) for number in range(3)] == [1, 1, 1]
    assert [shop.outcomes(run) for run in runs] == [["succeeded"]] * 3
