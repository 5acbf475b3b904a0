"""What a Beat costs by the number of its schedules: start, memory, an idle tick, and what a tick asks of its servers.

    python bench/scale.py [--sizes 1000 10000 100000] [--ticks 100] [--json]

For each size a new Redis and a new Postgres get that many schedules, each due once a day, none of them soon. Then
one process leads as a Beat does, and reports of itself: how long until it can fire (its first tick has ended) and
until RedBeat's keys are written too, its memory, and its ticks while nothing is due. RedBeat does the same beside
it, with the same schedules in Redis.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psutil
import sqlalchemy as sa
from celery import Celery
from celery.schedules import crontab
from redbeat import RedBeatSchedulerEntry
from redbeat.schedulers import RedBeatScheduler, get_redis
from redis.connection import AbstractConnection

import steadybeat
from bench.report import Report, machine, wait_until
from steadybeat import cron
from steadybeat.beat import SteadyScheduler
from steadybeat.beat.definitions import definition
from steadybeat.dev.leash import spawn
from steadybeat.dev.servers import PostgresServer, RedisServer, scratch_folder
from steadybeat.ledger import Ledger
from steadybeat.ledger.prepared import Express

PAUSE_SECONDS = 0.05
TASK = "bench.scale.nothing"


def at(number: int) -> tuple[int, int]:
    """Return the hour and minute, UTC, of a schedule: one of 720, 6 to 18 hours from now."""
    return (datetime.now(UTC).hour + 6 + number // 60 % 12) % 24, number % 60


def app_of(name: str, **conf: Any) -> Any:
    app: Any = Celery(name, set_as_current=False)
    app.conf.update(**conf)
    return app


def lead_steadybeat(count: int, ticks: int) -> dict[str, Any]:
    """Measure steadybeat in this process; its servers are in the environment."""
    app = app_of("bench_scale", steadybeat_services=("scale",))
    steadybeat.install(app)
    ledger = Ledger.of(app)
    ledger.upgrade()
    rules = {n: cron(f"{at(n)[1]} {at(n)[0]} * * *", tz="UTC") for n in range(720)}
    entries = ((f"job-{n:06}", {"task": TASK, "schedule": rules[n % 720]}) for n in range(count))
    child = os.fork()
    if child == 0:  # so that its memory is not this process'
        ledger.schedules.apply([row for name, each in entries if (row := definition(app, name, each))], ["scale"])
        os._exit(0)
    os.waitpid(child, 0)
    began = time.perf_counter()
    scheduler = SteadyScheduler(app, lazy=True)
    scheduler.tick()
    leads = time.perf_counter() - began
    leader = scheduler._leader
    assert leader is not None and len(leader._definitions) == count
    while leader._learner.busy or leader._expectations.is_due(datetime.now(UTC)):
        scheduler.tick()
    complete = time.perf_counter() - began
    asked = Counter[str]()
    count_sql(ledger, asked)
    try:
        return {"start_seconds": leads, "projected_seconds": complete, **idle(scheduler.tick, ticks, asked)}
    finally:
        scheduler.close()


def lead_redbeat(count: int, ticks: int) -> dict[str, Any]:
    """Measure RedBeat in this process; its Redis is in the environment."""
    url = os.environ["STEADYBEAT_REDIS_URL"]
    app = app_of(
        "bench_redbeat", broker_url=url, redbeat_redis_url=url, redbeat_redis_options={}, redbeat_lock_key=None
    )
    for number in range(count):
        hour, minute = at(number)
        entry = RedBeatSchedulerEntry(f"job-{number:06}", TASK, crontab(minute=str(minute), hour=str(hour)), app=app)
        entry.last_run_at = datetime.now(UTC)
        entry.save()
    assert get_redis(app).zcard(app.redbeat_conf.schedule_key) == count
    began = time.perf_counter()
    scheduler = RedBeatScheduler(app, lazy=True)
    scheduler.lock_key = None
    scheduler.tick()
    return {"start_seconds": time.perf_counter() - began, **idle(scheduler.tick, ticks, Counter())}


def count_sql(ledger: Ledger, asked: Counter[str]) -> None:
    """Count the statements that go to Postgres."""
    run = Express.run

    def counting(self: Express, *args: Any) -> Any:
        asked["sql"] += 1
        return run(self, *args)

    def before(*_: Any) -> None:
        asked["sql"] += 1

    Express.run = counting  # type: ignore[method-assign, assignment]
    sa.event.listen(ledger.database.engine, "before_cursor_execute", before)


def idle(tick: Callable[[], object], ticks: int, asked: Counter[str]) -> dict[str, Any]:
    """Return what ticks take while nothing is due."""
    send: Any = AbstractConnection.send_packed_command

    def counting(self: Any, *args: Any, **options: Any) -> Any:
        asked["redis"] += 1
        return send(self, *args, **options)

    AbstractConnection.send_packed_command = counting  # type: ignore[method-assign]
    took, sql, redis = [], [], []
    for _ in range(ticks):
        asked.clear()
        began = time.perf_counter()
        tick()
        took.append(time.perf_counter() - began)
        sql.append(asked["sql"])
        redis.append(asked["redis"])
        threading.Event().wait(PAUSE_SECONDS)
    return {
        "tick_seconds": statistics.median(took),
        "tick_p95_seconds": statistics.quantiles(took, n=20)[-1],
        "sql_per_tick": statistics.median(sql),
        "redis_per_tick": statistics.median(redis),
        "most_round_trips": max(map(sum, zip(sql, redis, strict=True))),
        "memory_bytes": psutil.Process().memory_info().rss,
    }


def measured(kind: str, count: int, ticks: int, report: Report) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure one kind and one size in a process of its own."""
    with scratch_folder() as folder, RedisServer(folder / "redis") as redis, PostgresServer(folder / "postgres") as sql:
        env = {"STEADYBEAT_REDIS_URL": redis.url, "STEADYBEAT_DATABASE_URL": sql.url}
        out = folder / "figures.json"
        argv = [sys.executable, str(Path(__file__)), "--ticks", str(ticks), "--lead", kind, str(count), str(out)]
        child = spawn(argv, env=env, cwd=folder, log=folder / "child.log")
        try:
            wait_until(out.exists, f"{kind} with {count} schedules", child, timeout_seconds=900)
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{(folder / 'child.log').read_text()[-2000:]}") from None
        finally:
            child.end(())
        figures = json.loads(out.read_text())
        facts = machine(redis.url, sql.url)
    report.say(
        f"{count:>7} schedules  {kind:<10}  starts in {figures['start_seconds']:.2f} s,"
        f" {figures['memory_bytes'] / 1e6:.0f} MB, idle tick {figures['tick_seconds'] * 1000:.1f} ms"
        f" (95 %: {figures['tick_p95_seconds'] * 1000:.1f}), asks {figures['sql_per_tick']:g} times Postgres and"
        f" {figures['redis_per_tick']:g} times Redis a tick"
    )
    return figures, facts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000], help="numbers of schedules")
    parser.add_argument("--ticks", type=int, default=100, help="idle ticks that are measured (100)")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--lead", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.lead:
        kind, count, out = given.lead
        figures = {"steadybeat": lead_steadybeat, "redbeat": lead_redbeat}[kind](int(count), given.ticks)
        part = Path(f"{out}.part")
        part.write_text(json.dumps(figures))
        part.rename(out)
        return
    report = Report(json_at_end=given.json)
    found: dict[str, Any] = {"steadybeat": {}, "redbeat": {}}
    for count in given.sizes:
        for kind, figures in found.items():
            figures[str(count)], facts = measured(kind, count, given.ticks, report)
    report.end({**found, "pause": timedelta(seconds=PAUSE_SECONDS).total_seconds(), "machine": facts})


if __name__ == "__main__":
    main()
