"""The folder of one local stack: who holds it, where its logs are, and what others may read about it.

up.lock      held (`flock`) by the running stack; its process id
up.json      while it runs: process id, start, URLs, the id of each process
env          while it runs: what a shell takes in (`. .steadybeat/env`) to use the same Redis and Postgres
logs/        one file per process, emptied at each start
redis/  postgres/    data, kept
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steadybeat.dev.supervisor import StackError


class StackFolder:
    """A stack's folder, which one stack at a time may hold.

    Args:
        path: The folder; created when missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path).absolute()
        self._lock: int | None = None

    def log(self, name: str) -> Path:
        """Return the log file of the process called `name`."""
        return self.path / "logs" / f"{name.replace(' ', '-')}.log"

    def acquire(self) -> None:
        """Take the folder and empty its logs.

        Raises:
            StackError: Another stack holds it.
        """
        logs = self.path / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.path / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(lock, 32, 0).decode().strip() or "unknown"
            os.close(lock)
            raise StackError(
                f"The local stack of {self.path} is running already, as process {pid}. "
                f"Stop it with Ctrl-C in its terminal, or with: kill {pid}",
                pid=pid,
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock
        for log in logs.glob("*.log"):
            log.write_bytes(b"")

    def describe(self, facts: Mapping[str, Any]) -> None:
        """Let others read what runs here."""
        self._write("up.json", json.dumps(facts, indent=2) + "\n")

    def export(self, variables: Mapping[str, str]) -> None:
        """Let a shell take in where Redis and Postgres are."""
        self._write("env", "".join(f"export {name}={shlex.quote(text)}\n" for name, text in variables.items()))

    def release(self) -> None:
        """Give the folder back; the data and the logs stay."""
        if self._lock is not None:
            for name in ("up.json", "env"):
                (self.path / name).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def _write(self, name: str, text: str) -> None:
        fresh = self.path / f"{name}.new"
        fresh.write_text(text)
        fresh.chmod(0o600)  # a given URL may hold a password
        fresh.replace(self.path / name)
