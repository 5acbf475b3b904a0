"""Promise: a worker of a guarded queue does not start while work could be lost or doubled, and says what to change."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from steadybeat.dev.servers import PostgresServer, RedisServer
from steadybeat.ledger import Ledger
from steadybeat.settings import Settings
from tests.acceptance.installation import Shop
from tests.eventually import eventually


@pytest.fixture
def shop(
    servers_folder: Path, tmp_path: Path, own_redis: RedisServer, open_shop: Callable[..., Shop]
) -> Iterator[Shop]:
    """A shop on servers that keep what they are given, whose orders are guarded."""
    with PostgresServer(servers_folder / f"postgres-{tmp_path.name}") as durable:
        ledger = Ledger(Settings(database_url=durable.url))
        ledger.upgrade()
        ledger.database.close()
        shop = open_shop(durable.url, own_redis.url, STEADYBEAT_GUARDED_QUEUES="orders", STEADYBEAT_LEASE_SECONDS="9")
        yield shop
        shop.close()


def refusal(shop: Shop, *queues: str, **env: str) -> list[str]:
    """Run a worker that must refuse to start; return the lines of its log with which it does."""
    code, said = shop.run_celery("worker", "-Q", ",".join(queues), "-c", "1", **env)
    assert code == 2, said
    assert "Traceback" not in said
    assert not shop.rows("SELECT FROM steadybeat.instances")
    told = [json.loads(line)["event"] for line in said.splitlines() if line.startswith("{")]
    return [event.removeprefix("Error: ") for event in told if event.startswith("Error: ")]


def works(shop: Shop, queue: str) -> None:
    """Start a worker of a queue, and see it work."""
    assert shop.worker(queue).ready()
    run = shop.send(f"{queue}.pack", "safe")
    eventually(lambda: shop.run(run).state == "succeeded")


def test_it_does_not_start_while_keys_are_pruned_too_early_and_starts_when_that_is_mended(shop: Shop) -> None:
    lines = refusal(shop, "orders", "mail", STEADYBEAT_RETENTION_SECONDS="3600")
    wanted = "-Q orders: is guarded, and work could be doubled: keys_outlive_messages of shop.orders."
    assert lines
    assert all(line.startswith(wanted) for line in lines)
    assert all("Set steadybeat_retention_seconds to more than " in line for line in lines)
    assert shop.worker("mail", STEADYBEAT_RETENTION_SECONDS="3600").ready()  # which is not guarded
    works(shop, "orders")


def test_a_redis_that_would_lose_its_locks_keeps_it_from_starting_until_it_keeps_them(shop: Shop) -> None:
    shop.redis.config_set("appendonly", "no")
    [line] = refusal(shop, "orders")
    assert line.startswith("-Q orders: is guarded, and work could be lost: redis_persists of redis redis://127.0.0.1:")
    assert ": aof_enabled=0 (INFO persistence)" in line
    assert "Run `redis-cli CONFIG SET appendonly yes`" in line
    shop.redis.config_set("appendonly", "yes")
    works(shop, "orders")


def test_a_guarded_queue_that_is_misspelt_keeps_every_worker_from_starting(shop: Shop) -> None:
    [line] = refusal(shop, "mail", STEADYBEAT_GUARDED_QUEUES="oders")
    assert "steadybeat_guarded_queues='oders': there is no such queue. Did you mean 'orders'? Known are: " in line
