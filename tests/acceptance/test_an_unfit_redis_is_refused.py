"""Promise: a Redis that may delete what it holds, or that is a cluster, is refused at start, with the way out."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from steadybeat.dev.leash import Child, spawn
from steadybeat.dev.servers import RedisServer, find_redis, free_port
from tests.acceptance.installation import Shop

BUS_OFFSET = 10_000
ROLES = (("beat",), ("watchdog",), ("worker", "-Q", "orders", "-c", "1"))


class ClusterNode(RedisServer):
    """A server with cluster mode switched on, as the nodes of a managed cluster have it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, port=port_below_a_bus())

    def _spawn(self, lock: int) -> Child:
        argv = [str(find_redis()), "--port", str(self.port), "--bind", "127.0.0.1", "--cluster-enabled", "yes"]
        return spawn(argv, death_signal=signal.SIGTERM, cwd=self.folder, log=self.log, keep_open=(lock,))


def port_below_a_bus() -> int:
    """Return a free port above which, by ten thousand, the port is free too on which the nodes of a cluster meet."""
    while True:
        port = free_port() - BUS_OFFSET
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def refusal(shop: Shop, *command: str) -> str:
    """Run a process that must refuse to start; return the line with which it does."""
    code, said = shop.run_celery(*command)
    assert code == 2, said
    lines = [line for line in said.splitlines() if "Error: " in line]
    assert len(lines) == 1, said
    assert "Traceback" not in said
    return lines[0]


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role[0])
def test_a_redis_that_evicts_is_refused_by_every_process(
    ledger_url: str, own_redis: RedisServer, open_shop: Callable[..., Shop], role: tuple[str, ...]
) -> None:
    shop = open_shop(ledger_url, own_redis.url)
    shop.redis.config_set("maxmemory-policy", "volatile-lru")
    line = refusal(shop, *role)
    assert f"Redis at redis://127.0.0.1:{own_redis.port}/0 has maxmemory-policy volatile-lru: " in line
    assert "Run `redis-cli CONFIG SET maxmemory-policy noeviction`" in line


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role[0])
def test_a_redis_in_cluster_mode_is_refused_by_every_process(
    ledger_url: str, servers_folder: Path, tmp_path: Path, open_shop: Callable[..., Shop], role: tuple[str, ...]
) -> None:
    with ClusterNode(servers_folder / tmp_path.name) as node:
        line = refusal(open_shop(ledger_url, node.url), *role)
    assert "runs with cluster-enabled yes. Redis Cluster cannot be used: " in line
    assert "Point STEADYBEAT_REDIS_URL to a server without it, or to sentinels." in line
