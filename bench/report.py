"""What the benchmarks share: the facts of the machine, a set of figures as text and as JSON, and their processes."""

from __future__ import annotations

import functools
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
import redis
from rich.console import Console

from steadybeat.dev.leash import Child, spawn

ROOT = Path(__file__).resolve().parent.parent
POLL_SECONDS = 0.02

_PACKAGES = ("celery", "kombu", "redis", "celery-redbeat", "sqlalchemy", "psycopg")


@functools.cache
def client_of(url: str) -> Any:
    """Return this process' client of a Redis."""
    return redis.Redis.from_url(url)


class Report:
    """Says what is going on while a benchmark runs, and ends it with its figures.

    Args:
        json_at_end: Whether the last line is one JSON object; the rest then goes to standard error.
    """

    def __init__(self, *, json_at_end: bool) -> None:
        self._json = json_at_end
        self._console = Console(stderr=json_at_end, highlight=False, soft_wrap=True)

    def say(self, line: str) -> None:
        """Print one line for the person who waits."""
        self._console.print(line, markup=False)

    def end(self, figures: Mapping[str, Any]) -> None:
        """Print the figures as the last line if they were asked for.

        Args:
            figures: JSON by name, in base units: seconds, bytes, counts, shares of one.
        """
        if self._json:
            print(json.dumps(figures), flush=True)


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return the median, least and greatest of some values, and all of them in the order they were measured.

    Args:
        values: At least one.
    """
    rounded = [round(value, 4) for value in values]
    return {"median": round(statistics.median(values), 4), "min": min(rounded), "max": max(rounded), "all": rounded}


def machine(redis_url: str | None = None, database_url: str | None = None) -> dict[str, Any]:
    """Return what figures depend on: cores, versions, and whether Postgres' commits are on disk.

    Args:
        redis_url: The Redis in use, if any.
        database_url: The Postgres in use, if any.
    """
    facts: dict[str, Any] = {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }
    if redis_url:
        with redis.Redis.from_url(redis_url) as client:
            facts["redis_server"] = client.info("server")["redis_version"]
            facts["redis_append_only"] = client.config_get("appendonly")["appendonly"]
    if database_url:
        with psycopg.connect(database_url) as connection:
            for name in ("server_version", "fsync", "synchronous_commit"):
                row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
                facts[f"postgres_{name}"] = row and row[0]
    return facts


def celery(app: str, arguments: Sequence[str], log: Path, env: Mapping[str, str]) -> Child:
    """Start a stock ``celery`` command, which ends with this program at the latest.

    Args:
        app: What stands behind ``-A``.
        arguments: The sub-command and its options.
        log: Where its output goes.
        env: Variables beside those of this process.
    """
    return spawn([sys.executable, "-m", "celery", "-A", app, *arguments], env=env, cwd=ROOT, log=log)


def wait_until(condition: Callable[[], object], what: str, *children: Child, timeout_seconds: float = 60.0) -> None:
    """Return as soon as `condition` holds.

    Args:
        condition: Asked again and again.
        what: What is waited for, in words.
        children: Processes without which it will never hold.
        timeout_seconds: How long to wait.

    Raises:
        RuntimeError: It took too long, or a process has ended.
    """
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        ended = [child for child in children if not child.alive]
        if ended:
            raise RuntimeError(f"{what}: process {ended[0].pid} {ended[0].ending}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {timeout_seconds:g} s")
        time.sleep(POLL_SECONDS)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
