"""Promise: what becomes of one tenant of a fan-out touches no other, and each has its turn within the bound."""

from __future__ import annotations

import json

from steadybeat import shuffled
from tests.acceptance.fanning import PRESENCE, begun, ended, letters, most_at_once, states, tenants, told, written
from tests.acceptance.installation import Shop
from tests.eventually import eventually


def test_one_tenant_fails_and_one_kills_its_process_and_the_other_198_complete(shop: Shop) -> None:
    shop.rows(PRESENCE)
    worker, watchdog = shop.worker("mail", concurrency=4, STEADYBEAT_CRASH_COUNT="1"), shop.watchdog()
    assert worker.ready()
    assert watchdog.ready()
    run = letters(shop, "trouble", 200, plan={"concurrency": 10})

    counts = {"succeeded": 198, "failed": 2, "cancelled": 0, "skipped": 0}
    assert ended(shop, run) == counts
    assert sorted(written(shop, "trouble")) == [each for each in range(200) if each not in (7, 13)]
    assert told(shop, "trouble") == ["succeeded 198 2 0 0"]
    of = tenants(shop, run)
    assert of["7"].reason.startswith("Permanent: no such address")
    assert "died" in of["13"].reason
    assert {row.attempt_count for tenant, row in of.items() if tenant not in ("7", "13")} == {1}
    for tenant, event in (("7", "run died"), ("13", "run lost"), ("13", "run died")):
        assert worker.said(event, tenant=tenant, run_id=str(of[tenant].id))


def test_the_order_differs_between_fires_and_follows_from_the_seed_that_is_on_record(shop: Shop) -> None:
    shop.rows(PRESENCE)
    beat, worker = shop.beat(), shop.worker("mail")
    assert beat.ready()
    assert worker.ready()
    since = shop.deploy("round")
    eventually(lambda: len([each for each in shop.fires("round", since) if each.state == "dispatched"]) >= 2)
    shop.deploy()
    shop.settle()

    orders = []
    found = shop.rows("SELECT CAST(run AS text) AS run, seed FROM steadybeat.fan_outs ORDER BY run")
    for fan_out in found:
        order = [str(tenant) for tenant in written(shop, f"round {fan_out.run}")]
        assert order == shuffled([str(number) for number in range(12)], fan_out.seed)
        assert order == [*tenants(shop, fan_out.run)]
        orders.append(order)
    assert len(orders) >= 2
    assert len({*map(tuple, orders)}) == len(orders)


def test_two_fan_outs_on_one_queue_have_their_turns_side_by_side(shop: Shop) -> None:
    shop.rows(PRESENCE)
    worker, watchdog = shop.worker("mail"), shop.watchdog()
    assert worker.ready()
    assert watchdog.ready()
    long = letters(shop, "long", 300, plan={"concurrency": 4})
    eventually(lambda: len(written(shop, "long")) >= 20)
    short = letters(shop, "short", 30, plan={"concurrency": 4})

    ended(shop, short)
    assert ended(shop, long)["succeeded"] == 300
    assert sorted(written(shop, "short")) == [*range(30)]
    merged = shop.rows("SELECT name FROM public.effects WHERE name ~ '^(long|short) [0-9]+$' ORDER BY at")
    names = [row.name.partition(" ")[0] for row in merged]
    first, last = names.index("short"), len(names) - 1 - names[::-1].index("short")
    assert "long" in names[first:last], "the later one does not stop the earlier one"
    assert "long" in names[last:], "nor does it wait for its end"


def test_a_fan_out_that_a_person_cancels_begins_with_nobody_else(shop: Shop) -> None:
    shop.rows(PRESENCE)
    worker, watchdog = shop.worker("mail"), shop.watchdog()
    assert worker.ready()
    assert watchdog.ready()
    # What waits at the gate goes from one item to the next; what is sent has not begun.
    run = letters(shop, "cancelled", 40, plan={"concurrency": 4}, gate="never", free=6, items=100_000)
    eventually(lambda: len(begun(shop, "cancelled")) == 8)

    said = json.loads(shop.celery("runs", "cancel", run, "--reason", "wrong address", "--json"))
    assert said["cancelled"] == [run]
    eventually(lambda: not [row for row in tenants(shop, run).values() if row.finished_at is None])

    shop.settle()
    assert shop.run(run).state == "cancelled"
    assert states(shop, run) == {"succeeded": 6, "cancelled": 34}
    assert len(written(shop, "cancelled")) == 6
    assert len(begun(shop, "cancelled")) == 8
    assert told(shop, "cancelled") == ["cancelled 6 0 34 0"]


def test_concurrency_is_never_above_its_bound_nor_when_a_worker_is_killed(shop: Shop) -> None:
    shop.rows(PRESENCE)
    workers = [shop.worker("mail", concurrency=4) for _ in range(2)]
    watchdog = shop.watchdog()
    assert all(node.ready() for node in (*workers, watchdog))
    run = letters(shop, "burst", 120, plan={"concurrency": 5}, gate="burst", free=20)
    highest = 0

    def sampled() -> int:
        nonlocal highest
        of = tenants(shop, run).values()
        running = sum(row.state == "running" for row in of)
        sent = sum(row.finished_at is None and not row.in_line for row in of)
        assert running <= sent
        highest = max(highest, sent)
        return running

    # All places are taken by those who wait at the gate: of the eight processes three have nothing to do.
    eventually(lambda: sampled() == 5 and len(begun(shop, "burst")) == 25)
    workers[0].kill("SIGKILL")
    killed_at = shop.rows("SELECT clock_timestamp() AS now")[0].now
    shop.open("burst")
    eventually(lambda: sampled() == 0 and shop.run(run).finished_at is not None)

    assert highest == 5
    assert ended(shop, run)["succeeded"] == 120
    assert sorted(written(shop, "burst")) == [*range(120)]
    assert most_at_once(shop, "burst", killed_at) == 5
