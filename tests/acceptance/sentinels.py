"""A Redis with a replica, and three sentinels that watch over them: real processes, quick to notice a death."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import quote

import redis as redis_client
from redis.exceptions import RedisError

from steadybeat.dev.embedded import EmbeddedServer
from steadybeat.dev.leash import Child, StopSteps, spawn
from steadybeat.dev.servers import RedisServer, find_redis
from tests.eventually import eventually

MASTER = "mymaster"
PASSWORD = "of/the@servers"
SENTINEL_PASSWORD = "of the sentinels"


class SentinelServer(EmbeddedServer):
    """One sentinel.

    Args:
        folder: Where it keeps what it knows.
        watches: Port of the master at the start.
    """

    name = "Sentinel"
    stop_steps: ClassVar[StopSteps] = ((signal.SIGTERM, 1.5),)

    def __init__(self, folder: Path, watches: int) -> None:
        super().__init__(folder)
        self._watches = watches

    @property
    def url(self) -> str:
        return f"sentinel://127.0.0.1:{self.port}"

    def ask(self, *command: str) -> Any:
        with redis_client.Redis(port=self.port, password=SENTINEL_PASSWORD, decode_responses=True) as client:
            return client.execute_command(*command)

    def answers(self) -> bool:
        try:
            return self.child is not None and bool(self.ask("PING"))
        except RedisError:
            return False

    def _spawn(self, lock: int) -> Child:
        file = self.folder / "sentinel.conf"
        file.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\nrequirepass {SENTINEL_PASSWORD!r}\n"
            f"sentinel sentinel-pass {SENTINEL_PASSWORD!r}\n"
            f"sentinel monitor {MASTER} 127.0.0.1 {self._watches} 2\n"
            f"sentinel auth-pass {MASTER} {PASSWORD}\n"
            f"sentinel down-after-milliseconds {MASTER} 1000\n"
            f"sentinel failover-timeout {MASTER} 2000\n"
        )
        argv = [str(find_redis()), str(file), "--sentinel"]
        return spawn(argv, death_signal=signal.SIGTERM, cwd=self.folder, log=self.log, keep_open=(lock,))


class WatchedRedis:
    """A master, a replica and three sentinels, all with passwords. Leave it to end them.

    Attributes:
        master: The server that is the master at the start.
        replica: The other one.
        url: What an installation is given.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.master, self.replica = (
                stack.enter_context(RedisServer(self._folder / name)) for name in ("one", "two")
            )
            for server in (self.master, self.replica):
                with redis_client.Redis(port=server.port) as client:
                    client.config_set("masterauth", PASSWORD)
                    client.config_set("requirepass", PASSWORD)
            with redis_client.Redis(port=self.replica.port, password=PASSWORD) as client:
                client.replicaof("127.0.0.1", self.master.port)
                eventually(lambda: client.info("replication")["master_link_status"] == "up")
            self.sentinels = [
                stack.enter_context(SentinelServer(self._folder / f"sentinel-{number}", self.master.port))
                for number in range(3)
            ]
            eventually(lambda: all(self._knows_all(each) for each in self.sentinels))
            self._open = stack.pop_all()
        hosts = ";".join(each.url for each in self.sentinels)
        login = f":{quote(PASSWORD, safe='')}@"
        self.url = f"{hosts.replace('://', f'://{login}', 1)}/1?master_name={MASTER}"
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def master_port(self) -> int:
        """Where the sentinels say that the master is."""
        return int(self.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)[1])

    def hand_over(self) -> None:
        """Have the sentinels make the replica the master, while the master lives and becomes a replica."""
        self.sentinels[0].ask("SENTINEL", "FAILOVER", MASTER)

    @staticmethod
    def _knows_all(sentinel: SentinelServer) -> bool:
        said = sentinel.ask("SENTINEL", "MASTER", MASTER)
        state = said if isinstance(said, dict) else dict(zip(said[::2], said[1::2], strict=True))
        return int(state["num-other-sentinels"]) == 2 and int(state["num-slaves"]) == 1
