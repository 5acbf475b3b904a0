"""What the local stack costs while it has nothing to do: CPU of all its processes, and how soon it is ready.

    python bench/idle.py [--seconds 30] [--json]

It starts what `make up` starts, twice: into an empty folder, then into the same folder again. The CPU time of every
process is read from ``/proc`` before and after a pause, and given as a share of one core.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psutil

from bench.report import ROOT, Report, machine
from steadybeat.delivery import services_of
from steadybeat.dev import Stack, scratch_folder
from tasks import app

READY = timedelta(seconds=180)


def processes(stack: Stack) -> dict[int, str]:
    """Return every process of a running stack by id: its own, and those that they have started."""
    found = {}
    for process in stack.processes:
        if process.pid is not None:
            root = psutil.Process(process.pid)
            found.update({each.pid: process.name for each in (root, *root.children(recursive=True))})
    return found


def cpu_seconds(pids: dict[int, str]) -> dict[str, float]:
    """Return the CPU time that processes have used so far, in seconds, by their names in the stack."""
    used: dict[str, float] = {}
    for pid, name in pids.items():
        with contextlib.suppress(psutil.NoSuchProcess):  # Postgres ends helpers by itself
            times = psutil.Process(pid).cpu_times()
            used[name] = used.get(name, 0.0) + times.user + times.system
    return used


def measure(seconds: float, report: Report) -> dict[str, Any]:
    """Return the figures.

    Args:
        seconds: How long to watch.
        report: Where progress is told.
    """
    app.loader.import_default_modules()
    ready: list[float] = []
    shares: dict[str, float] = {}
    with scratch_folder() as folder:
        for start in ("first", "second"):
            told = app.steadybeat.settings
            stack = Stack(
                "tasks",
                services_of(app),
                folder=folder,
                prepare=told.dev_prepare,
                run=told.dev_run,
                together=told.dev_together,
                cwd=ROOT,
            )
            with stack:
                stack.wait_ready(READY)
                assert stack.ready_after is not None
                ready.append(stack.ready_after.total_seconds())
                report.say(f"{start} start: ready in {ready[-1]:.1f} s")
                if start == "second":
                    threading.Event().wait(10)  # what starting leaves behind
                    shares = _shares(stack, seconds)
                    facts = machine(stack.redis_url, stack.database_url)
    return {
        "cpu_share": round(sum(shares.values()), 4),
        "cpu_share_by_process": {name: round(share, 4) for name, share in shares.items()},
        "first_ready_seconds": round(ready[0], 1),
        "second_ready_seconds": round(ready[1], 1),
        "watched_seconds": seconds,
        "machine": facts,
    }


def _shares(stack: Stack, seconds: float) -> dict[str, float]:
    pids = {**processes(stack), os.getpid(): "supervisor"}
    before = cpu_seconds(pids)
    threading.Event().wait(seconds)
    return {name: (used - before[name]) / seconds for name, used in cpu_seconds(pids).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to watch (30)")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    given = parser.parse_args()
    report = Report(json_at_end=given.json)
    figures = measure(given.seconds, report)
    for name, share in figures["cpu_share_by_process"].items():
        report.say(f"{name:20} {share:7.2%}")
    report.say(f"{'all':20} {figures['cpu_share']:7.2%} of one core")
    report.end(figures)


if __name__ == "__main__":
    main()
