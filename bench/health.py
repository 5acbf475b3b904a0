"""What a health check costs: `celery health worker`, beside the least that any Celery command takes, and a ping.

    python bench/health.py [--rounds 10] [--json]

In turns, each command is run as Docker would run it, against one worker with the catalogue's tasks. `celery --version`
loads the command line with its plug-ins and ends: that is the floor. `celery inspect ping`, which others use for a
health check, asks the worker by way of the broker. Time is from start to exit; CPU is the command's own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.report import ROOT, Report, celery, machine, spread, wait_until
from steadybeat.dev import PostgresServer, RedisServer, scratch_folder
from steadybeat.ledger import Ledger
from steadybeat.settings import Settings
from steadybeat.telemetry import vitals

WORKER = "bench@127.0.0.1"
COMMANDS = {
    "celery --version": ["--version"],
    "celery health worker": ["-A", "tasks", "health", "worker"],
    "celery inspect ping": ["-A", "tasks", "inspect", "ping", "-d", WORKER],
}


def timed(arguments: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Return how long a command took, and how much CPU, in seconds."""
    before = os.times()
    started_at = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "celery", *arguments],
        env={**os.environ, **env},
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    took = time.monotonic() - started_at
    after = os.times()
    return took, after.children_user + after.children_system - before.children_user - before.children_system


def measure(rounds: int, report: Report) -> dict[str, Any]:
    """Return the figures.

    Args:
        rounds: How often each command is run.
        report: Where progress is told.
    """
    took: dict[str, list[float]] = {name: [] for name in COMMANDS}
    used: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with (
        scratch_folder() as folder,
        RedisServer(folder / "redis") as redis,
        PostgresServer(folder / "postgres") as postgres,
    ):
        env = {
            "STEADYBEAT_REDIS_URL": redis.url,
            "STEADYBEAT_DATABASE_URL": postgres.url,
            "STEADYBEAT_HEALTH_FOLDER": str(folder / "health"),
        }
        settings = Settings(health_folder=env["STEADYBEAT_HEALTH_FOLDER"])
        ledger = Ledger(Settings(database_url=postgres.url))
        ledger.upgrade()
        ledger.database.close()
        worker = celery("tasks", ["worker", "-c", "1", "-Q", "orders", "-n", WORKER], folder / "worker.log", env)
        try:
            wait_until(
                lambda: any(each.is_well(time.monotonic()) for each in vitals(settings, "worker")), "a worker", worker
            )
            for _ in range(rounds):
                for name, arguments in COMMANDS.items():
                    seconds, cpu_seconds = timed(arguments, env)
                    took[name].append(seconds)
                    used[name].append(cpu_seconds)
            facts = machine(redis.url, postgres.url)
        finally:
            worker.end(())
    for name in COMMANDS:
        shown = spread(took[name])
        report.say(
            f"{name:22} {shown['median']:.2f} s median ({shown['min']:.2f} to {shown['max']:.2f}),"
            f" {spread(used[name])['median']:.2f} s of CPU"
        )
    return {
        "seconds": {name: spread(values) for name, values in took.items()},
        "cpu_seconds": {name: spread(values) for name, values in used.items()},
        "machine": facts,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10, help="how often each command is run (10)")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    given = parser.parse_args()
    report = Report(json_at_end=given.json)
    report.end(measure(given.rounds, report))


if __name__ == "__main__":
    main()
