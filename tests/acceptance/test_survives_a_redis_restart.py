"""Promise: losing Redis, or all that it holds, loses no fire."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from steadybeat import every
from steadybeat.dev.servers import RedisServer
from tests.acceptance.installation import Shop
from tests.acceptance.nodes import BeatNode
from tests.acceptance.project.timetable import CHARGE, TICK
from tests.eventually import eventually

RULES = {"tick": TICK, "charge": CHARGE}


@pytest.fixture
def shop(ledger_url: str, own_redis: RedisServer, open_shop: Callable[..., Shop]) -> Shop:
    return open_shop(ledger_url, own_redis.url)


def working(shop: Shop) -> tuple[datetime, BeatNode]:
    """Start a worker and a Beat; return, once fires have effects, since when they count."""
    worker, beat = shop.worker(), shop.beat()
    since = shop.deploy(*RULES)
    assert worker.ready()
    assert beat.ready()
    eventually(lambda: shop.fired("tick", since) and shop.fired("charge", since))
    return since, beat


def more_fires(shop: Shop, since: datetime) -> None:
    so_far = len(shop.fired("tick", since))
    eventually(lambda: len(shop.fired("tick", since)) >= so_far + 3)


def definitions(shop: Shop) -> dict[str, Any]:
    """What Redis has of each schedule, but for when it fires."""
    fields = ("definition", "steadybeat_revision", "steadybeat_spec", "steadybeat_digest")
    return {name: shop.redis.hmget(f"redbeat:{name}", *fields) for name in RULES}


def written(shop: Shop) -> dict[str, Any]:
    """Wait until Redis has every schedule as the ledger has it, and return what it has."""
    rows = {row.name: row.revision for row in shop.caller.steadybeat.ledger.schedules.all()}
    keys = {f"redbeat:{name}".encode() for name in rows}
    eventually(lambda: keys <= {*shop.redis.zrange("redbeat::schedule", 0, -1)})
    eventually(lambda: {name: int(found[1] or 0) for name, found in definitions(shop).items()} == rows)
    eventually(lambda: int(shop.redis.get("redbeat::steadybeat") or 0) >= max(rows.values()))
    return definitions(shop)


@pytest.mark.parametrize("append_only", [True, False], ids=["what it held comes back", "it comes back empty"])
def test_no_fire_is_lost_when_redis_is_killed_and_started_again(
    shop: Shop, own_redis: RedisServer, append_only: bool
) -> None:
    since, beat = working(shop)
    before = written(shop)

    own_redis.append_only = append_only
    own_redis.kill()
    eventually(lambda: not beat.leads)
    own_redis.start()

    more_fires(shop, since)
    assert written(shop) == before
    shop.keeps_its_promise(RULES, since)


def test_no_fire_is_lost_when_everything_in_redis_is_lost(shop: Shop) -> None:
    since, _ = working(shop)
    standby = shop.beat()
    assert standby.ready()
    before = written(shop)
    run = shop.send("orders.pack", "parcel", gate="parcel")
    eventually(lambda: shop.starts("parcel"))

    shop.redis.flushall()
    shop.open("parcel")

    more_fires(shop, since)
    assert written(shop) == before
    shop.keeps_its_promise(RULES, since)
    assert shop.run(run).state == "succeeded"
    assert len(shop.effects("parcel")) == 1


def test_an_old_backup_of_redis_brings_back_no_schedule_and_no_fire(
    shop: Shop, own_redis: RedisServer, tmp_path: Path
) -> None:
    since, beat = working(shop)
    old = written(shop)
    worker = shop.nodes[0]
    worker.pause()  # so that the backup has messages, of fires that have their effects by the time it is used
    eventually(lambda: shop.redis.llen("orders") and shop.redis.llen("billing"))
    shutil.copytree(own_redis.folder, tmp_path / "backup", ignore=shutil.ignore_patterns("server.*"))
    worker.unpause()
    charge = next(row for row in shop.caller.steadybeat.ledger.schedules.all() if row.name == "charge")
    edited = replace(charge, spec=every(timedelta(seconds=3)).to_json())
    shop.interventions.put(edited, who="ann", reason="less often")
    changed = datetime.now(UTC)
    new = written(shop)
    assert new["charge"] != old["charge"]
    eventually(lambda: shop.fired("charge", changed))

    beat.pause()
    own_redis.kill()
    shutil.copytree(tmp_path / "backup", own_redis.folder, dirs_exist_ok=True)
    own_redis.start()
    assert definitions(shop) == old
    beat.unpause()

    more_fires(shop, since)
    assert written(shop) == new
    eventually(lambda: len(shop.fired("charge", changed)) >= 3)
    had = shop.fired("charge", changed)
    assert had == list(every(timedelta(seconds=3)).between(changed, had[-1]))
    shop.keeps_its_promise({"tick": TICK}, since)
    assert len({*shop.fired("charge", since)}) == len(shop.fired("charge", since))


def test_a_run_whose_message_was_lost_is_sent_again(shop: Shop) -> None:
    run = shop.send("orders.pack", "parcel")
    shop.redis.flushall()
    worker, beat = shop.worker("orders"), shop.beat()
    assert worker.ready()
    assert beat.ready()

    eventually(lambda: shop.run(run).state == "succeeded")
    shop.settle()
    assert len(shop.effects("parcel")) == 1
    assert shop.run(run).rescue_count == 1
