"""Promise: `audit --live` says of the running system what is set wrong, and with which setting it is mended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from steadybeat.dev.servers import PostgresServer, RedisServer
from steadybeat.ledger import Ledger
from steadybeat.settings import Settings
from tests.acceptance.installation import Shop
from tests.eventually import eventually

WELL = {"STEADYBEAT_LEASE_SECONDS": "60", "STEADYBEAT_STOP_GRACE_SECONDS": "30", "STEADYBEAT_CANARY_SECONDS": "1"}


@pytest.fixture
def shop(
    servers_folder: Path, tmp_path: Path, own_redis: RedisServer, open_shop: Callable[..., Shop]
) -> Iterator[Shop]:
    """A shop on servers that keep what they are given."""
    with PostgresServer(servers_folder / f"postgres-{tmp_path.name}") as durable:
        ledger = Ledger(Settings(database_url=durable.url))
        ledger.upgrade()
        ledger.database.close()
        shop = open_shop(durable.url, own_redis.url, **WELL)
        yield shop
        shop.close()


def audited(shop: Shop, **env: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """Return the exit code, and what is said of each inequality."""
    code, said = shop.run_celery("audit", "--live", "--json", **env)
    found: dict[str, list[dict[str, Any]]] = {}
    for row in json.loads(said)["inequalities"]:
        found.setdefault(row["name"], []).append(row)
    return code, found


def violated(shop: Shop, **env: str) -> list[str]:
    """Return the names of what is violated; the exit code says whether there is any."""
    code, found = audited(shop, **env)
    names = [name for name, rows in found.items() if any(row["verdict"] == "FAIL" for row in rows)]
    assert code == bool(names), found
    return names


def test_a_system_that_is_set_right_passes_and_each_part_that_breaks_is_seen(
    shop: Shop, own_redis: RedisServer
) -> None:
    worker, beats, watchdog = shop.worker(), [shop.beat("-n", "one@%h"), shop.beat("-n", "two@%h")], shop.watchdog()
    shop.deploy("tick")
    for node in (worker, *beats, watchdog):
        assert node.ready()
    shop.leader()
    eventually(lambda: shop.rows("SELECT FROM steadybeat.canaries WHERE answered_at IS NOT NULL"))
    eventually(lambda: violated(shop) == [])
    _, found = audited(shop)
    assert {row["verdict"] for rows in found.values() for row in rows} <= {"PASS", "N/A"}
    assert {name for name, rows in found.items() if rows[0]["verdict"] == "N/A"} == {
        "guarded_queues_are_declared",
        "key_ttls_outlive_messages",
    }

    assert violated(shop, STEADYBEAT_RETENTION_SECONDS="3600")[0] == "keys_outlive_messages"
    shop.redis.config_set("appendonly", "no")
    assert violated(shop) == ["redis_persists"]
    shop.redis.config_set("appendonly", "yes")
    worker.pause()
    eventually(lambda: "workers_answer" in violated(shop))
    worker.unpause()
    eventually(lambda: violated(shop) == [])
    standby = next(beat for beat in beats if not beat.leads)
    standby.container.process.stop()
    assert violated(shop) == ["beats_are_two"]
    for node in (watchdog, worker):
        node.container.process.stop()
    gone = {"a_watchdog_watches", "beats_are_two", "queues_have_consumers", "services_have_workers"}
    eventually(lambda: {*violated(shop)} == gone)


def test_what_is_violated_is_printed_first_with_the_setting_to_change(shop: Shop) -> None:
    shop.redis.config_set("appendonly", "no")
    said = shop.celery("audit", "--live", code=1, STEADYBEAT_STOP_GRACE_SECONDS="")
    title, first, *others = said.splitlines()
    assert title.split("  ")[0].strip() in {"VERDICT", ""}
    assert first.split()[:4] == ["FAIL", "lost", "redis_persists", "redis"]
    assert "run `redis-cli CONFIG SET appendonly yes`" in first
    verdicts = [line.split()[0] for line in others[:-1]]
    assert verdicts == sorted(verdicts)
    assert {*verdicts} == {"FAIL", "UNKNOWN"}
    assert "1 could lose or double work" in others[-1]
    everything = shop.celery("audit", "--live", "--all", code=1)
    assert " lease_margin_outlives_kills " in everything
    assert " lease_margin_outlives_kills " not in said


def test_without_its_servers_it_says_what_it_knows_and_what_to_run(shop: Shop, own_redis: RedisServer) -> None:
    own_redis.stop()
    code, found = audited(shop)
    assert code == 1
    assert found["servers_answer"][0]["verdict"] == "FAIL"
    assert found["redis_persists"][0]["verdict"] == "UNKNOWN"
    assert found["redis_persists"][0]["remedy"] == "start it, or set STEADYBEAT_REDIS_URL, then run this again"
    assert found["keys_outlive_messages"][0]["verdict"] == "PASS"
    own_redis.start()
