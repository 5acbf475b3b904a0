"""Promise: a process that lives and does nothing fails its health check, and an outage of a server fails none."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from steadybeat.dev.servers import RedisServer
from steadybeat.settings import Settings
from steadybeat.telemetry import vitals
from tests.acceptance.installation import Shop
from tests.acceptance.nodes import LocalNode
from tests.eventually import eventually

ROLES = ("beat", "worker", "watchdog")
DETECTED_SECONDS = 15.0


def is_well(shop: Shop, role: str) -> bool:
    """What the health check would say, without the time that a command takes to start."""
    found = vitals(Settings(health_folder=shop.env["STEADYBEAT_HEALTH_FOLDER"]), role)
    return bool(found) and all(each.is_well(time.monotonic()) for each in found)


def health(shop: Shop, role: str) -> list[dict[str, Any]]:
    """What the command says, which never speaks to a server: the addresses given to it are nobody's."""
    nowhere = {"STEADYBEAT_REDIS_URL": "redis://127.0.0.1:1", "STEADYBEAT_DATABASE_URL": "postgresql://127.0.0.1:1/no"}
    code, said = shop.run_celery("health", role, "--json", **nowhere)
    found: list[dict[str, Any]] = json.loads(said)
    assert code == (0 if found and all(each["well"] for each in found) else 1)
    return found


def started(shop: Shop, **env: str) -> dict[str, LocalNode]:
    nodes: dict[str, LocalNode] = {
        "beat": shop.beat("-S", "shop.faults:StandsStill", **env),
        "worker": shop.worker(SHOP_STUCK="1", **env),
        "watchdog": shop.watchdog(**env),
    }
    for role, node in nodes.items():
        assert node.ready()
        eventually(lambda role=role: is_well(shop, role))  # type: ignore[misc]
    return nodes


def test_a_stopped_process_of_each_kind_fails_within_15_seconds_and_is_well_once_it_goes_on(shop: Shop) -> None:
    nodes = started(shop)
    for role in ROLES:
        nodes[role].pause()
    eventually(lambda: not any(is_well(shop, role) for role in ROLES), DETECTED_SECONDS)
    assert [health(shop, role)[0]["well"] for role in ROLES] == [False, False, False]
    for role in ROLES:
        nodes[role].unpause()
    eventually(lambda: all(is_well(shop, role) for role in ROLES))


def test_a_stuck_event_loop_and_a_stuck_tick_are_seen(shop: Shop) -> None:
    started(shop, STEADYBEAT_HEALTH_SECONDS="3")
    (shop.folder / "stand-still").touch()
    eventually(lambda: not is_well(shop, "worker") and not is_well(shop, "beat"), DETECTED_SECONDS)
    assert "event loop" in health(shop, "worker")[0]["silent"]
    assert "tick" in health(shop, "beat")[0]["silent"]
    assert is_well(shop, "watchdog")


def test_an_outage_of_redis_fails_no_process(
    ledger_url: str, own_redis: RedisServer, open_shop: Callable[..., Shop]
) -> None:
    shop = open_shop(ledger_url, own_redis.url)
    nodes = started(shop, STEADYBEAT_HEALTH_SECONDS="3")
    own_redis.kill()
    eventually(lambda: nodes["worker"].logs().count("Cannot connect to") >= 2)  # it pauses 2 s, then 4 s
    assert all(is_well(shop, role) for role in ROLES)
    assert health(shop, "worker")[0]["well"]
    own_redis.start()
    eventually(lambda: "Connected to" in nodes["worker"].logs().rpartition("Cannot connect to")[2])
    eventually(lambda: all(is_well(shop, role) for role in ROLES))


def test_one_that_ends_well_or_is_killed_is_not_asked_for_any_more(shop: Shop) -> None:
    nodes = started(shop)
    nodes["watchdog"].kill("SIGTERM")
    eventually(lambda: nodes["watchdog"].status == "exited")
    assert nodes["watchdog"].container.process.ending.endswith("exit code 0")
    assert health(shop, "watchdog") == []
    nodes["worker"].kill()
    assert health(shop, "worker") == []
