"""What one look of the watchdog at a big ledger takes: when nothing happens, when much does, and when nobody leads.

    python bench/watch.py [--schedules 10000] [--runs 1000000] [--rounds 15] [--backlog 20000] [--json]

A ledger is filled with schedules, with as many runs over the last four weeks, and with their fires. Then a watchdog of
this process makes its passes, without Redis and without alerts, so that what is measured is its questions and what it
makes of the answers:

    first      it takes over: each schedule is looked at once, in as many passes as that needs
    idle       nothing has happened since the last pass
    busy       as many runs have ended since as every schedule has that is due each minute, a tenth of them slowly
    backlog    so many runs wait on their queues, and fires are past their time
    leaderless no Beat leads: fires are written ahead as well
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg
from celery import Celery

import steadybeat
from bench.report import Report, machine, spread
from steadybeat.dev.servers import PostgresServer, scratch_folder
from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import Finding, TaskRow
from steadybeat.schedule import every
from steadybeat.watchdog import Watch
from steadybeat.watchdog.seeing import SEEN_BY

SERVICES = 50
MESSAGE = '{"headers": {"timelimit": [null, null], "argsrepr": "(17,)"}, "properties": {}}'

_SCHEDULES = """
    INSERT INTO steadybeat.schedules (name, task, service, spec, policies, source, revision, generation,
                                      expected_until, created_at)
    SELECT 'tasks.s' || n %% %(services)s || '.job' || n, 'tasks.s' || n %% %(services)s || '.job',
           's' || n %% %(services)s, %(spec)s, '{"expect": "items within 30 %%"}', 'code', n, 1,
           clock_timestamp() + interval '5 minutes', clock_timestamp() - interval '30 days'
      FROM generate_series(1, %(schedules)s) n
"""
_RUNS = """
    INSERT INTO steadybeat.runs (id, task, service, queue, idempotency_key, schedule, scheduled_for, state, message,
                                 body, attempt_count, items_done, enqueued_at, started_at, finished_at, fence)
    SELECT uuidv7(), s.task, s.service, s.service, 'fire:' || s.name || n, s.name, at, 'succeeded', %(message)s,
           '[[17], {}, {}]', 1, 100, at, at, at + interval '1 second' * (1 + n %% 3), n
      FROM generate_series(1, %(each)s) n
     CROSS JOIN LATERAL (SELECT clock_timestamp() - interval '28 days' + n * interval '27 days' / %(each)s AS at) t
     CROSS JOIN steadybeat.schedules s
"""
_FIRES = """
    INSERT INTO steadybeat.fires (schedule, scheduled_for, state, run_id, revision, due_at, dispatched_at, term)
    SELECT schedule, scheduled_for, 'dispatched', id, 1, scheduled_for, scheduled_for, 1 FROM steadybeat.runs
"""
_AHEAD = """
    INSERT INTO steadybeat.fires (schedule, scheduled_for, revision, due_at)
    SELECT name, at, revision, at FROM (
        SELECT name, revision, clock_timestamp() + interval '1 hour' + n * interval '1 minute' AS at
          FROM steadybeat.schedules CROSS JOIN generate_series(1, 2) n) coming
"""
_ENDED = """
    WITH ended AS (
        INSERT INTO steadybeat.runs (id, task, service, queue, idempotency_key, schedule, scheduled_for, state, message,
                                     body, attempt_count, items_done, enqueued_at, started_at, finished_at, fence)
        SELECT uuidv7(), task, service, service, 'fire:' || uuidv7(), name, now.at, 'succeeded', %(message)s,
               '[[17], {}, {}]', 1, 100, now.at,
               now.at - interval '1 second' * CASE WHEN random() < 0.1 THEN 20 ELSE 2 END, now.at, 1
          FROM (SELECT * FROM steadybeat.schedules ORDER BY random() LIMIT %(count)s) s
         CROSS JOIN (SELECT clock_timestamp() AS at) now
        RETURNING id, schedule, scheduled_for)
    INSERT INTO steadybeat.fires (schedule, scheduled_for, state, run_id, revision, due_at, dispatched_at, term)
    SELECT schedule, scheduled_for, 'dispatched', id, 1, scheduled_for, scheduled_for, 1 FROM ended
"""
_BACKLOG = """
    WITH waiting AS (
        INSERT INTO steadybeat.runs (id, task, service, queue, idempotency_key, schedule, scheduled_for, message, body,
                                     enqueued_at)
        SELECT uuidv7(), task, service, service, 'fire:' || uuidv7(), name, at, %(message)s, '[[17], {}, {}]', at
          FROM (SELECT s.*, clock_timestamp() - interval '20 minutes' - n * interval '1 second' AS at
                  FROM steadybeat.schedules s CROSS JOIN generate_series(1, %(each)s) n) s
        RETURNING id, schedule, scheduled_for)
    INSERT INTO steadybeat.fires (schedule, scheduled_for, state, run_id, revision, due_at, dispatched_at, term)
    SELECT schedule, scheduled_for, 'dispatched', id, 1, scheduled_for, scheduled_for, 1 FROM waiting
"""


class Ears:
    """Whoever is told; only how much is kept.

    Attributes:
        found: How many findings the last pass had.
        judged: By how many rules.
    """

    def __init__(self) -> None:
        self.found = self.judged = 0

    def take(self, findings: Sequence[Finding], judged: Collection[str]) -> None:
        """Count."""
        self.found, self.judged = len(findings), len(judged)

    def work(self) -> None:
        """Do nothing."""

    def emergency(self, finding: Finding | None) -> None:
        """Give up: the ledger must answer."""
        raise RuntimeError(finding)


class Tower:
    """A watchdog over a big ledger.

    Args:
        database_url: Of a database that has the ledger's schema.
        schedules: How many there are.
        runs: How many of these have ended.
    """

    def __init__(self, database_url: str, schedules: int, runs: int) -> None:
        self.app: Any = Celery("bench", set_as_current=False)
        self.app.conf.update(steadybeat_database_url=database_url, steadybeat_canary_seconds=0)
        steadybeat.install(self.app)
        self.ledger = Ledger.of(self.app)
        self.connection = psycopg.connect(database_url, autocommit=True)
        self._fill(schedules, runs)
        self.ears = Ears()
        self.watch = self._new()

    def _fill(self, schedules: int, runs: int) -> None:
        spec = psycopg.types.json.Jsonb(every(timedelta(minutes=1)).to_json())
        values = {"schedules": schedules, "each": max(1, runs // schedules), "services": SERVICES, "spec": spec}
        values["message"] = MESSAGE
        for statement in (_SCHEDULES, _RUNS, _FIRES, _AHEAD):
            self.connection.execute(statement, values)
        names = [f"s{n}" for n in range(SERVICES)]
        self.ledger.tasks.describe(
            [TaskRow(name=f"tasks.{name}.job", service=name, owner="team") for name in names], names
        )
        self.connection.execute("VACUUM ANALYZE")
        self._workers(names)
        self.leads()

    def _workers(self, queues: list[str]) -> None:
        for queue in queues:
            self.ledger.instances.sign_of_life(
                str(uuid.uuid4()), role="worker", host="here", pid=1, release="1", node=queue, queues=[queue]
            )
        self.connection.execute("UPDATE steadybeat.instances SET expires_at = clock_timestamp() + interval '1 day'")

    def leads(self, seconds_ago: float = -3600) -> None:
        """Have a Beat lead that was heard of so long ago."""
        self.ledger.leaderships.renew(1, instance=str(uuid.uuid4()), host="here")
        self.connection.execute(
            "UPDATE steadybeat.leaderships SET renewed_at = clock_timestamp() - make_interval(secs => %s)",
            (seconds_ago,),
        )

    def _new(self) -> Watch:
        watch = Watch(self.app, self.ears)
        watch._take_duty()
        assert watch._answering_since is not None
        watch._answering_since -= 3600
        return watch

    def pass_seconds(self, before: Callable[[], Any] = lambda: None) -> float:
        """Return how long a pass takes after something has happened."""
        before()
        began = time.perf_counter()
        if not self.watch.tick():
            raise RuntimeError("the pass failed")
        return time.perf_counter() - began

    def take_over(self) -> list[float]:
        """Return how long the passes of a new watchdog take, until it knows every schedule."""
        self.watch, took = self._new(), list[float]()
        while self.watch._memory is None or not self.watch._memory.is_complete:
            took.append(self.pass_seconds())
        return took

    def end_some(self, count: int) -> None:
        """Let runs end."""
        self.connection.execute(_ENDED, {"count": count, "message": MESSAGE})

    def pile_up(self, each: int) -> None:
        """Let fires wait for workers."""
        self.connection.execute(_BACKLOG, {"each": each, "message": MESSAGE})
        self.connection.execute("ANALYZE steadybeat.runs")

    def by_rule(self) -> dict[str, float]:
        """Return how long each rule takes, in seconds."""
        from steadybeat.watchdog.looking import Look

        took = {}
        look, memory = Look(self.ledger, self.ledger.settings, timedelta(hours=1)), self.watch._memory
        assert memory is not None
        for name, rule in SEEN_BY.items():
            began = time.perf_counter()
            rule(look, memory)
            took[name] = round(time.perf_counter() - began, 4)
        return took


def measure(given: argparse.Namespace, report: Report) -> dict[str, Any]:
    """Return the figures.

    Args:
        given: What was asked for.
        report: Where progress is told.
    """
    figures: dict[str, Any] = {}
    with scratch_folder() as folder, PostgresServer(folder / "postgres") as server:
        url = server.create_database("bench")
        ledger = Ledger(steadybeat.settings.Settings(database_url=url))
        ledger.upgrade()
        ledger.database.close()
        report.say(f"filling: {given.schedules:,} schedules, {given.runs:,} runs and fires")
        tower = Tower(url, given.schedules, given.runs)

        def told(name: str, took: Sequence[float]) -> None:
            figures[name] = {**spread(took), "finding_count": tower.ears.found}
            report.say(
                f"{name:<12}{len(took):3} passes  median {statistics.median(took) * 1000:8.1f} ms"
                f"  max {max(took) * 1000:8.1f} ms  {tower.ears.found} findings by {tower.ears.judged} rules"
            )

        told("first", tower.take_over())
        told("idle", [tower.pass_seconds() for _ in range(given.rounds)])
        figures["idle_by_rule"] = tower.by_rule()
        each = max(1, given.schedules * 5 // 60)
        told("busy", [tower.pass_seconds(lambda: tower.end_some(each)) for _ in range(given.rounds)])
        tower.leads(60)
        told("leaderless", [tower.pass_seconds() for _ in range(given.rounds)])
        tower.leads()
        tower.pile_up(max(1, given.backlog // given.schedules))
        told("backlog", [tower.pass_seconds() for _ in range(given.rounds)])
        figures["backlog_by_rule"] = tower.by_rule()
        for name in ("idle_by_rule", "backlog_by_rule"):
            slowest = sorted(figures[name].items(), key=lambda each: -each[1])[:5]
            report.say(f"{name}: " + ", ".join(f"{rule} {seconds * 1000:.1f} ms" for rule, seconds in slowest))
        figures["machine"] = machine(database_url=url)
        tower.connection.close()
        tower.ledger.database.close()
    return figures


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--backlog", type=int, default=20_000, help="runs that wait")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    given = parser.parse_args()
    report = Report(json_at_end=given.json)
    report.end(measure(given, report))


if __name__ == "__main__":
    main()
