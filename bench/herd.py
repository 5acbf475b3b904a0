"""How late the last of many fires is that are due in one second: steadybeat, and RedBeat beside it in the same run.

    python bench/herd.py [--schedules 10000] [--rounds 5] [--json]

One Beat of each kind, alone with its own Redis (and Postgres), no worker: what is measured is when messages lie on
their queues, 23 of them, one for each service. The program asks Redis again and again how many there are. Seconds
are counted from the boundary, the second in which all schedules are due; so a clock that both sides read decides.

Both have default policies; steadybeat's schedules are of half a minute, RedBeat's of two, since a round must be over
before the next one is due. Before each next round the queues are emptied, and for steadybeat the runs are ended as
workers would, since by default a schedule whose run goes on skips its next fire.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psutil
import psycopg
import redis
from celery import Celery
from celery.schedules import crontab
from redbeat import RedBeatSchedulerEntry

from bench.report import Report, celery, machine, spread, wait_until
from steadybeat.beat.definitions import definition
from steadybeat.dev.leash import Child
from steadybeat.dev.servers import PostgresServer, RedisServer, scratch_folder

SERVICES = [f"service{number:02}" for number in range(1, 24)]
PERIOD = timedelta(seconds=30)
PERIOD_OF_REDBEAT = timedelta(minutes=2)
PATIENCE = timedelta(seconds=90)


def task_of(number: int) -> str:
    """Return the task of a schedule: those of all services take turns."""
    return f"bench.{SERVICES[number % len(SERVICES)]}.nothing"


class Queues:
    """The queues, as Redis counts them."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)

    def count(self) -> int:
        """Return how many messages there are."""
        with self._client.pipeline(transaction=False) as pipe:
            for name in SERVICES:
                pipe.llen(name)
            return sum(pipe.execute())

    def empty(self) -> None:
        """Take all messages away."""
        self._client.delete(*SERVICES)

    def watch(self, boundary: datetime, total: int) -> dict[str, float]:
        """Return after how many seconds from the boundary half, 99 % and all of the messages were there."""
        marks = {"first": 1, "p50": total // 2, "p99": total * 99 // 100, "last": total}
        found: dict[str, float] = {}
        end = boundary + PATIENCE
        while len(found) < len(marks):
            count, now = self.count(), datetime.now(UTC)
            for name, wanted in marks.items():
                if count >= wanted and name not in found:
                    found[name] = (now - boundary).total_seconds()
            if now > end:
                raise RuntimeError(f"{count} of {total} messages {PATIENCE.total_seconds():g} s after the boundary")
            threading.Event().wait(0.005)
        return found


def next_boundary(period: timedelta, least: timedelta) -> datetime:
    """Return the next instant at which all schedules of a period are due, at least so far away."""
    seconds = period.total_seconds()
    earliest = time.time() + least.total_seconds()
    return datetime.fromtimestamp((earliest // seconds + 1) * seconds, UTC)


def rounds_of(
    beat: Child,
    queues: Queues,
    count: int,
    rounds: int,
    boundary: datetime,
    period: timedelta,
    between: Callable[[], None],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Measure some boundaries, from the one given on; return the spread of each figure."""
    figures: dict[str, list[float]] = {name: [] for name in ("first", "p50", "p99", "last", "per_second", "cpu")}
    process = psutil.Process(beat.pid)
    for number in range(rounds):
        if number:
            boundary = next_boundary(period, timedelta(seconds=5))
        before = sum(process.cpu_times()[:2])
        threading.Event().wait(max(0.0, boundary.timestamp() - time.time() - 0.5))
        between()
        queues.empty()
        found = queues.watch(boundary, count)
        figures["cpu"].append(sum(process.cpu_times()[:2]) - before)
        figures["per_second"].append(count / max(found["last"] - found["first"], 0.001))
        for name, value in found.items():
            figures[name].append(value)
        say(f"  round {number + 1}: half {found['p50']:.3f} s, 99 % {found['p99']:.3f} s, last {found['last']:.3f} s")
        queues.empty()
        between()
    return {
        f"{name}_seconds" if name not in ("per_second",) else "released_per_second": spread(values)
        for name, values in figures.items()
    }


def steady(folder: Path, count: int, rounds: int, report: Report) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure steadybeat."""
    with ExitStack() as cleanup:
        server = cleanup.enter_context(RedisServer(folder / "redis"))
        postgres = cleanup.enter_context(PostgresServer(folder / "postgres"))
        env = {
            "STEADYBEAT_REDIS_URL": server.url,
            "STEADYBEAT_DATABASE_URL": postgres.url,
            "STEADYBEAT_SERVICES": ",".join(SERVICES),
        }
        step = celery("bench.steady", ["ledger", "upgrade"], folder / "upgrade.log", env)
        wait_until(lambda: not step.alive, "ledger upgrade")
        facts = machine(server.url, postgres.url)
        report.say("  ".join(f"{name} {value}" for name, value in facts.items()))
        apply(env, count)
        log = folder / "steady.log"
        beat = celery("bench.steady", ["beat", "-l", "WARNING"], log, env)
        cleanup.callback(beat.end, ())
        database = cleanup.enter_context(psycopg.connect(postgres.url, autocommit=True))
        wait_until(lambda: expected(database) >= count, "fires that are expected", beat)

        def end_runs() -> None:
            database.execute(
                "UPDATE steadybeat.runs SET state = 'succeeded', finished_at = clock_timestamp()"
                " WHERE finished_at IS NULL AND enqueued_at < clock_timestamp()"
            )

        boundary = next_boundary(PERIOD, timedelta(seconds=15))
        figures = rounds_of(beat, Queues(server.url), count, rounds, boundary, PERIOD, end_runs, report.say)
        beat.end(())
        row = database.execute(
            "SELECT count(*) FILTER (WHERE state NOT IN ('dispatched', 'expected')) FROM steadybeat.fires"
        ).fetchone()
        figures["not_dispatched_count"] = int(row[0]) if row else -1
    return figures, facts


def expected(database: psycopg.Connection[Any]) -> int:
    """Return how many fires are written ahead."""
    row = database.execute("SELECT count(*) FROM steadybeat.fires").fetchone()
    return int(row[0]) if row else 0


def apply(env: dict[str, str], count: int) -> None:
    """Bring the schedules into the ledger, as `schedules apply` would."""
    import steadybeat
    from steadybeat.ledger import Ledger

    app: Any = Celery("apply", set_as_current=False)
    app.conf.update(
        steadybeat_database_url=env["STEADYBEAT_DATABASE_URL"],
        steadybeat_redis_url=env["STEADYBEAT_REDIS_URL"],
        steadybeat_services=tuple(SERVICES),
    )
    steadybeat.install(app)
    rows = [definition(app, f"herd-{n:06}", {"task": task_of(n), "schedule": PERIOD}) for n in range(count)]
    ledger = Ledger.of(app)
    for start in range(0, count, 1000):
        ledger.schedules.apply([row for row in rows[start : start + 1000] if row is not None], [])
    ledger.database.close()


def plain(folder: Path, count: int, rounds: int, report: Report) -> dict[str, Any]:
    """Measure RedBeat."""
    with RedisServer(folder / "redbeat") as server:
        app = Celery("bench.plain_redbeat", broker=server.url, set_as_current=False)
        app.conf.update(redbeat_redis_url=server.url, redbeat_redis_options={})
        boundary = next_boundary(PERIOD_OF_REDBEAT, timedelta(seconds=30 + count / 100))
        due = {}
        for number in range(count):
            rule = crontab(minute=f"*/{PERIOD_OF_REDBEAT // timedelta(minutes=1)}")  # its intervals drift by each delay
            entry = RedBeatSchedulerEntry(f"herd-{number:06}", task_of(number), rule, app=app)
            entry.last_run_at = boundary - PERIOD_OF_REDBEAT  # one that never ran is sent a tick early
            entry.save()
            due[entry.key] = boundary.timestamp()
        redis.Redis.from_url(server.url).zadd(app.redbeat_conf.schedule_key, due)  # RedBeat reckons it wrongly
        env = {"CELERY_BROKER_URL": server.url, "BENCH_REDBEAT_URL": server.url}
        beat = celery("bench.plain_redbeat", ["beat", "-l", "WARNING"], folder / "redbeat.log", env)
        try:
            return rounds_of(
                beat, Queues(server.url), count, rounds, boundary, PERIOD_OF_REDBEAT, lambda: None, report.say
            )
        finally:
            beat.end(())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--schedules", type=int, default=10_000, help="how many are due in one second (10000)")
    parser.add_argument("--rounds", type=int, default=5, help="boundaries that are measured (5)")
    parser.add_argument("--without-redbeat", action="store_true", help="leave RedBeat out")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    given = parser.parse_args()
    report = Report(json_at_end=given.json)
    with scratch_folder() as folder:
        ours, facts = steady(folder, given.schedules, given.rounds, report)
        theirs = None if given.without_redbeat else plain(folder, given.schedules, max(2, given.rounds // 2), report)
    for name, figures in (("steadybeat", ours), ("redbeat", theirs)):
        if figures:
            last, rate = figures["last_seconds"], figures["released_per_second"]
            report.say(
                f"{name}: last message {last['median']:.2f} s after the second (to {last['max']:.2f} s), half of them"
                f" {figures['p50_seconds']['median']:.2f} s, {rate['median']:.0f} released a second,"
                f" {figures['cpu_seconds']['median']:.1f} s of processor a round"
            )
    report.end({"steadybeat": ours, "redbeat": theirs, "schedules": given.schedules, "machine": facts})


if __name__ == "__main__":
    main()
