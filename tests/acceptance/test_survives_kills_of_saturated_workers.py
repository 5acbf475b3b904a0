"""Promise: whatever is killed, stopped or emptied under saturated workers, nothing is lost and nothing doubled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from steadybeat.dev.servers import PostgresServer, RedisServer
from steadybeat.ledger import Ledger
from steadybeat.settings import Settings
from tests.acceptance.installation import Shop
from tests.acceptance.nodes import WorkerNode
from tests.eventually import eventually

Open = Callable[..., Shop]


def send(shop: Shop, count: int) -> set[str]:
    return {shop.send("billing.add", number, number, name="sale") for number in range(count)}


def done(shop: Shop) -> int:
    return int(shop.rows("SELECT count(*) FROM public.effects")[0].count)


def is_ready(worker: WorkerNode) -> bool:
    return worker.said("worker ready")


def assert_each_had_one_effect(shop: Shop, runs: set[str]) -> None:
    """All succeeded; and no code ran, and no effect was committed, without an attempt on record to allow it."""
    shop.settle()
    effects = Counter(str(row.run_id) for row in shop.effects("sale"))
    assert {run: count for run, count in effects.items() if count > 1} == {}
    assert effects.keys() == runs
    states = shop.rows("SELECT state, count(*) AS runs FROM steadybeat.runs GROUP BY state")
    assert {row.state: row.runs for row in states} == {"succeeded": len(runs)}
    attempts = {str(row.id): row.attempt_count for row in shop.rows("SELECT id, attempt_count FROM steadybeat.runs")}
    starts = Counter(each["run"] for each in shop.starts("sale"))
    assert {run: count for run, count in starts.items() if count > attempts[run]} == {}
    unguarded = shop.rows(
        "SELECT e.run_id FROM public.effects e WHERE NOT EXISTS (SELECT FROM steadybeat.attempts a"
        " WHERE a.run = e.run_id AND a.started_at <= e.at AND a.finished_at >= e.at)"
    )
    assert not unguarded


def test_kills_of_whole_workers_lose_nothing_and_double_nothing(shop: Shop) -> None:
    watchdog = shop.watchdog()
    assert watchdog.ready()
    runs = send(shop, 600)
    workers = [shop.worker(), shop.worker()]
    for number in range(1, 7):
        eventually(lambda due=number * 80: done(shop) >= due and any(map(is_ready, workers)))
        victim = next(filter(is_ready, workers))
        victim.kill("SIGKILL")
        workers.remove(victim)
        workers.append(shop.worker())

    assert_each_had_one_effect(shop, runs)


def test_a_redis_that_is_emptied_and_then_killed_costs_a_delay(
    ledger_url: str, own_redis: RedisServer, open_shop: Open
) -> None:
    shop = open_shop(ledger_url, own_redis.url)
    worker, watchdog = shop.worker(), shop.watchdog()
    assert worker.ready()
    assert watchdog.ready()
    runs = send(shop, 150)
    eventually(lambda: done(shop) >= 20)
    shop.redis.flushall()
    runs |= send(shop, 150)
    eventually(lambda: done(shop) >= 100)
    own_redis.kill()
    own_redis.append_only = False
    own_redis.start()

    assert_each_had_one_effect(shop, runs)
    assert worker.status == watchdog.status == "running"


@pytest.fixture
def own_postgres(servers_folder: Path, tmp_path: Path) -> Iterator[PostgresServer]:
    """A Postgres that this test may break."""
    with PostgresServer(servers_folder / tmp_path.name, durable=False) as server:
        ledger = Ledger(Settings(database_url=server.url))
        ledger.upgrade()
        ledger.database.close()
        yield server


def test_a_postgres_that_restarts_twice_lets_nothing_run_unguarded(
    own_postgres: PostgresServer, redis_url: str, open_shop: Open
) -> None:
    shop = open_shop(own_postgres.url, redis_url)
    runs = send(shop, 400)
    worker, watchdog = shop.worker(concurrency=4), shop.watchdog()
    assert watchdog.ready()
    for due in (50, 150):
        eventually(lambda due=due: done(shop) >= due)
        own_postgres.stop()
        own_postgres.start()

    assert_each_had_one_effect(shop, runs)
    assert worker.status == watchdog.status == "running"
