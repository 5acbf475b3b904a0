"""How many messages the relay sends in a second, what a million that wait do to that, and how late delayed ones are.

    python bench/relay.py [--rounds 5] [--messages 20000] [--waiting 1000000] [--delayed 2000] [--committed 50] [--json]

One relay in this process, as every Beat and watchdog has one. A round writes due messages into the outbox, and takes
the time until the relay has sent and marked them all; then plain kombu publishes as many, with the same headers and
body, one by one as a program does. Some rounds have nothing else in the outbox; then messages that wait are written
beside, due from an hour to a year ahead, and the rounds are made again. Postgres is durable (each batch is on disk
before the next) and Redis has its append-only file.

Then a watchdog runs, nothing else, beside those that wait. Messages with an ``eta`` at random instants of half a
minute are sent by name: a message is as late as the ledger says that it was sent; that is written when it lies on its
queue already. And some are sent in transactions, one after the other at random moments: it is measured how long after
the commit each lies on its queue.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg
import redis
from celery import Celery
from psycopg.types.json import Jsonb

import steadybeat
from bench.report import Report, celery, machine, spread, wait_until
from steadybeat.dev.servers import PostgresServer, RedisServer, scratch_folder
from steadybeat.ledger import Ledger
from steadybeat.schedule import new_run_id
from steadybeat.settings import Settings

TASK = "bench.steady.nothing"
QUEUE = "steady"
SPAN = timedelta(seconds=30)
FOREVER = timedelta(hours=1)

_RUNS = """
    INSERT INTO steadybeat.runs (id, task, service, queue, idempotency_key, state, message, body, not_before)
    SELECT id, %(task)s, %(queue)s, %(queue)s, id::text, 'waiting', %(message)s, %(body)s, publish_at FROM given
"""
_FILL = f"""
    WITH given AS (
        SELECT uuidv7() AS id,
               clock_timestamp() + %(first)s + %(step)s * n AS publish_at
          FROM generate_series(1, %(count)s) n
    ), run AS ({_RUNS} RETURNING id, not_before)
    INSERT INTO steadybeat.outbox (publish_at, run, delivery_no, reason)
    SELECT not_before, id, 1, 'delayed' FROM run
"""


class Post:
    """An outbox, a relay and a queue.

    Args:
        redis_url: Of an empty Redis.
        database_url: Of a database that has the ledger's schema.
    """

    def __init__(self, redis_url: str, database_url: str) -> None:
        self.app: Any = Celery("bench", set_as_current=False)
        self.app.conf.update(
            steadybeat_redis_url=redis_url, steadybeat_database_url=database_url, steadybeat_services=(QUEUE,)
        )
        steadybeat.install(self.app)
        self.redis = redis.Redis.from_url(redis_url)
        self.connection = psycopg.connect(database_url, autocommit=True)
        self.message, self.body = self._sample()

    def _sample(self) -> tuple[Any, str]:
        """Return what the ledger keeps of a call by name with an argument."""
        run = self.app.send_task(TASK, (17,), {"account": "a-1"}).id
        row = self.connection.execute("SELECT message, body FROM steadybeat.runs WHERE id = %s", (run,)).fetchone()
        assert row is not None
        self.empty()
        return row[0], row[1]

    def empty(self) -> None:
        """Forget every run, and every message."""
        self.connection.execute("TRUNCATE steadybeat.runs, steadybeat.outbox")
        self.redis.delete(QUEUE)

    def fill(self, count: int, first: timedelta, step: timedelta) -> None:
        """Write messages into the outbox that are due one after the other.

        Args:
            count: How many.
            first: When the first is due, from now.
            step: From one to the next.
        """
        values = {"task": TASK, "queue": QUEUE, "message": Jsonb(self.message), "body": self.body}
        values |= {"count": count, "first": first, "step": step}
        self.connection.execute(_FILL, values)
        self.connection.execute("VACUUM ANALYZE steadybeat.outbox, steadybeat.runs")
        self.connection.execute("CHECKPOINT")

    def relay(self, count: int) -> float:
        """Return how many messages a second are relayed."""
        self.fill(count, timedelta(seconds=-60), timedelta(microseconds=1))
        began = time.perf_counter()
        sent = self.app.steadybeat.relay(FOREVER)
        rate = count / (time.perf_counter() - began)
        if sent != count or self.redis.llen(QUEUE) != count:
            raise RuntimeError(f"{count} were due, {sent} were sent, {self.redis.llen(QUEUE)} lie on the queue")
        self.redis.delete(QUEUE)
        self.connection.execute("DELETE FROM steadybeat.runs WHERE state = 'enqueued'")
        return rate

    def publish(self, count: int) -> float:
        """Return how many messages a second plain kombu publishes."""
        with self.app.connection_for_write() as connection:
            producer = connection.Producer()
            began = time.perf_counter()
            for _ in range(count):
                producer.publish(
                    self.body,
                    content_type="application/json",
                    content_encoding="utf-8",
                    exchange="",
                    routing_key=QUEUE,
                    headers=dict(self.message["headers"]),
                )
            rate = count / (time.perf_counter() - began)
        self.redis.delete(QUEUE)
        return rate

    def lateness(self, count: int) -> list[float]:
        """Return by how many seconds messages are late that a watchdog has to send."""
        now = datetime.now(UTC)
        due = {}
        for _ in range(count):
            at = now + SPAN * random.uniform(0.4, 1.4)
            run = new_run_id(now, random.randbytes(10))
            due[run] = at
            self.app.send_task(TASK, (17,), eta=at, task_id=run)
        if datetime.now(UTC) > min(due.values()):
            raise RuntimeError("the first message was due before the last was written")
        wait_until(lambda: self.redis.llen(QUEUE) == count, "last delayed message", timeout_seconds=120)
        rows = self.connection.execute(
            "SELECT id::text, enqueued_at FROM steadybeat.runs WHERE state = 'enqueued'"
        ).fetchall()
        return [(at - due[run]).total_seconds() for run, at in rows]

    def after_commit(self, count: int) -> list[float]:
        """Return how many seconds after the commit messages that are sent in a transaction lie on their queue."""
        self.redis.delete(QUEUE)
        engine, seconds = self.app.steadybeat.ledger.database.engine, []
        for number in range(count):
            threading.Event().wait(random.uniform(0.0, 0.5))
            with engine.begin() as transaction:
                self.app.send_task(TASK, (17,), transaction=transaction)
            committed = time.perf_counter()
            while self.redis.llen(QUEUE) <= number:
                threading.Event().wait(0.002)
            seconds.append(time.perf_counter() - committed)
        return seconds

    def plans(self) -> list[str]:
        """Return how Postgres finds what is due: rows it looked at, and the time that it took."""
        statement = "SELECT id FROM steadybeat.outbox WHERE publish_at <= statement_timestamp() ORDER BY publish_at"
        rows = self.connection.execute(f"EXPLAIN (ANALYZE, BUFFERS) {statement} LIMIT 500 FOR UPDATE SKIP LOCKED")
        return [str(line) for (line,) in rows.fetchall()]


def shares(seconds: list[float]) -> dict[str, float]:
    """Return the least and the most of some durations, their median and their 99th percentile."""
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) * 99 // 100, len(ordered) - 1)]
    found = {"min": ordered[0], "p50": statistics.median(ordered), "p99": p99, "max": ordered[-1]}
    return {name: round(value, 4) for name, value in found.items()}


def measure(given: argparse.Namespace, report: Report) -> dict[str, Any]:
    """Return the figures.

    Args:
        given: Rounds and counts.
        report: Where each round is told.
    """
    with (
        scratch_folder() as folder,
        RedisServer(folder / "redis") as server,
        PostgresServer(folder / "postgres", durable=True) as postgres,
    ):
        env = {"STEADYBEAT_REDIS_URL": server.url, "STEADYBEAT_DATABASE_URL": postgres.url}
        ledger = Ledger(Settings(database_url=postgres.url))
        ledger.upgrade()
        ledger.database.close()
        post = Post(server.url, postgres.url)
        facts = machine(server.url, postgres.url)
        report.say("  ".join(f"{name} {value}" for name, value in facts.items()))
        rates: dict[str, list[float]] = {"alone": [], "beside": [], "kombu": []}
        post.relay(1000)  # opens the connections
        for kind in ("alone", "beside"):
            if kind == "beside":
                post.fill(given.waiting, timedelta(hours=1), timedelta(days=365) / given.waiting)
                for line in post.plans():
                    report.say(f"  {line}")
            for number in range(given.rounds):
                rates[kind].append(post.relay(given.messages))
                rates["kombu"].append(post.publish(given.messages))
                beside = f", {given.waiting} waiting" if kind == "beside" else ""
                report.say(
                    f"round {number + 1}{beside}: relay {rates[kind][-1]:.0f}/s  kombu {rates['kombu'][-1]:.0f}/s"
                )
        watchdog = celery("bench.steady", ["watchdog", "-l", "WARNING"], folder / "watchdog.log", env)
        try:
            late = post.lateness(given.delayed)
            committed = post.after_commit(given.committed)
        finally:
            watchdog.end(())
        post.app.close()
    return {
        "relayed_per_second": spread(rates["alone"]),
        "relayed_per_second_beside_waiting": spread(rates["beside"]),
        "kombu_published_per_second": spread(rates["kombu"]),
        "late_seconds": shares(late),
        "after_commit_seconds": shares(committed),
        "rounds": given.rounds,
        "messages_per_round": given.messages,
        "waiting": given.waiting,
        "delayed": given.delayed,
        "machine": facts,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (5)")
    parser.add_argument("--messages", type=int, default=20_000, help="messages in each round (20000)")
    parser.add_argument("--waiting", type=int, default=1_000_000, help="messages that wait beside (1000000)")
    parser.add_argument("--delayed", type=int, default=2_000, help="messages with an eta (2000)")
    parser.add_argument("--committed", type=int, default=50, help="messages sent in a transaction (50)")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    given = parser.parse_args()
    report = Report(json_at_end=given.json)
    figures = measure(given, report)
    late, committed = figures["late_seconds"], figures["after_commit_seconds"]
    report.say(
        f"relay {figures['relayed_per_second']['median']:.0f} messages/s, beside {given.waiting} that wait"
        f" {figures['relayed_per_second_beside_waiting']['median']:.0f}/s, plain kombu"
        f" {figures['kombu_published_per_second']['median']:.0f}/s; delayed ones late by"
        f" {late['p50'] * 1000:.0f} ms (p50), {late['p99'] * 1000:.0f} ms (p99), {late['max'] * 1000:.0f} ms (most);"
        f" on their queue {committed['p50'] * 1000:.0f} ms after a commit, {committed['max'] * 1000:.0f} ms at most"
    )
    report.end(figures)


if __name__ == "__main__":
    main()
