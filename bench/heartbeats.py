"""What heartbeats cost: runs of schedules per second of one worker, with monitors off, fine, refusing and hanging.

    python bench/heartbeats.py [--rounds 5] [--runs 1500] [--json]

One prefork worker with two processes (``-c 2``) at Celery's default log level. Its messages are runs of a hundred
schedules, each for a fire of its own, of a task that does nothing: so that what is told of them weighs as much as it
can. All four sides are the same but for the monitor:

    off        no schedule has one
    fine       a server that speaks Healthchecks' ping API, on this machine, which shares its cores
    refusing   a port on which nobody listens
    hanging    a server that takes connections and answers nothing; time-out 5 s, as by default

A round measures all four one after the other, and begins with another one each time. One measurement: messages are
sent, then the worker is started; the clock runs from the moment when a tenth of the runs have ended until all have.
The ratio of a round is a side's rate divided by that of ``off`` in the same round. What the worker and its pool use
of the processor meanwhile is told beside, for that depends less on who else uses the machine.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psutil
import psycopg
import redis

from bench.report import Report, celery, machine, spread, wait_until
from steadybeat.dev.servers import PostgresServer, RedisServer, scratch_folder
from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import ScheduleRow
from steadybeat.settings import Settings
from tests.receivers.healthchecks import Healthchecks

SIDES = ("off", "fine", "refusing", "hanging")
SCHEDULES = [f"bench-{number}" for number in range(100)]
RARELY = {"type": "every", "seconds": 3650 * 86400, "anchor": None}
WARM_UP = 0.1
STOP = ((signal.SIGTERM, 20.0),)


@contextmanager
def monitors() -> Iterator[dict[str, str]]:
    """Yield the setting of each side."""
    with Healthchecks() as fine, Healthchecks() as hanging, socket.socket() as nobody:
        for name in SCHEDULES:
            fine.check(name)
        hanging.hang()
        nobody.bind(("127.0.0.1", 0))
        refusing = fine.of_all.replace(fine.url, f"http://127.0.0.1:{nobody.getsockname()[1]}")
        yield {"off": "", "fine": fine.of_all, "refusing": refusing, "hanging": hanging.of_all}


def send(count: int, at: datetime) -> None:
    """Send runs of schedules, each for a fire of its own.

    Args:
        count: How many.
        at: The nominal time of the first fire.
    """
    from bench.steady import nothing

    for number in range(count):
        fire = (at + timedelta(seconds=number)).isoformat()
        headers = {"steadybeat_schedule": SCHEDULES[number % len(SCHEDULES)], "steadybeat_scheduled_for": fire}
        nothing.apply_async(headers=headers)


def cpu_seconds(pid: int) -> float:
    """Return what a worker and its pool have used of the processor."""
    worker = psutil.Process(pid)
    return sum(sum(each.cpu_times()[:2]) for each in (worker, *worker.children()))


def measure(side: str, url: str, count: int, folder: Path, env: dict[str, str], at: datetime) -> tuple[float, float]:
    """Return the runs per second of a worker whose schedules have this monitor, and its processor seconds for each."""
    client = redis.Redis.from_url(env["STEADYBEAT_REDIS_URL"])
    client.flushdb()
    send(count, at)
    worker = celery(
        "bench.steady",
        ["worker", "-Q", "steady", "-c", "2", "-n", "steady@%h"],
        folder / f"{side}.log",
        {**env, "STEADYBEAT_HEARTBEAT_URL": url},
    )

    def left() -> int:
        with client.pipeline() as pipeline:
            pipeline.llen("steady")
            pipeline.hlen("unacked")
            return sum(pipeline.execute())

    try:
        wait_until(lambda: left() <= count * (1 - WARM_UP), "first runs", worker, timeout_seconds=120)
        began, before, cpu = time.monotonic(), left(), cpu_seconds(worker.pid)
        wait_until(lambda: left() == 0, "last run", worker, timeout_seconds=600)
        return before / (time.monotonic() - began), (cpu_seconds(worker.pid) - cpu) / before
    finally:
        worker.end(STOP)


def rounds_of(rounds: int, runs: int, report: Report) -> dict[str, Any]:
    """Return the figures of all rounds.

    Args:
        rounds: How many.
        runs: Of each side in each round.
        report: Where each round is told.
    """
    rates: dict[str, list[float]] = {side: [] for side in SIDES}
    costs: dict[str, list[float]] = {side: [] for side in SIDES}
    with (
        scratch_folder() as folder,
        RedisServer(folder / "redis") as server,
        PostgresServer(folder / "postgres", durable=True) as postgres,
        monitors() as urls,
    ):
        env = {
            "STEADYBEAT_REDIS_URL": server.url,
            "STEADYBEAT_DATABASE_URL": postgres.create_database("bench"),
            "STEADYBEAT_HEALTH_FOLDER": str(folder / "health"),
        }
        os.environ.update(env)
        ledger = Ledger(Settings(database_url=env["STEADYBEAT_DATABASE_URL"]))
        ledger.upgrade()
        policies = {"jitter_seconds": 0.0, "catch_up": "none", "overlap": "allow"}
        given: dict[str, Any] = {"task": "bench.steady.nothing", "service": "steady", "spec": RARELY}
        ledger.schedules.apply([ScheduleRow(name=name, policies=policies, **given) for name in SCHEDULES], ["steady"])
        at = datetime(2026, 1, 1, tzinfo=UTC)
        for number in range(rounds):
            for side in SIDES[number % len(SIDES) :] + SIDES[: number % len(SIDES)]:
                at += timedelta(days=1)
                rate, cpu = measure(side, urls[side], runs, folder, env, at)
                rates[side].append(rate)
                costs[side].append(cpu)
                report.say(f"round {number + 1}: {side} {rate:.0f} runs/s, {1000 * cpu:.2f} ms of processor each")
        with psycopg.connect(env["STEADYBEAT_DATABASE_URL"]) as connection:
            row = connection.execute("SELECT count(*) FROM steadybeat.runs WHERE state <> 'succeeded'").fetchone()
        facts = machine(server.url, postgres.url)
        ledger.database.close()
    others, offs = SIDES[1:], rates["off"]
    ratios = {side: [rate / off for rate, off in zip(rates[side], offs, strict=True)] for side in others}
    return {
        "machine": facts,
        "runs": runs,
        "not_succeeded": row and row[0],
        "runs_per_second": {side: spread(found) for side, found in rates.items()},
        "cpu_seconds_per_run": {side: spread(found) for side, found in costs.items()},
        "ratio_to_off": {side: spread(found) for side, found in ratios.items()},
    }


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="how many (5)")
    parser.add_argument("--runs", type=int, default=1500, help="of each side in each round (1500)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args()
    report = Report(json_at_end=given.json)
    figures = rounds_of(given.rounds, given.runs, report)
    for side in SIDES:
        rate, ratio = figures["runs_per_second"][side], figures["ratio_to_off"].get(side)
        beside = f"; {ratio['median']:.3f} of off ({ratio['min']:.3f} to {ratio['max']:.3f})" if ratio else ""
        cpu = figures["cpu_seconds_per_run"][side]["median"]
        beside += f"; {1000 * cpu:.2f} ms of processor for each"
        report.say(f"{side}: {rate['median']:.0f} runs/s ({rate['min']:.0f} to {rate['max']:.0f}){beside}")
    report.end(figures)


if __name__ == "__main__":
    main()
