"""Promise: a fan-out comes to its end, each tenant once, whatever dies on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.acceptance.fanning import PRESENCE, begun, ended, letters, over, states, tenants, told, written
from tests.acceptance.installation import Shop
from tests.acceptance.nodes import LocalNode
from tests.eventually import eventually


def again(shop: Shop, dead: LocalNode) -> bool:
    """Start a process again that was killed; return whether it was."""
    process = dead.container.process
    if process.status != "exited":
        return False
    assert process.ending == "killed by SIGKILL"
    process.start()
    return True


def test_twenty_kills_while_tenants_are_written_leave_each_with_one_letter(
    ledger_url: str, redis_url: str, open_shop: Callable[..., Shop]
) -> None:
    settings = {"STEADYBEAT_LEASE_SECONDS": "2", "STEADYBEAT_RESCUE_BACKOFF_MAX_SECONDS": "1"}
    shop = open_shop(ledger_url, redis_url, **settings, SHOP_BATCH_COUNT="5")
    shop.rows(PRESENCE)
    watchdog, workers = shop.watchdog(), [shop.worker("mail", pool="solo") for _ in range(5)]
    names = [f"fan-out {number}" for number in range(10)]
    runs = {name: letters(shop, name, 30, kills=2) for name in names}

    kills = 0

    def all_over() -> bool:
        nonlocal kills
        kills += sum(again(shop, worker) for worker in workers)
        return all(over(shop, run) for run in runs.values())

    eventually(all_over, 120)
    assert kills == 20
    assert watchdog.status == "running"
    shop.settle()
    for name, run in runs.items():
        assert shop.outcomes(run) == ["lost", "lost", "succeeded"]
        assert Counter(written(shop, name)) == dict.fromkeys(range(30), 1)
        assert states(shop, run) == {"succeeded": 30}
        assert told(shop, name) == ["succeeded 30 0 0 0"]


def test_a_worker_that_is_told_to_end_begins_with_nobody_else_and_says_who_is_left(shop: Shop) -> None:
    shop.rows(PRESENCE)
    worker, watchdog = shop.worker("mail", concurrency=3, SHOP_SOFT_SHUTDOWN_SECONDS="60"), shop.watchdog()
    assert worker.ready()
    assert watchdog.ready()
    run = letters(shop, "digest", 60, plan={"concurrency": 8}, gate="digest", free=12)
    eventually(lambda: len(begun(shop, "digest")) == 15)

    before = begun(shop, "digest")
    worker.kill("SIGTERM")
    eventually(lambda: worker.said("worker stopping"))
    shop.open("digest")
    eventually(lambda: worker.status == "exited")
    assert begun(shop, "digest") == before
    done = written(shop, "digest")
    assert len(done) == 15

    lines = [each for each in worker.events() if each["event"] == "tenants left"]
    left = [tenant for line in lines for tenant in line["tenants"]]
    assert {(line["fan_out"], line["task"], line["count"]) for line in lines} == {(run, "shop.mail.letter", 45)}
    assert left == [tenant for tenant in tenants(shop, run) if int(tenant) not in done]

    later = shop.worker("mail")
    assert later.ready()
    assert ended(shop, run)["succeeded"] == 60
    assert sorted(written(shop, "digest")[15:]) == sorted(map(int, left))
    assert len(begun(shop, "digest")) == 60


def test_losing_redis_in_the_middle_loses_nobody(shop: Shop) -> None:
    shop.rows(PRESENCE)
    worker, watchdog = shop.worker("mail", concurrency=3), shop.watchdog()
    assert worker.ready()
    assert watchdog.ready()
    run = letters(shop, "digest", 60, plan={"concurrency": 8}, gate="digest", free=20)
    eventually(lambda: len(begun(shop, "digest")) == 23)

    shop.redis.flushall()
    shop.open("digest")

    assert ended(shop, run)["succeeded"] == 60
    assert sorted(written(shop, "digest")) == [*range(60)]
    assert told(shop, "digest") == ["succeeded 60 0 0 0"]


def test_the_end_is_told_once_although_whoever_writes_it_is_killed(shop: Shop, tmp_path: Path) -> None:
    shop.rows(PRESENCE)
    counted = tmp_path / "crashes"
    counted.mkdir()
    crash_at = {
        "STEADYBEAT_CRASH_AT": "before_end:shop.mail.letters:3 after_outbox:shop.mail.counted:1",
        "STEADYBEAT_CRASH_FOLDER": str(counted),
    }
    nodes: list[LocalNode] = [shop.worker("mail", **crash_at), shop.watchdog(**crash_at)]
    assert all(node.ready() for node in nodes)
    run = letters(shop, "digest", 20, plan={"concurrency": 4})

    def told_in_spite_of_it() -> bool:
        for node in nodes:
            again(shop, node)
        return len([*counted.iterdir()]) == 4 and bool(told(shop, "digest"))

    eventually(told_in_spite_of_it)
    for node in nodes:
        again(shop, node)
    assert ended(shop, run)["succeeded"] == 20
    assert sorted(written(shop, "digest")) == [*range(20)]
    assert told(shop, "digest") == ["succeeded 20 0 0 0"]
