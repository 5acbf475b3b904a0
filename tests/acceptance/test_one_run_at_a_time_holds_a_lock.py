"""Promise: of the runs that hold the same lock one works at a time, whatever becomes of it and of Redis."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from steadybeat.dev.servers import RedisServer
from tests.acceptance.installation import Shop
from tests.eventually import eventually

_PRESENCE = """
    CREATE TABLE public.presence (
        id bigserial, place text NOT NULL, run_id uuid NOT NULL, pid int NOT NULL,
        came_at timestamptz NOT NULL DEFAULT clock_timestamp(), left_at timestamptz
    )
"""
_MOST_AT_ONCE = """
    SELECT place, max(count) AS most FROM (
        SELECT came.place, count(*) FROM public.presence came
          JOIN public.presence there ON there.place = came.place
               AND there.came_at <= came.came_at AND coalesce(there.left_at, 'infinity') > came.came_at
         GROUP BY came.place, came.id) counted
     GROUP BY place
"""
_WAITS = """
    SELECT r.reason FROM steadybeat.runs r JOIN steadybeat.outbox o ON o.run = r.id
     WHERE r.id = CAST(:run AS uuid) AND o.waits_for IS NOT NULL
"""

_numbers = itertools.count(1)


@pytest.fixture
def tills(ledger_url: str, redis_url: str, open_shop: Callable[..., Shop]) -> Callable[..., Shop]:
    """Opens the shop with a relay: the runs that wait for a lock wait in its outbox."""

    def open_tills(**settings: str) -> Shop:
        shop = open_shop(ledger_url, redis_url, **settings)
        shop.rows(_PRESENCE)
        shop.watchdog()
        return shop

    return open_tills


@pytest.fixture
def three(servers_folder: Path) -> Iterator[list[RedisServer]]:
    """Three servers that forget everything when they are restarted."""
    with ExitStack() as stack:
        folders = [servers_folder / f"quorum-{next(_numbers)}" for _ in range(3)]
        yield [stack.enter_context(RedisServer(folder, append_only=False)) for folder in folders]


def presence(shop: Shop, run: str) -> list[int]:
    """Return the processes in which a run has worked, in their order."""
    found = shop.rows("SELECT pid FROM public.presence WHERE run_id = CAST(:run AS uuid) ORDER BY id", run=run)
    return [row.pid for row in found]


def waits(shop: Shop, run: str) -> str:
    """Return what a run says of the lock that it waits for, and nothing while it does not."""
    return next((str(row.reason) for row in shop.rows(_WAITS, run=run)), "")


def test_a_burst_goes_one_by_one_and_never_more_than_its_bound_at_a_time(tills: Callable[..., Shop]) -> None:
    shop = tills()
    workers = [shop.worker("orders", concurrency=3) for _ in range(2)]
    assert all(worker.ready() for worker in workers)
    runs = [shop.send("orders.collect", place, f"{place} first {n}", gate="bound") for n in range(3) for place in "xy"]
    eventually(lambda: sum(len(presence(shop, run)) for run in runs) == 4)  # two at each, and two that wait
    shop.open("bound")
    runs += [shop.send("orders.deposit", place, f"{place}{n}") for n in range(6) for place in "ab"]
    runs += [shop.send("orders.collect", place, f"{place}{n}") for n in range(8) for place in "xy"]
    shop.settle()
    assert {row.place: row.most for row in shop.rows(_MOST_AT_ONCE)} == {"a": 1, "b": 1, "x": 2, "y": 2}
    for run in map(shop.run, runs):
        assert (run.state, run.attempt_count, run.retry_count, run.crash_count) == ("succeeded", 1, 0, 0)
    assert [row.outcome for row in shop.rows("SELECT outcome FROM steadybeat.attempts")] == ["succeeded"] * len(runs)
    assert len(shop.rows("SELECT DISTINCT name FROM public.effects")) == len(runs)
    assert shop.redis.keys("steadybeat:*") == []


def test_a_lock_that_is_held_makes_a_run_wait_or_be_skipped_and_outlives_no_worker(tills: Callable[..., Shop]) -> None:
    shop = tills()
    killed = shop.worker("orders")
    holder = shop.send("orders.deposit", "a", "first", gate="till")
    eventually(lambda: presence(shop, holder))
    waiting, skipped = shop.send("orders.deposit", "a", "second"), shop.send("orders.tidy", "a", "tidied")
    held = f'lock "account:a": held by run {holder}'
    eventually(lambda: waits(shop, waiting) == f"waits for {held}")
    eventually(lambda: shop.run(skipped).reason == f"skipped for {held}")
    assert shop.run(skipped).state == "cancelled"

    killed.kill()
    shop.open("till")
    shop.worker("orders")
    shop.settle()
    assert [len(shop.effects(name)) for name in ("first", "second", "tidied")] == [1, 1, 0]
    assert shop.outcomes(holder) == ["lost", "succeeded"]
    assert shop.outcomes(waiting) == ["succeeded"]


def test_a_lock_is_given_back_on_every_way_out(tills: Callable[..., Shop]) -> None:
    shop = tills(STEADYBEAT_LEASE_SECONDS="600")  # none lapses while this waits
    shop.worker("orders")
    ways = ("success", "error", "retry", "ignore", "reject", "permanent", "exit", "soft time limit")
    for how in ways:
        shop.send("orders.leave", how)
    shop.settle()
    held = {row.name for row in shop.rows("SELECT name FROM steadybeat.turns")}
    assert held == {f"lock:account:{how}" for how in ways}
    eventually(lambda: shop.redis.keys("steadybeat:*") == [])

    holder = shop.send("orders.deposit", "a", "first", gate="till")
    (child,) = eventually(lambda: presence(shop, holder))
    waiting = shop.send("orders.deposit", "a", "second")
    eventually(lambda: waits(shop, waiting))
    os.kill(child, signal.SIGKILL)  # its parent gives the lock back, and has the run tried again in two minutes
    eventually(lambda: shop.run(waiting).state == "succeeded")
    assert shop.outcomes(holder) == ["lost"]


def test_a_holder_that_was_stopped_until_another_had_its_lock_is_refused(tills: Callable[..., Shop]) -> None:
    shop = tills()
    stalled = shop.worker("orders", concurrency=1)
    holder = shop.send("orders.doze", "a", "first")
    (start,) = eventually(lambda: shop.starts("first"))
    shop.worker("orders")
    other = shop.send("orders.deposit", "a", "second")
    eventually(lambda: shop.run(other).state == "succeeded")
    assert shop.run(holder).state == "running"  # its worker is alive, and so is its lease

    os.kill(start["pid"], signal.SIGCONT)
    shop.settle()
    assert [row.name for row in (*shop.effects("second"), *shop.effects("first"))] == ["second", "first"]
    assert shop.outcomes(holder) == ["interrupted", "succeeded"]
    assert stalled.said("run interrupted", run_id=holder)


def test_most_of_three_lock_servers_decide_and_without_them_runs_wait(
    tills: Callable[..., Shop], three: list[RedisServer]
) -> None:
    shop = tills(STEADYBEAT_LOCK_URLS=" ".join(server.url for server in three))
    worker = shop.worker("orders")
    assert worker.ready()
    three[0].stop()
    first = shop.send("orders.deposit", "a", "first")
    eventually(lambda: shop.run(first).state == "succeeded")
    three[1].stop()
    second = shop.send("orders.deposit", "a", "second")
    eventually(lambda: "does not answer" in waits(shop, second))
    assert presence(shop, second) == []
    three[0].start()
    shop.settle()
    assert len(shop.effects("second")) == 1
    assert shop.outcomes(second) == ["succeeded"]
    assert shop.redis.keys("steadybeat:*") == []
