"""pytest-celery's nodes over processes of this machine instead of containers.

`LocalProcess` answers what pytest-celery asks of a Docker container; the containers and nodes above it are
pytest-celery's own.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from pytest_celery.api.base import CeleryTestNode
from pytest_celery.api.container import CeleryTestContainer
from pytest_celery.api.worker import CeleryTestWorker
from pytest_docker_tools.exceptions import ContainerFailed

from steadybeat.dev.leash import Child
from tests.acceptance import forkserver
from tests.eventually import eventually
from tests.scraping import Scrape, scraped

PATIENCE_SECONDS = 60.0


class LocalProcess:
    """What `docker.models.containers.Container` is to pytest-celery, for a process that leads its own group."""

    def __init__(self, name: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path) -> None:
        self.id = uuid.uuid4().hex
        self.name = name
        self.attrs: dict[str, Any] = {
            "NetworkSettings": {"Networks": {}, "Ports": {}},
            "HostConfig": {"PortBindings": {}},
            "Config": {"Env": [f"{key}={value}" for key, value in env.items()]},
        }
        self._argv, self._env, self._cwd, self._log = [*argv], dict(env), cwd, log
        self._said_before = 0
        self._child: Child | None = None

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    @property
    def status(self) -> str:
        """``created``, ``running``, ``paused`` or ``exited``, as Docker says it."""
        if self._child is None:
            return "created"
        if not self._child.alive:
            return "exited"
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(self.pid).status() == psutil.STATUS_STOPPED:
                return "paused"
        return "running"

    @property
    def ending(self) -> str:
        return "never started" if self._child is None else self._child.ending

    def start(self) -> None:
        self._said_before = self._log.stat().st_size if self._log.exists() else 0
        self._child = forkserver.start(self._argv, env=self._env, cwd=self._cwd, log=self._log)

    def reload(self) -> None:
        """Nothing is remembered that could be out of date."""

    def kill(self, signal: str | int | None = None) -> None:
        """Signal the process alone: what becomes of its children is up to it."""
        assert self._child is not None
        self._child.send(_signal(signal or "SIGKILL"))

    def pause(self) -> None:
        """Stop every process of the group where it stands."""
        assert self._child is not None
        self._child.send_group(signal.SIGSTOP)

    def unpause(self) -> None:
        assert self._child is not None
        self._child.send_group(signal.SIGCONT)

    def stop(self, timeout: float = 10) -> None:
        if self._child is not None:
            self._child.end(((signal.SIGTERM, timeout),))

    def remove(self) -> None:
        """End it, and whatever its group still holds, at once."""
        if self._child is not None:
            self._child.end(())

    def restart(self, timeout: float = 10) -> None:
        self.stop(timeout)
        self.start()

    def logs(self) -> bytes:
        """What it has said since it was started last."""
        if not self._log.exists():
            return b""
        with self._log.open("rb") as file:
            file.seek(self._said_before)
            return file.read()


def _signal(given: str | int) -> signal.Signals:
    return signal.Signals[given] if isinstance(given, str) else signal.Signals(given)


class LocalContainer(CeleryTestContainer):
    """pytest-celery's container around a `LocalProcess`."""

    def __init__(self, process: LocalProcess) -> None:
        super().__init__(process)
        self.process = process

    def _wait_ready(self, timeout: int = int(PATIENCE_SECONDS)) -> bool:
        """Wait for the prompt, as pytest-celery does, but notice an early end."""

        def prompted() -> bool:
            if self.status == "exited":
                raise ContainerFailed(self, f"{self.name} {self.process.ending}:\n{self.logs()[-3000:]}")
            return self.ready_prompt is None or self.ready_prompt in self.logs()

        return eventually(prompted, timeout)

    def teardown(self) -> None:
        self.process.remove()


class WorkerContainer(LocalContainer):
    """A worker of some queues."""

    def __init__(self, process: LocalProcess, queues: Sequence[str]) -> None:
        super().__init__(process)
        self._queues = queues

    ready_prompt = '"event": "worker ready"'

    def worker_name(self) -> str:
        return str(self.name)

    def worker_queue(self) -> str:
        return ",".join(self._queues)


class BeatContainer(LocalContainer):
    """A Beat, leading or standing by."""

    ready_prompt = '"event": "beat started"'


class WatchdogContainer(LocalContainer):
    """A watchdog."""

    ready_prompt = '"event": "watchdog started"'


class FlowerContainer(LocalContainer):
    """Flower."""

    ready_prompt = "Connected to"


class LocalNode(CeleryTestNode):
    """What the tests do to a process of either kind."""

    container: LocalContainer

    @property
    def pid(self) -> int:
        return self.container.process.pid

    @property
    def status(self) -> str:
        return str(self.container.status)

    def pause(self) -> None:
        """Stop the process and its children where they stand, as a frozen virtual machine would."""
        self.container.process.pause()

    def unpause(self) -> None:
        self.container.process.unpause()

    def kill(self, signal: str | int = "SIGKILL", reload_container: bool = True) -> None:
        """Signal the process; after SIGKILL, return when it is gone."""
        super().kill(signal, reload_container)
        if _signal(signal) is _signal("SIGKILL"):
            eventually(lambda: self.status == "exited")

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children(recursive=True)

    def events(self) -> list[dict[str, Any]]:
        """The lines that it has logged since it started."""
        found = []
        for line in self.logs().splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return [each for each in found if isinstance(each, dict)]

    def said(self, event: str, **facts: Any) -> bool:
        """Whether it has logged this event, with these facts."""
        wanted = {"event": event, **facts}
        return any(wanted.items() <= each.items() for each in self.events())

    def metrics(self) -> Scrape:
        """What Prometheus would read of it, where it was told to serve metrics on a free port."""
        served = [each["address"] for each in self.events() if each["event"] == "metrics served"]
        return scraped(served[-1])

    def wait_for_log(self, log: str, message: str = "", timeout: int = int(PATIENCE_SECONDS)) -> None:
        """Wait for a text in the log."""
        eventually(lambda: log in self.logs(), timeout)


class WorkerNode(LocalNode, CeleryTestWorker):
    """A worker."""


class WatchdogNode(LocalNode):
    """A watchdog."""


class FlowerNode(LocalNode):
    """Flower, and where it is."""

    def __init__(self, container: FlowerContainer, port: int) -> None:
        super().__init__(container)
        self.url = f"http://127.0.0.1:{port}"

    def page(self, path: str) -> str:
        """Return one of its pages."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=30) as answer:
            return str(answer.read(), "utf-8")


class BeatNode(LocalNode):
    """A Beat."""

    @property
    def leads(self) -> bool:
        """Whether it leads, as far as it knows."""
        turns = [each["event"] for each in self.events() if each["event"] in ("beat leads", "beat stands by")]
        return bool(turns) and turns[-1] == "beat leads" and self.status == "running"


def celery_argv(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "celery", "-A", "shop", *arguments]
