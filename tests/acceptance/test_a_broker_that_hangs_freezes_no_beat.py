"""Promise: a broker that accepts and never answers freezes no Beat, and costs a delay, never a fire."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from steadybeat.dev.servers import RedisServer
from steadybeat.settings import Settings
from steadybeat.telemetry import vitals
from tests.acceptance.installation import Shop
from tests.acceptance.project.timetable import AUDIT, CHARGE, TICK
from tests.eventually import eventually

RULES = {"tick": TICK, "charge": CHARGE, "audit": AUDIT}
HANGS = timedelta(seconds=12)
HEALTH_SECONDS = 9.0


@pytest.fixture
def shop(ledger_url: str, own_redis: RedisServer, open_shop: Callable[..., Shop]) -> Shop:
    return open_shop(ledger_url, own_redis.url, STEADYBEAT_HEALTH_SECONDS=str(HEALTH_SECONDS))


def are_well(shop: Shop) -> bool:
    """What `health beat` would say, without the time that a command takes to start."""
    found = vitals(Settings(health_folder=shop.env["STEADYBEAT_HEALTH_FOLDER"]), "beat")
    return len(found) == 2 and all(each.is_well(time.monotonic()) for each in found)


def test_beats_stay_well_and_lose_no_fire_while_redis_hangs(shop: Shop, own_redis: RedisServer) -> None:
    worker, beats = shop.worker(), [shop.beat(), shop.beat()]
    since = shop.deploy(*RULES)
    assert all(node.ready() for node in (worker, *beats))
    shop.leader()
    eventually(lambda: are_well(shop) and all(shop.fired(name, since) for name in RULES))

    assert own_redis.child is not None
    own_redis.child.send(signal.SIGSTOP)
    until = datetime.now(UTC) + HANGS
    eventually(lambda: hung(shop, until))
    assert shop.run_celery("health", "beat")[0] == 0
    eventually(lambda: not any(node.leads for node in beats))
    own_redis.child.send(signal.SIGCONT)

    shop.leader()
    so_far = len(shop.fired("tick", since))
    eventually(lambda: len(shop.fired("tick", since)) >= so_far + 3)
    assert are_well(shop)
    assert shop.run_celery("health", "beat")[0] == 0
    shop.keeps_its_promise(RULES, since)
    assert [node.status for node in (worker, *beats)] == ["running"] * 3


def hung(shop: Shop, until: datetime) -> bool:
    """Whether the time is up; the Beats are well all the while."""
    if not are_well(shop):
        raise RuntimeError("a Beat is frozen")
    return datetime.now(UTC) >= until
