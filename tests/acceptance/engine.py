"""What Docker would do with docker-compose.yml, done with processes of this machine.

Each container is a process with the command, the environment and nothing else of its service. The host names of
services stand for 127.0.0.1, their ports for free ones, and each has a temporary folder of its own. What the images
bring along is played by the programs of the embedded servers, and by the wheels that ops/Dockerfile builds.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from steadybeat.dev import unprivileged
from steadybeat.dev.leash import Child, spawn
from steadybeat.dev.servers import find_postgres, find_redis, free_port
from tests.acceptance.compose import Service, in_order
from tests.eventually import eventually

PORTS = {"redis": 6379, "postgres": 5432}
PATIENCE_SECONDS = 300.0
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"

# What `redis-cli ping` does, for machines that have none.
_PING = "import os, redis; print('PONG' * redis.Redis(port={port}, password=os.environ['REDISCLI_AUTH']).ping())"


class ContainerEnded(Exception):
    """A container has ended that should have stayed, or has ended badly."""


@dataclass
class Image:
    """What an image brings along.

    Attributes:
        programs: Folders that stand first on the PATH.
        folder: Where its processes run.
        environment: What its ENV says.
        entrypoint: What comes before a service's command.
        user: As whom its processes run, where that is not us.
    """

    programs: Sequence[Path]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    user: object = None


class Container:
    """One process of a service."""

    def __init__(self, number: int, service: Service, image: Image, engine: Engine) -> None:
        self.name = name = f"{service.name}-{number}"
        self.service = service
        self.log = engine.folder / f"{name}.log"
        self._image = image
        self._tmp = engine.folder / name
        self._tmp.mkdir()
        self._tmp.chmod(0o1777)
        path = ":".join([*map(str, image.programs), SYSTEM_PATH])
        own = {key: engine.local(service, value, number) for key, value in service.environment.items()}
        self._environment = {**image.environment, "PATH": path, "TMPDIR": str(self._tmp), **own}
        self._command = [engine.local(service, word, number) for word in (*image.entrypoint, *service.command)]
        self._health = [engine.local(service, word, number) for word in service.health or ()]
        self._turn = engine.one_check_at_a_time
        self._next_check = 0.0
        self.child: Child | None = None

    def start(self) -> None:
        self.child = spawn(self.argv(self._command), cwd=self._image.folder, log=self.log, account=self._image.user)
        self._next_check = time.monotonic() + self.service.health_interval.total_seconds()

    def argv(self, words: Sequence[str]) -> list[str]:
        """Return a command that runs in this container's environment, and in nothing of ours."""
        return ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in self._environment.items()), *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it to the end, as `docker compose exec` would."""
        return subprocess.run(
            self.argv(words),
            cwd=self._image.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def is_healthy(self) -> bool:
        """Whether its health check says so; asked as seldom as the file says.

        Raises:
            ContainerEnded: It has ended meanwhile.
        """
        assert self.child is not None
        if not self.child.alive:
            raise ContainerEnded(f"{self.name} {self.child.ending}:\n{self.tail()}")
        if time.monotonic() < self._next_check:
            return False
        with self._turn:
            healthy = self.run(*self._health).returncode == 0
        self._next_check = time.monotonic() + self.service.health_interval.total_seconds()
        return healthy

    def is_done(self) -> bool:
        """Whether it has ended with exit code 0.

        Raises:
            ContainerEnded: It has ended with another.
        """
        assert self.child is not None
        if self.child.alive:
            return False
        if not self.child.succeeded:
            raise ContainerEnded(f"{self.name} {self.child.ending}:\n{self.tail()}")
        return True

    def stop(self) -> bool:
        """Ask it to end as the file says, and return whether it did before it would have been killed."""
        if self.child is None or not self.child.alive:
            return True
        self.child.send(signal.Signals[self.service.stop_signal])
        return self.child.wait(self.service.stop_grace_period.total_seconds())

    def remove(self) -> None:
        if self.child is not None:
            self.child.end(())

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""


class Engine:
    """All containers of a project.

    Args:
        folder: An empty folder that every system user may enter.
        services: The project.
        platform: What the platform's image brings along.
    """

    def __init__(self, folder: Path, services: Mapping[str, Service], platform: Image) -> None:
        self.folder = folder
        self.one_check_at_a_time = Lock()  # what is still starting would only start later for being asked by all
        self.services = services
        self.containers: dict[str, list[Container]] = {}
        self._ports = {(name, port): [free_port()] for name, port in PORTS.items()}
        for service in services.values():
            for published in (*service.keys.get("ports", []), *service.keys.get("expose", [])):
                free = [free_port() for _ in range(service.replicas)]
                self._ports[service.name, int(published.rpartition(":")[2])] = free
        self._images = {"redis": self._redis(), "postgres": self._postgres()}
        self._platform = platform

    def local(self, service: Service, text: str, number: int = 1) -> str:
        """Return a value of a service with every address and volume in it replaced by one of this machine.

        Args:
            service: Whose value it is.
            text: The value.
            number: Which of its containers has it, from 1: each has ports of its own.
        """
        for (name, port), free in self._ports.items():
            text = re.sub(rf"\b{name}:{port}\b", f"127.0.0.1:{free[0]}", text)
            if name == service.name and name not in PORTS:
                text = re.sub(rf"\b{port}\b", str(free[number - 1]), text).replace("0.0.0.0", "127.0.0.1")
        for name, _, inside in (each.partition(":") for each in service.keys.get("volumes", [])):
            text = text.replace(inside, str(self.folder / f"volume-{name}"))
        return text

    def port(self, service: str, number: int = 1) -> int:
        """Return where a container of a service is reached on 127.0.0.1."""
        return next(free[number - 1] for (name, _), free in self._ports.items() if name == service)

    def up(self) -> None:
        """Start every service when the conditions of its dependencies are met; return when all are well.

        Raises:
            ContainerEnded: One of them has ended that should not, with what it said last.
        """
        ordered = in_order(self.services)
        with ThreadPoolExecutor(len(ordered)) as pool:
            futures: dict[str, Future[None]] = {}
            for service in ordered:
                before = [futures[name] for name in service.depends_on]
                futures[service.name] = pool.submit(self._bring_up, service, before)
            for future in futures.values():
                future.result()

    def _bring_up(self, service: Service, before: Sequence[Future[None]]) -> None:
        for future in before:
            future.result()
        image = self._images.get(service.name, self._platform)
        numbers = range(1, service.replicas + 1)
        self.containers[service.name] = [Container(number, service, image, self) for number in numbers]
        for container in self.containers[service.name]:
            container.start()
        for container in self.containers[service.name]:
            eventually(container.is_healthy if service.health else container.is_done, PATIENCE_SECONDS)

    def down(self) -> list[str]:
        """Stop every service before those that it depends on; return the containers that had to be killed."""
        late: list[str] = []
        waiting = list(reversed(in_order(self.services)))
        while waiting:
            needed = {name for service in waiting for name in service.depends_on}
            tier = [service for service in waiting if service.name not in needed]
            containers = [each for service in tier for each in self.containers.get(service.name, [])]
            if containers:
                with ThreadPoolExecutor(len(containers)) as pool:
                    ended = list(pool.map(Container.stop, containers))
                late += [each.name for each, in_time in zip(containers, ended, strict=True) if not in_time]
            waiting = [service for service in waiting if service not in tier]
        return late

    def remove(self) -> None:
        """End whatever still runs, those first that need the others."""
        for service in reversed(in_order(self.services)):
            for container in self.containers.get(service.name, []):
                container.remove()

    def said(self) -> str:
        """Return what each container has said last, for the report of a failed test."""
        every = [each for containers in self.containers.values() for each in containers]
        return "\n".join(f"--- {each.name}\n{each.tail()}" for each in every)

    # What the images of the servers bring along

    def _redis(self) -> Image:
        own, data = self._folders("redis")
        port = self.port("redis")
        _program(own / "redis-server", f'exec "{find_redis()}" "$@" --port {port} --bind 127.0.0.1')
        beside = Path(sys.executable).with_name("redis-cli")
        client = str(beside) if beside.exists() else shutil.which("redis-cli") or shutil.which("valkey-cli")
        ping = f'exec "{sys.executable}" -c "{_PING.format(port=port)}"'
        _program(own / "redis-cli", f'exec "{client}" -p {port} "$@"' if client else ping)
        return Image([own], data)

    def _postgres(self) -> Image:
        """Play the official image: its entrypoint makes a database for the environment's user, with a password."""
        own, folder = self._folders("postgres")
        user = unprivileged.account()
        programs = unprivileged.programs_folder(find_postgres(), user)
        data = unprivileged.data_folder(folder, user)
        port = self.port("postgres")
        _program(own / "pg_isready", f'exec "{programs / "pg_isready"}" -p {port} "$@"')
        _program(
            own / "docker-entrypoint.sh",
            f"""
            PATH="{programs}:$PATH"
            : "${{POSTGRES_PASSWORD:?}}" "${{POSTGRES_USER:=postgres}}" "${{POSTGRES_DB:=$POSTGRES_USER}}"
            printf '%s\\n' "$POSTGRES_PASSWORD" >"$TMPDIR/password"
            initdb -D "{data}" -U "$POSTGRES_USER" --pwfile="$TMPDIR/password" --auth=scram-sha-256 --no-sync \\
              $POSTGRES_INITDB_ARGS
            echo "CREATE DATABASE \\"$POSTGRES_DB\\"" | postgres --single -D "{data}" postgres
            exec "$@" -D "{data}" -p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off
            """,
        )
        return Image([own], folder, entrypoint=("docker-entrypoint.sh",), user=user)

    def _folders(self, name: str) -> tuple[Path, Path]:
        programs, data = self.folder / f"{name}-programs", self.folder / f"{name}-data"
        for each in (programs, data):
            each.mkdir()
            each.chmod(0o755)
        return programs, data


def _program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\nset -e\n{textwrap.dedent(script).strip()}\n")
    path.chmod(0o755)


def lay_out(root: Path, folder: Path, files: Sequence[str]) -> None:
    """Copy files from one folder to another, as COPY does."""
    for file in files:
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / file, target)
        os.utime(target)
