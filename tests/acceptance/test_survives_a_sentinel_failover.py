"""Promise: when the master of Redis dies, hangs or is replaced, the sentinels' next one is used by itself.

The installation is given one URL of sentinels, and nothing else about Redis but the sentinels' own password.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.acceptance.installation import Shop
from tests.acceptance.nodes import LocalNode
from tests.acceptance.project.timetable import TICK
from tests.acceptance.sentinels import SENTINEL_PASSWORD, WatchedRedis
from tests.eventually import eventually


@pytest.fixture
def watched(servers_folder: Path, tmp_path: Path) -> Iterator[WatchedRedis]:
    with WatchedRedis(servers_folder / tmp_path.name) as servers:
        yield servers


@pytest.fixture
def shop(ledger_url: str, watched: WatchedRedis, open_shop: Callable[..., Shop]) -> Shop:
    return open_shop(ledger_url, watched.url, SHOP_SENTINEL_PASSWORD=SENTINEL_PASSWORD)


def working(shop: Shop) -> tuple[datetime, list[LocalNode]]:
    """Start a worker and two Beats; return, once fires have effects, since when they count."""
    nodes: list[LocalNode] = [shop.worker(), shop.beat("-n", "first@%h"), shop.beat("-n", "second@%h")]
    since = shop.deploy("tick")
    for node in nodes:
        assert node.ready()
    eventually(lambda: shop.fired("tick", since) and len(shop.answering()) == 3)
    return since, nodes


def kill(servers: WatchedRedis) -> None:
    servers.master.kill()


def freeze(servers: WatchedRedis) -> None:
    assert servers.master.child is not None
    servers.master.child.send(signal.SIGSTOP)


@pytest.mark.parametrize("happens", [kill, freeze, WatchedRedis.hand_over])
def test_no_fire_is_lost_and_no_process_ends_when_the_master_changes(
    shop: Shop, watched: WatchedRedis, happens: Callable[[WatchedRedis], None]
) -> None:
    since, nodes = working(shop)
    pids = [node.pid for node in nodes]

    happens(watched)
    eventually(lambda: watched.master_port() == watched.replica.port)
    shop.leader()
    so_far = len(shop.fired("tick", since))
    eventually(lambda: len(shop.fired("tick", since)) >= so_far + 3)

    eventually(lambda: len(shop.answering()) == 3)

    shop.keeps_its_promise({"tick": TICK}, since)
    assert [(node.pid, node.status) for node in nodes] == [(pid, "running") for pid in pids]
    assert not any(SENTINEL_PASSWORD in node.logs() for node in nodes)
