"""Real servers without installation: what a Redis and a Postgres of our own have in common.

A server owns a folder and a port on loopback; both stay the same when it is started again. While any of its
processes lives, it holds a lock on its folder (`flock`, inherited by the server itself), so that a second start
waits for one that is ending and refuses one that runs. It dies with the program that started it: see `leash`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import socket
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Self

from steadybeat.dev.leash import Child, StopSteps
from steadybeat.errors import SteadybeatError

PORT_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOCK_PATIENCE_SECONDS = 5.0
POLL_SECONDS = 0.02


class ServerError(SteadybeatError):
    """An embedded server does not start."""


class EmbeddedServer(ABC):
    """A server in a folder, on a port of loopback.

    Args:
        folder: Where it keeps its data; created when missing, and kept.
        port: TCP port on 127.0.0.1; a free one unless given.
        log: File that its output is appended to; ``server.log`` in the folder unless given.
    """

    name: ClassVar[str]
    stop_steps: ClassVar[StopSteps]
    start_timeout: ClassVar[timedelta] = timedelta(seconds=30)

    def __init__(self, folder: Path, *, port: int | None = None, log: Path | None = None) -> None:
        self.folder = Path(folder).absolute()
        self.port = port or free_port()
        self.log = log or self.folder / "server.log"
        self.child: Child | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients find it."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it takes connections now."""

    @abstractmethod
    def _spawn(self, lock: int) -> Child:
        """Start the server's process with the lock's file descriptor left open in it."""

    @property
    def pid(self) -> int:
        """Process id of the running server.

        Raises:
            ServerError: It does not run.
        """
        if self.child is None or not self.child.alive:
            raise ServerError(f"{self.name} in {self.folder} does not run.", folder=self.folder)
        return self.child.pid

    def launch(self) -> Child:
        """Start the process and return at once, before it answers.

        Raises:
            ServerError: There is no program for it, or another one runs in this folder.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self._lock()
        try:
            self.child = self._spawn(lock)
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{self.child.pid}\n".encode(), 0)
        finally:
            os.close(lock)
        return self.child

    def start(self) -> Self:
        """Start it and wait until it answers; nothing happens when it runs already.

        Raises:
            ServerError: It does not answer in time, with the last lines of its log.
        """
        child = self.child if self.child is not None and self.child.alive else self.launch()
        deadline = time.monotonic() + self.start_timeout.total_seconds()
        while not self.answers():
            if not child.alive or time.monotonic() > deadline:
                child.end(())
                raise ServerError(self._why_not(child), folder=self.folder)
            time.sleep(POLL_SECONDS)
        return self

    def stop(self) -> None:
        """Stop it in good order; what it holds is on disk afterwards."""
        self._end(self.stop_steps)

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would; `start` brings it back on the same port and folder."""
        self._end(())

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _end(self, steps: StopSteps) -> None:
        if self.child is not None:
            self.child.end(steps)

    def _why_not(self, child: Child) -> str:
        tail = self.log.read_text(errors="replace").splitlines()[-5:] if self.log.exists() else []
        lines = "".join(f"\n  {line}" for line in tail)
        return f"{self.name} in {self.folder} does not answer on port {self.port}: {child.ending}.{lines}"

    def _lock(self) -> int:
        """Return a file descriptor that holds the folder; the server inherits it and so holds it as well."""
        path = self.folder / "server.lock"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            if time.monotonic() > deadline:
                pid = os.pread(lock, 32, 0).decode().strip() or "unknown"
                os.close(lock)
                raise ServerError(
                    f"{self.name}: {self.folder} is in use by process {pid}. Stop that one, or take another folder.",
                    folder=self.folder,
                )
            time.sleep(POLL_SECONDS)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on.

    It lies below the range from which the kernel takes the ports of outgoing connections, so that no client can
    take it while the server restarts (a client that keeps dialling a port of that range may even reach itself).

    Raises:
        ServerError: Two hundred ports in a row are taken.
    """
    ceiling = 32768
    with contextlib.suppress(OSError, ValueError):
        ceiling = int(PORT_RANGE_FILE.read_text().split()[0])
    low, high = (20000, ceiling - 1) if ceiling > 22000 else (61001, 65535)
    for _ in range(200):
        port = low + secrets.randbelow(high - low + 1)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ServerError(f"No free port between {low} and {high} on 127.0.0.1.")


@contextlib.contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """Lend a new folder that every system user may enter, as Postgres needs when root starts it.

    It is removed afterwards, with all that it holds.

    Args:
        parent: Where it is made; where temporary files belong unless given.
    """
    folder = Path(tempfile.mkdtemp(prefix="steadybeat-", dir=parent))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
