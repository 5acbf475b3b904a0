"""Promise: losing Redis, or all that it holds, loses no fire."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest

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


def test_no_fire_is_lost_when_redis_is_killed_and_started_again(shop: Shop, own_redis: RedisServer) -> None:
    since, beat = working(shop)

    own_redis.kill()
    eventually(lambda: not beat.leads)
    own_redis.start()

    more_fires(shop, since)
    shop.keeps_its_promise(RULES, since)


def test_no_fire_is_lost_when_everything_in_redis_is_lost(shop: Shop) -> None:
    since, _ = working(shop)
    run = shop.send("orders.pack", "parcel", gate="parcel")
    eventually(lambda: shop.starts("parcel"))

    shop.redis.flushall()
    shop.open("parcel")

    more_fires(shop, since)
    eventually(lambda: {b"redbeat:tick", b"redbeat:charge"} <= {*shop.redis.zrange("redbeat::schedule", 0, -1)})
    shop.keeps_its_promise(RULES, since)
    assert shop.run(run).state == "succeeded"
    assert len(shop.effects("parcel")) == 1


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
