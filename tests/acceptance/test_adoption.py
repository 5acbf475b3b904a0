"""Promise: a project on plain Celery and RedBeat moves in with one line, and loses and doubles nothing on the way."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
import sqlalchemy as sa
from celery import Celery
from celery.schedules import crontab, schedule
from redbeat import RedBeatSchedulerEntry
from redbeat.schedules import rrule

from tests.acceptance import forkserver
from tests.acceptance.installation import SHORT_TIMES
from tests.acceptance.nodes import LocalProcess
from tests.eventually import eventually

PROJECT = Path(__file__).with_name("plain_project")
REASON = ("--reason", "we move in")
ENTRY, LIST = "redbeat:{}", "redbeat::schedule"


class Depot:
    """The project, its servers and its processes.

    Args:
        folder: Where its processes log and its tasks leave their lines.
        redis_url: Of an empty Redis.
        database_url: Of an empty database.
    """

    def __init__(self, folder: Path, redis_url: str, database_url: str) -> None:
        self.folder = folder
        self.env = {"DEPOT_REDIS": redis_url, "DEPOT_FOLDER": str(folder)}
        self._database_url = database_url
        self.redis = redis_client.Redis.from_url(redis_url, decode_responses=True)
        self._engine = sa.create_engine(
            sa.make_url(database_url).set(drivername="postgresql+psycopg"), poolclass=sa.NullPool
        )
        self.plain = Celery("plain", set_as_current=False)
        self.plain.conf.update(
            broker_url=redis_url,
            result_backend=redis_url,
            redbeat_redis_url=redis_url,
            redbeat_redis_options={},
            timezone="Europe/Riga",
        )
        self._processes: list[LocalProcess] = []

    def move_in(self) -> None:
        """Add the one line."""
        self.env |= {**SHORT_TIMES, "DEPOT_MOVES_IN": "1", "STEADYBEAT_DATABASE_URL": self._database_url}

    def start(self, *arguments: str) -> LocalProcess:
        name = f"{arguments[0]}{len(self._processes)}"
        log = self.folder / f"{name}.log"
        process = LocalProcess(name, self._argv(*arguments), env=self.env, cwd=PROJECT, log=log)
        process.start()
        self._processes.append(process)
        return process

    def worker(self, *options: str) -> LocalProcess:
        return self.start("worker", "-c", "2", "-l", "INFO", "--without-gossip", "--without-mingle", *options)

    def celery(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return forkserver.run(self._argv(*arguments), env=self.env, cwd=PROJECT)

    def said(self, *arguments: str, code: int = 0) -> Any:
        done = self.celery(*arguments, "--json")
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    @staticmethod
    def _argv(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "celery", "-A", "depot", *arguments]

    def save(self, name: str, rule: Any, last_run_at: datetime | None, *args: str) -> None:
        """Save an entry by RedBeat's own interface."""
        entry = RedBeatSchedulerEntry(name, "depot.tasks.count", rule, args=args, app=self.plain)
        entry.last_run_at = last_run_at
        entry.save()

    def send(self, task: str, *args: str, **options: Any) -> str:
        """Send a message as a program without steadybeat does."""
        return str(self.plain.send_task(f"depot.tasks.{task}", args, **options).id)

    def effects(self, what: str) -> list[dict[str, Any]]:
        file = self.folder / "effects"
        lines = file.read_text().splitlines() if file.exists() else []
        return [each for each in map(json.loads, lines) if each["what"] == what]

    def rows(self, statement: str, **values: Any) -> list[Any]:
        with self._engine.connect() as connection:
            return list(connection.execute(sa.text(statement), values))

    def succeeded(self, run: str) -> bool:
        found = self.rows("SELECT state FROM steadybeat.runs WHERE id = CAST(:run AS uuid)", run=run)
        return [row.state for row in found] == ["succeeded"]

    def effects_of(self, run: str) -> int:
        return sum(
            each["run"] == run for what in ("count", "ticking", "by hand", "report") for each in self.effects(what)
        )

    def close(self) -> None:
        for process in self._processes:
            process.remove()
            print(f"--- {process.name}: {process.ending}\n{process.logs().decode(errors='replace')[-4000:]}")
        self.plain.close()
        self.redis.close()
        self._engine.dispose()


@pytest.fixture
def depot(tmp_path: Path, redis_url: str, postgres_url: str) -> Iterator[Depot]:
    depot = Depot(tmp_path, redis_url, postgres_url)
    yield depot
    depot.close()


def run_as_it_was(depot: Depot, since: datetime) -> LocalProcess:
    """Let its own Beat send what nobody takes, and people save entries of their own; return that Beat, at work."""
    beat = depot.start("beat", "--max-interval", "1")
    eventually(lambda: depot.redis.llen("celery") >= 1)
    depot.save("ticking", schedule(3), since, "ticking")
    depot.save("friday the 13th", crontab(0, 6, "fri", "13"), since)
    depot.save("weekly", rrule("WEEKLY", dtstart=since - timedelta(days=1)), since)
    depot.redis.hset(ENTRY.format("garbled"), "definition", "{")
    depot.redis.zadd(LIST, {ENTRY.format("garbled"): 2e10})
    return beat


def test_a_plain_project_moves_in_with_one_line(depot: Depot) -> None:
    since = datetime.now(UTC)
    old_beat = run_as_it_was(depot, since)

    # The line is added while the old Beat still runs: nothing is taken over.
    depot.move_in()
    assert depot.celery("ledger", "upgrade").returncode == 0
    refused = depot.celery("schedules", "import", "--from", "redbeat", *REASON)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "stop it first" in refused.stderr

    old_beat.stop()
    waiting = [json.loads(each) for each in depot.redis.lrange("celery", 0, -1)]
    sent = {each["headers"]["id"] for each in waiting} | {depot.send("count", "by hand")}
    found = depot.said("schedules", "import", "--from", "redbeat", *REASON, code=1)
    verdicts = {each["name"]: each["verdict"] for each in found["entries"]}
    names = ("count", "sweep", "ticking", "friday the 13th", "weekly")
    assert verdicts == {**dict.fromkeys(names, "taken over"), "garbled": "left"}
    assert depot.said("schedules", "apply")["changes"] == []
    again = depot.said("schedules", "import", "--from", "redbeat", *REASON, code=1)
    assert [each["name"] for each in again["entries"]] == ["garbled"]

    # Both old commands start what is new, though the configuration still names RedBeat's scheduler.
    depot.start("beat", "-l", "INFO")
    depot.worker()
    eventually(lambda: all(depot.succeeded(each) for each in sent))
    assert {each: depot.effects_of(each) for each in sent} == dict.fromkeys(sent, 1)

    eventually(lambda: fired(depot, "count") >= 2 and fired(depot, "ticking") >= 3)
    for name, interval in (("count", 2), ("ticking", 3)):
        fires = depot.rows(_FIRES, name=name)
        apart = {later.scheduled_for - earlier.scheduled_for for earlier, later in pairwise(fires)}
        assert apart == {timedelta(seconds=interval)}
        assert fires[0].scheduled_for > since - timedelta(seconds=1)
        runs = [str(fire.run_id) for fire in fires if fire.run_state == "succeeded"]
        assert {run: depot.effects_of(run) for run in runs} == dict.fromkeys(runs, 1)
    assert depot.redis.hget(ENTRY.format("ticking"), "steadybeat_revision")
    assert depot.redis.hgetall(ENTRY.format("garbled")) == {"definition": "{"}


def test_tasks_run_as_they_were_written(depot: Depot) -> None:
    depot.move_in()
    assert depot.celery("ledger", "upgrade").returncode == 0
    fetched, logged, report = depot.send("fetch"), depot.send("logged"), depot.send("report", queue="reports")
    depot.start("watchdog")  # retries wait in the ledger, and a watchdog or a Beat sends them
    depot.worker()
    eventually(lambda: depot.succeeded(fetched) and depot.succeeded(logged))
    assert [each["retries"] for each in depot.effects("fetch")] == [1]
    assert [depot.effects(what)[0]["run"] for what in ("around depot.tasks.logged", "logged")] == [logged] * 2
    assert depot.plain.AsyncResult(fetched).get(timeout=10) == "fetched"
    # As before, the queue that a route names is only for the worker that is told so.
    assert depot.redis.llen("reports") == 1
    depot.worker("-Q", "reports", "-n", "reports@%h")
    eventually(lambda: depot.succeeded(report))
    assert depot.effects_of(report) == 1


_FIRES = """
    SELECT f.scheduled_for, f.run_id, r.state AS run_state FROM steadybeat.fires f
      LEFT JOIN steadybeat.runs r ON r.id = f.run_id
     WHERE f.schedule = :name ORDER BY f.scheduled_for
"""


def fired(depot: Depot, name: str) -> int:
    """How many fires of a schedule have been sent and have had their effect."""
    return sum(row.run_state == "succeeded" for row in depot.rows(_FIRES, name=name))


def test_a_beat_that_is_told_to_fire_past_the_ledger_does_not_start(depot: Depot) -> None:
    depot.move_in()
    assert depot.celery("ledger", "upgrade").returncode == 0
    told = depot.celery("beat", "-S", "redbeat.RedBeatScheduler", "--max-interval", "1")
    assert told.returncode == 2
    assert "Error: -S redbeat.schedulers.RedBeatScheduler: fires past the ledger" in told.stderr
    assert not depot.redis.keys("*")  # neither a lock nor an entry: it ended before it did anything
