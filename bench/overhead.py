"""What the ledger costs: tasks per second of one worker with steadybeat, beside plain Celery that acknowledges late.

    python bench/overhead.py [--rounds 5] [--runs 3000] [--events] [--telemetry[=NAMES]] [--json]

Each side is one prefork worker with two processes (``-c 2``) at Celery's default log level; the task does nothing,
so that only what is around it is measured. Both use the same Redis (append-only file on) and no result backend;
steadybeat's Postgres is durable, each commit is on disk before it is answered.

A round measures both sides one after the other, in turns first and second. One measurement: the messages are sent
by a process of their own through ``delay()`` (for steadybeat the runs are recorded by that), then the worker is
started. This program looks every 20 ms how many messages Redis still has, on the queue or delivered and not
acknowledged; both sides acknowledge when all else of a task is over, in steadybeat the commit of its outcome. The
clock runs from the moment when a tenth of the messages are done until the last one is: neither the start of the
worker nor its first, slower tasks count. The ratio of a round is steadybeat's rate divided by plain Celery's.

Then, with nothing else to do, the same worker is asked one by one: from before ``delay()`` until its task has put an
answer into Redis. What steadybeat adds to that is the difference of both medians, of all rounds together.

With ``--telemetry`` steadybeat is compared with itself: everything in `TELEMETRY` switched on, or what is named
(``--telemetry=metrics``), beside all of it off; each with a database of its own. While the endpoint for metrics is
there, it is scraped every five seconds. Rates depend on what else the machine does; the processor time that the worker
takes for a run, parent process included, depends less on it and is compared as well.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import signal
import statistics
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psutil
import psycopg
import redis

from bench.report import Report, celery, machine, spread, wait_until
from steadybeat.dev.servers import PostgresServer, RedisServer, scratch_folder
from steadybeat.ledger import Ledger
from steadybeat.settings import Settings

WARM_UP = 0.1
SCRAPE_SECONDS = 5.0
ASKED = 100
STOP = ((signal.SIGTERM, 20.0),)


class Side:
    """One of the two that are compared.

    Args:
        name: What it is called.
        redis_url: A database of Redis that is its own.
        env: Variables of its worker and of its sender.
        app: ``plain`` or ``steady``: the module of its app, and its queue; `name` unless given.
    """

    def __init__(self, name: str, redis_url: str, env: dict[str, str], app: str = "") -> None:
        self.name = name
        self.app = app or name
        self.url = redis_url
        self.env = env
        self.redis = redis.Redis.from_url(redis_url)
        self.rates: list[float] = []
        self.sending_rates: list[float] = []
        self.answer_seconds: list[float] = []
        self.cpu_seconds: list[float] = []
        self.scrapes: list[int] = []

    def measure(self, count: int, log: Path, options: list[str]) -> None:
        """Send messages, then let a worker work them off, then ask it; append both rates and the seconds of answers.

        Args:
            count: How many messages.
            log: Of the worker.
            options: Of the worker.
        """
        self.redis.flushdb()
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            self.sending_rates.append(count / pool.apply(send, (self.app, count, self.env)))
        worker = celery(
            f"bench.{self.app}",
            ["worker", "-Q", self.app, "-c", "2", "-n", f"{self.name}@%h", *options],
            log,
            self.env,
        )
        try:
            wait_until(lambda: count - self._left() >= count * WARM_UP, "first tasks", worker)
            began, cpu, before = time.monotonic(), cpu_seconds(worker.pid), self._left()
            with self._scraped():
                wait_until(lambda: self._left() == 0, "last task", worker, timeout_seconds=600)
            self.rates.append(before / (time.monotonic() - began))
            self.cpu_seconds.append((cpu_seconds(worker.pid) - cpu) / before)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                self.answer_seconds += pool.apply(ask, (self.app, self.url, self.env))
        finally:
            worker.end(STOP)

    def _left(self) -> int:
        """Return how many messages are not done yet."""
        with self.redis.pipeline() as pipeline:
            pipeline.llen(self.app)
            pipeline.hlen("unacked")
            return sum(pipeline.execute())

    @contextmanager
    def _scraped(self) -> Iterator[None]:
        """Scrape the worker every five seconds, as three Prometheus would, if it serves metrics."""
        address, over, sizes = self.env.get("STEADYBEAT_METRICS_ADDRESS"), threading.Event(), list[int]()

        def scrape() -> None:
            while not over.wait(SCRAPE_SECONDS):
                with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
                    sizes.append(len(answer.read()))

        thread = threading.Thread(target=scrape)
        if address:
            thread.start()
        try:
            yield
        finally:
            over.set()
            if address:
                thread.join()
                self.scrapes.append(len(sizes))


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process and its living children have taken.

    Args:
        pid: Of the process.
    """
    whole = psutil.Process(pid)
    return sum(each.cpu_times().user + each.cpu_times().system for each in (whole, *whole.children()))


def send(name: str, count: int, env: dict[str, str]) -> float:
    """Send messages in a process of its own, and return the seconds that it took.

    Args:
        name: Of the side.
        count: How many.
        env: Variables to set first.
    """
    os.environ.update(env)
    nothing = importlib.import_module(f"bench.{name}").nothing
    nothing.delay()  # opens the connections
    began = time.monotonic()
    for _ in range(count - 1):
        nothing.delay()
    return time.monotonic() - began


def ask(name: str, url: str, env: dict[str, str]) -> list[float]:
    """Ask an idle worker one by one, in a process of its own, and return the seconds until each answer.

    Args:
        name: Of the side.
        url: Of its Redis.
        env: Variables to set first.
    """
    os.environ.update(env)
    answer = importlib.import_module(f"bench.{name}").answer
    client, seconds = redis.Redis.from_url(url), []
    for number in range(ASKED + 10):
        began = time.monotonic()
        answer.delay(url, f"answer:{number}")
        if client.blpop([f"answer:{number}"], timeout=60) is None:
            raise RuntimeError("no answer within a minute")
        seconds.append(time.monotonic() - began)
    return seconds[10:]


def measure(rounds: int, runs: int, options: list[str], report: Report) -> dict[str, Any]:
    """Return the figures of all rounds: steadybeat beside plain Celery.

    Args:
        rounds: How many.
        runs: Tasks of each side in each round.
        options: Of both workers.
        report: Where each round is told.
    """
    with (
        scratch_folder() as folder,
        RedisServer(folder / "redis") as server,
        PostgresServer(folder / "postgres", durable=True) as postgres,
    ):
        ledger = Ledger(Settings(database_url=postgres.url))
        ledger.upgrade()
        plain_url = server.url.removesuffix("0") + "1"
        plain = Side("plain", plain_url, {"CELERY_BROKER_URL": plain_url})
        steady = Side(
            "steady", server.url, {"STEADYBEAT_REDIS_URL": server.url, "STEADYBEAT_DATABASE_URL": postgres.url}
        )
        facts = machine(server.url, postgres.url)
        report.say("  ".join(f"{name} {value}" for name, value in facts.items()))
        compare(plain, steady, rounds, runs, options, folder, report)
        check(postgres.url, rounds * (runs + ASKED + 10))
        ledger.database.close()
    added = statistics.median(steady.answer_seconds) - statistics.median(plain.answer_seconds)
    ratios = spread([ours / theirs for ours, theirs in zip(steady.rates, plain.rates, strict=True)])
    return {
        "ratio": ratios["median"],
        "ratio_per_round": ratios,
        "steady_tasks_per_second": spread(steady.rates),
        "plain_tasks_per_second": spread(plain.rates),
        "steady_sent_per_second": spread(steady.sending_rates),
        "plain_sent_per_second": spread(plain.sending_rates),
        "added_seconds": added,
        "steady_answer_seconds": spread(steady.answer_seconds),
        "plain_answer_seconds": spread(plain.answer_seconds),
        "rounds": rounds,
        "runs_per_round": runs,
        "worker_options": options,
        "machine": facts,
    }


def compare(base: Side, other: Side, rounds: int, runs: int, options: list[str], folder: Path, report: Report) -> None:
    """Measure both sides, one after the other, in turns first and second.

    Args:
        base: What is compared with.
        other: What is compared.
        rounds: How many.
        runs: Tasks of each side in each round.
        options: Of both workers.
        folder: Of their logs.
        report: Where each round is told.
    """
    for number in range(rounds):
        for side in (base, other) if number % 2 == 0 else (other, base):
            side.measure(runs, folder / f"{side.name}.log", options)
        report.say(
            f"round {number + 1}: {base.name} {base.rates[-1]:7.1f}/s  {other.name} {other.rates[-1]:7.1f}/s"
            f"  ratio {other.rates[-1] / base.rates[-1]:.3f}"
            f"  (sending: {base.sending_rates[-1]:.0f}/s and {other.sending_rates[-1]:.0f}/s;"
            f" processor time of a run: {1e6 * base.cpu_seconds[-1]:.0f} and {1e6 * other.cpu_seconds[-1]:.0f} µs)"
        )


def check(database_url: str, runs: int) -> None:
    """Make sure that what was fast was also right: each run succeeded in one attempt, and its key is done.

    Raises:
        RuntimeError: It was not.
    """
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "SELECT count(*) FILTER (WHERE r.state = 'succeeded' AND r.attempt_count = 1),"
            " count(*) FILTER (WHERE a.outcome = 'succeeded'), count(*) FILTER (WHERE k.state = 'done')"
            " FROM steadybeat.runs r LEFT JOIN steadybeat.attempts a ON a.run = r.id"
            " LEFT JOIN steadybeat.processed_keys k ON k.run = r.id"
        ).fetchone()
    if row != (runs, runs, runs):
        raise RuntimeError(f"{runs} runs were sent; succeeded, attempts, processed keys: {row}")


def main() -> None:
    from bench.telemetry import TELEMETRY, measure_telemetry, tell_telemetry  # it measures with what stands here

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often both sides are measured (5)")
    parser.add_argument("--runs", type=int, default=3000, help="tasks of each side in each round (3000)")
    parser.add_argument("--events", action="store_true", help="both workers send task events, as Flower needs them")
    parser.add_argument(
        "--telemetry",
        nargs="?",
        const=",".join(TELEMETRY),
        metavar="NAMES",
        help=f"compare steadybeat with telemetry on and off: all of it, or some of {', '.join(TELEMETRY)}",
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    given = parser.parse_args()
    report = Report(json_at_end=given.json)
    options = ["-E"] if given.events else []
    if given.telemetry is not None:
        names = given.telemetry.split(",")
        if unknown := {*names} - TELEMETRY.keys():
            parser.error(f"--telemetry: there is no {', '.join(sorted(unknown))}; known are {', '.join(TELEMETRY)}")
        tell_telemetry(measure_telemetry(names, given.rounds, given.runs, options, report), report)
        return
    figures = measure(given.rounds, given.runs, options, report)
    ratio = figures["ratio_per_round"]
    report.say(
        f"ratio {ratio['median']:.3f} (from {ratio['min']:.3f} to {ratio['max']:.3f}):"
        f" steadybeat {figures['steady_tasks_per_second']['median']:.0f} tasks/s,"
        f" plain Celery {figures['plain_tasks_per_second']['median']:.0f} tasks/s"
    )
    report.say(
        f"added to one run, from delay() to its code: {1000 * figures['added_seconds']:.1f} ms at the median"
        f" ({1000 * figures['plain_answer_seconds']['median']:.1f} ms in plain Celery)"
    )
    report.end(figures)


if __name__ == "__main__":
    main()
