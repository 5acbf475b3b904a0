"""What SIGKILL costs: sales that are never paid, and sales that are paid twice, with steadybeat and with plain Celery.

    python bench/kills.py [--runs 20000] [--kills 40] [--workers 2] [--side both|steady|plain] [--seed 1] [--json]

Every sale is one task that writes one row. The messages are sent first, so that the workers are saturated; then the
kills are spread evenly over the work. Each takes a random one of the workers that are ready, with its whole process
group, as the end of a container does; a new one is started at once. At the end the rows are counted: a sale without
one is lost, one with two is doubled. Then everything that Redis held as not acknowledged has come back as well.

Plain Celery does the same with the same kills: acks_late, reject_on_worker_lost, prefetch 1. On both sides a message
that nobody acknowledges comes back after 30 s, so that plain Celery need not wait for its default of an hour, on which
steadybeat does not depend: its leases are at their default of 15 s, and a watchdog runs beside the workers.

For steadybeat it also says how long it took from a kill until the runs that it interrupted were sent again, and until
they had begun elsewhere, behind all that was on their queue; as Postgres' clock has it.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg
import redis

from bench import payments
from bench.report import Report, celery, machine, spread, wait_until
from steadybeat.dev.leash import Child
from steadybeat.dev.servers import PostgresServer, RedisServer, scratch_folder
from steadybeat.ledger import Ledger
from steadybeat.settings import Settings

VISIBILITY_SECONDS = 30
SECONDS_TO_THE_END = 900.0
PROCESSES = 2

_UNFINISHED = "SELECT count(*) FROM steadybeat.runs WHERE finished_at IS NULL"
_COUNTS = """
    SELECT count(*) FILTER (WHERE paid IS NULL), count(*) FILTER (WHERE paid > 1), coalesce(sum(paid - 1), 0)
      FROM generate_series(1, %s) AS sale
      LEFT JOIN (SELECT sale, count(*) AS paid FROM public.payments GROUP BY sale) AS row USING (sale)
"""
_RESTARTS = """
    SELECT extract(epoch FROM lost.finished_at - %s), extract(epoch FROM following.started_at - %s)
      FROM steadybeat.attempts lost
      JOIN steadybeat.attempts following ON following.run = lost.run AND following.number = lost.number + 1
     WHERE lost.instance = (SELECT id FROM steadybeat.instances WHERE pid = %s ORDER BY started_at DESC LIMIT 1)
       AND lost.outcome = 'lost' AND lost.started_at < %s
"""


class Side:
    """One of the two that are compared: its servers' databases, its workers, and its kills.

    Args:
        name: ``plain`` or ``steady``: its queue, and the middle of its tasks' names.
        module: Of its app.
        folder: Where its processes log.
        redis_url: A database of Redis that is its own.
        database_url: A database of Postgres that is its own.
    """

    def __init__(self, name: str, module: str, folder: Path, redis_url: str, database_url: str) -> None:
        self.name, self._module, self._folder = name, module, folder
        self._redis = redis.Redis.from_url(redis_url)
        self.database = psycopg.connect(database_url, autocommit=True)
        self.database.execute(payments.TABLE)
        self._env = {
            "CELERY_BROKER_URL": redis_url,
            "BENCH_DATABASE_URL": database_url,
            payments.FOLDER: str(folder),
            payments.VISIBILITY: str(VISIBILITY_SECONDS),
        }
        if name == "steady":
            del self._env["CELERY_BROKER_URL"]
            self._env |= {"STEADYBEAT_REDIS_URL": redis_url, "STEADYBEAT_DATABASE_URL": database_url}
        self._workers: list[Child] = []
        self._others: list[Child] = []
        self._started = 0
        self.killed: list[tuple[int, datetime]] = []

    def measure(self, runs: int, kills: int, workers: int, chance: random.Random, report: Report) -> dict[str, Any]:
        """Send, kill, wait for the end, and return what became of the sales.

        Args:
            runs: How many sales.
            kills: How many SIGKILLs.
            workers: How many workers at a time, of two processes each.
            chance: Whom the kills meet.
            report: Where it is told how far it is.
        """
        if self.name == "steady":
            self._others.append(self._celery("watchdog", []))  # one that runs for longer than a lease, as it would
        try:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                pool.apply(send, (self._module, runs, self._env))
            report.say(f"{self.name}: {runs} sent")
            began = time.monotonic()
            for _ in range(workers):
                self._start()
            for number in range(1, kills + 1):
                self._wait(functools.partial(self._has_paid, number * runs // (kills + 1)), f"kill {number}")
                self._kill(chance)
            report.say(f"{self.name}: {kills} kills after {time.monotonic() - began:.0f} s, {self.paid()} paid")
            self._wait(self._is_over, "the end")
        finally:
            for child in (*self._workers, *self._others):
                child.end(())
        row = self.database.execute(_COUNTS, (runs,)).fetchone()
        assert row is not None
        lost, doubled, too_many = row
        row = self.database.execute("SELECT extract(epoch FROM max(at) - min(at)) FROM public.payments").fetchone()
        assert row is not None
        return {
            "runs": runs,
            "kills": len(self.killed),
            "lost": lost,
            "doubled": doubled,
            "payments_too_many": int(too_many),
            "seconds_of_payments": round(float(row[0]), 1),
            "seconds": round(time.monotonic() - began, 1),
        }

    def _has_paid(self, due: int) -> bool:
        return self.paid() >= due

    def paid(self) -> int:
        """Return how many payments there are."""
        row = self.database.execute("SELECT count(*) FROM public.payments").fetchone()
        return int(row[0]) if row else 0

    def restarts(self) -> dict[str, Any]:
        """Return how long each run that a kill interrupted took from there to be sent again, and to begin again."""
        found = [row for pid, at in self.killed for row in self.database.execute(_RESTARTS, (at, at, pid, at))]
        if not found:
            return {}
        sent, begun = ([float(seconds) for seconds in each] for each in zip(*found, strict=True))
        return {"interrupted": len(found), "sent_again_seconds": spread(sent), "begun_again_seconds": spread(begun)}

    def _wait(self, condition: Callable[[], object], what: str) -> None:
        wait_until(condition, f"{self.name}: {what}", *self._workers, timeout_seconds=SECONDS_TO_THE_END)

    def _start(self) -> None:
        self._workers.append(self._celery("worker", ["-Q", self.name, "-c", str(PROCESSES), "-l", "WARNING"]))

    def _celery(self, role: str, options: list[str]) -> Child:
        self._started += 1
        name = f"{self.name}-{role}-{self._started}"
        own = ["-n", f"{name}@%h", "--without-gossip", "--without-mingle"] if role == "worker" else []
        return celery(self._module, [role, *options, *own], self._folder / f"{name}.log", self._env)

    def _kill(self, chance: random.Random) -> None:
        """Kill a random worker of those that are ready, and start another."""
        self._wait(self._ready, "a worker that is ready")
        victim = chance.choice(self._ready())
        time.sleep(chance.random() * 0.2)
        row = self.database.execute("SELECT clock_timestamp()").fetchone()
        assert row is not None
        self.killed.append((victim.pid, row[0]))
        victim.end(())
        self._workers.remove(victim)
        self._start()

    def _ready(self) -> list[Child]:
        return [worker for worker in self._workers if (self._folder / str(worker.pid)).exists()]

    def _is_over(self) -> bool:
        """Whether nothing is left to do: on a queue, held by a worker, or in the ledger."""
        left = self._redis.llen(self.name) + self._redis.hlen("unacked")
        if left == 0 and self.name == "steady":
            row = self.database.execute(_UNFINISHED).fetchone()
            left = row[0] if row else 0
        time.sleep(0.1)
        return bool(left == 0)


def send(module: str, runs: int, env: dict[str, str]) -> None:
    """Send one message for each sale, in a process of its own.

    Args:
        module: Of the app.
        runs: How many.
        env: Variables to set first.
    """
    os.environ.update(env)
    pay = importlib.import_module(module).pay
    for sale in range(1, runs + 1):
        pay.delay(sale)


def measure(given: argparse.Namespace, report: Report) -> dict[str, Any]:
    """Return the figures of the sides that were asked for."""
    figures: dict[str, Any] = {}
    with (
        scratch_folder() as folder,
        RedisServer(folder / "redis") as server,
        PostgresServer(folder / "postgres", durable=True) as postgres,
    ):
        figures["machine"] = machine(server.url, postgres.url)
        report.say("  ".join(f"{name} {value}" for name, value in figures["machine"].items()))
        ledger = Ledger(Settings(database_url=postgres.url))
        ledger.upgrade()
        ledger.database.close()
        if given.side != "plain":
            side = Side("steady", "bench.steady", folder, server.url, postgres.url)
            figures["steady"] = side.measure(given.runs, given.kills, given.workers, random.Random(given.seed), report)
            figures["steady"] |= side.restarts()
            report.say(told("steadybeat", figures["steady"]))
        if given.side != "steady":
            url = postgres.create_database("plain")
            side = Side("plain", "bench.plain_payments", folder, f"{server.url.removesuffix('0')}1", url)
            figures["plain"] = side.measure(given.runs, given.kills, given.workers, random.Random(given.seed), report)
            report.say(told("plain Celery", figures["plain"]))
    return figures


def told(name: str, figures: dict[str, Any]) -> str:
    """Return the figures of a side as a line."""
    line = (
        f"{name}: {figures['runs']} runs, {figures['kills']} kills: {figures['lost']} lost,"
        f" {figures['doubled']} doubled; the last was paid after {figures['seconds_of_payments']:.0f} s, and after"
        f" {figures['seconds']:.0f} s nothing came back any more"
    )
    if "interrupted" in figures:
        sent, begun = figures["sent_again_seconds"], figures["begun_again_seconds"]
        line += (
            f"; {figures['interrupted']} interrupted runs were sent again {sent['median']:.1f} s after the kill"
            f" ({sent['max']:.1f} s at the latest), and had begun after {begun['median']:.1f} s ({begun['max']:.1f} s)"
        )
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20_000, help="sales of each side (20000)")
    parser.add_argument("--kills", type=int, default=40, help="SIGKILLs on each side (40)")
    parser.add_argument("--workers", type=int, default=2, help="workers at a time, of two processes each (2)")
    parser.add_argument("--side", choices=("both", "steady", "plain"), default="both", help="what is measured (both)")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of victims (1)")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    given = parser.parse_args()
    report = Report(json_at_end=given.json)
    report.end(measure(given, report))


if __name__ == "__main__":
    main()
