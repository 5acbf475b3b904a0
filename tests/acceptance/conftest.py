"""An installation of the shop for each test, on servers of its own where the test breaks them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from steadybeat.dev.servers import RedisServer
from tests.acceptance.installation import Shop

_numbers = itertools.count(1)


@pytest.fixture
def own_redis(servers_folder: Path) -> Iterator[RedisServer]:
    """A Redis that a test may break; what it holds survives a restart."""
    with RedisServer(servers_folder / f"redis-{next(_numbers)}") as server:
        yield server


@pytest.fixture
def open_shop(tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    """Open an installation on given servers, and close it after the test."""
    opened: list[Shop] = []

    def open_on(database_url: str, redis_url: str, **settings: str) -> Shop:
        opened.append(Shop(tmp_path, database_url, redis_url, settings))
        return opened[-1]

    yield open_on
    for shop in opened:
        shop.close()


@pytest.fixture
def shop(ledger_url: str, redis_url: str, open_shop: Callable[..., Shop]) -> Shop:
    """An installation on the servers of the whole session, which are asked for first and so closed last."""
    return open_shop(ledger_url, redis_url)
