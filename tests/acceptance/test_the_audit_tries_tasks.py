"""Promise: what `audit --probe` says of a task was seen, in a scratch place of which nothing is left."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis as redis_client

from steadybeat.dev.servers import PostgresServer, RedisServer
from steadybeat.ledger import Ledger
from steadybeat.ledger.scratch import PREFIX
from steadybeat.settings import Settings
from tests.eventually import eventually, gone

ROOT = Path(__file__).parents[2]
LINES = ("4.6", "4.7", "4.8")
LIVE_KEYS = {b"live": b"untouched"}


class Live:
    """The live system that a probe must leave alone: a ledger with nothing in it, and a Redis with one key."""

    def __init__(self, postgres: PostgresServer, redis: RedisServer, folder: Path) -> None:
        self.postgres, self.redis, self.folder = postgres, redis, folder
        self.database_url = postgres.create_database(f"live_{os.getpid()}_{folder.name.replace('-', '_')}")
        ledger = Ledger(Settings(database_url=self.database_url))
        ledger.upgrade()
        ledger.database.close()
        with redis_client.Redis.from_url(redis.url) as client:
            client.flushall()
            client.mset(LIVE_KEYS)

    def audit(self, *arguments: str, app: str = "tests.acceptance.probed") -> subprocess.Popen[str]:
        """Begin an audit in a process of its own."""
        env = {
            **os.environ,
            "STEADYBEAT_DATABASE_URL": self.database_url,
            "STEADYBEAT_REDIS_URL": self.redis.url,
            "STEADYBEAT_AUDIT_PROOFS": str(self.folder / "proofs.json"),
            "TMPDIR": str(self.folder),
        }
        argv = [sys.executable, "-m", "celery", "-A", app, "audit", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(argv, cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True)

    def answers(self, *arguments: str, app: str = "tests.acceptance.probed") -> dict[tuple[str, str], dict[str, Any]]:
        """Return what an audit finds of the probed lines, by task and line."""
        with self.audit("--json", *arguments, app=app) as process:
            said, error = process.communicate()
        assert said, error
        found = [each for each in json.loads(said)["findings"] if each["line"] in LINES]
        return {
            (each["subject"].rpartition(".")[2] if app != "tasks" else each["subject"], each["line"]): each
            for each in found
        }

    def scratch(self) -> list[str]:
        """Return the scratch databases that are there."""
        with psycopg.connect(self.postgres.url) as db:
            names = [row[0] for row in db.execute("SELECT datname FROM pg_database")]
        return [name for name in names if name.startswith(PREFIX)]

    def is_as_before(self) -> bool:
        """Whether nothing is left of a probe, and nothing of the live system was touched."""
        with redis_client.Redis.from_url(self.redis.url) as client:
            keys = client.info("keyspace")
            mine = {key: client.get(key) for key in client.scan_iter()}
        with psycopg.connect(self.database_url) as db:
            runs = db.execute(
                "SELECT (SELECT count(*) FROM steadybeat.runs) + (SELECT count(*) FROM steadybeat.instances)"
            )
            counted = runs.fetchone()
        folders = [
            each for each in self.folder.iterdir() if each.is_dir() and each.name.startswith("steadybeat-probe-")
        ]
        return (self.scratch(), [*keys], mine, counted, folders) == ([], ["db0"], LIVE_KEYS, (0,), [])


@pytest.fixture(scope="module")
def live(postgres: PostgresServer, redis: RedisServer) -> Iterator[Live]:
    with tempfile.TemporaryDirectory(prefix="probes-") as folder:
        yield Live(postgres, redis, Path(folder))


@pytest.fixture(scope="module")
def answers(live: Live) -> dict[tuple[str, str], dict[str, Any]]:
    """What a probe of every task found."""
    return live.answers("--probe")


def verdicts(answers: dict[tuple[str, str], dict[str, Any]], task: str) -> list[str]:
    return [answers[task, line]["verdict"] for line in LINES]


def test_a_task_that_makes_its_effect_once_passes_and_the_evidence_says_what_was_done(answers: Any) -> None:
    assert verdicts(answers, "note_once") == ["PASS"] * 3
    twice, killed, many = (answers["note_once", line]["evidence"] for line in LINES)
    assert "delivered three times and called again under the same key: shop.notes: 1 row new" in twice
    assert "killed before its code, " in killed
    assert "before its commit, after its commit, before its end was on record" in killed
    assert "8 deliveries and 4 other runs under the same key at once" in many
    assert "shop.notes.text" in twice, "it says whose values were compared"


def test_a_task_whose_attempt_after_a_killed_one_writes_again_fails(answers: Any) -> None:
    assert verdicts(answers, "note_again") == ["PASS", "FAIL", "PASS"], "what its claims keep from it they keep"
    killed = answers["note_again", "4.7"]
    assert "rows new where one run leaves 1 row new" in killed["evidence"]
    assert "exactly_once" in killed["remedy"]


def test_a_task_without_a_record_doubles_when_it_is_delivered_twice_or_at_once(answers: Any) -> None:
    assert verdicts(answers, "note_unrecorded") == ["FAIL"] * 3
    assert "shop.notes: 4 rows new where one run leaves 1 row new" in answers["note_unrecorded", "4.6"]["evidence"]
    assert "shop.notes: 12 rows new" in answers["note_unrecorded", "4.8"]["evidence"]


def test_a_value_that_changes_each_time_is_seen_though_there_are_as_many_rows(answers: Any) -> None:
    assert verdicts(answers, "take_from_stock") == ["PASS", "FAIL", "PASS"]
    seen = answers["take_from_stock", "4.7"]["evidence"]
    assert re.search(r"shop\.stock\.left_count: [5-8] where one run leaves 9;", seen), seen
    assert verdicts(answers, "set_stock") == ["PASS"] * 3, "where it does not matter how often, it passes"


def test_what_is_done_outside_of_the_tables_counts_where_the_task_counts_it(answers: Any) -> None:
    assert answers["mail_again", "4.7"]["verdict"] == "FAIL"
    assert "where one run makes +1" in answers["mail_again", "4.7"]["evidence"]
    assert verdicts(answers, "mail_uncounted") == ["UNKNOWN"] * 3
    assert "depends_on smtp" in answers["mail_uncounted", "4.6"]["evidence"]
    assert "audit_count=" in answers["mail_uncounted", "4.6"]["remedy"]


def test_a_task_that_only_reads_is_not_asked_and_that_was_seen(answers: Any) -> None:
    assert verdicts(answers, "read_stock") == ["N/A"] * 3
    assert "two undisturbed runs changed no row of 2 tables" in answers["read_stock", "4.6"]["evidence"]


def test_what_could_not_be_tried_is_unknown_and_says_what_to_do(answers: Any) -> None:
    assert verdicts(answers, "fails") == ["UNKNOWN"] * 3
    assert "one undisturbed run ended dead" in answers["fails", "4.6"]["evidence"]
    assert "there is no such item" in answers["fails", "4.6"]["evidence"]
    assert verdicts(answers, "untried") == ["UNKNOWN"] * 3
    assert "audit_args= on the task" in answers["untried", "4.6"]["remedy"]


def test_nothing_is_left_of_a_probe_and_the_live_system_was_not_touched(answers: Any, live: Live) -> None:
    assert answers
    assert live.is_as_before()


def test_an_audit_without_a_probe_says_what_the_last_one_has_shown(answers: Any, live: Live) -> None:
    assert live.answers() == answers
    assert "; shown at " in answers["note_once", "4.6"]["evidence"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_probe_that_is_broken_off_leaves_nothing_behind(live: Live, number: signal.Signals) -> None:
    kept = (live.folder / "proofs.json").read_bytes() if (live.folder / "proofs.json").exists() else None
    with live.audit("--probe", "--task", "tests.acceptance.probed.note_once") as process:
        workers = eventually(lambda: _workers_of(process.pid))
        process.send_signal(number)
        process.communicate()
    assert process.returncode
    eventually(lambda: all(map(gone, workers)))
    assert live.is_as_before()
    assert ((live.folder / "proofs.json").read_bytes() if kept else None) == kept


def _workers_of(pid: int) -> list[int]:
    """Return the worker processes below a process, once there are some."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [each.pid for each in psutil.Process(pid).children(recursive=True) if "worker" in each.cmdline()]
    return []


def test_an_app_that_would_work_outside_of_the_place_is_refused(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBED_BROKER_URL", live.redis.url)
    with live.audit("--probe", app="tests.acceptance.probed_elsewhere") as process:
        _, error = process.communicate()
    assert process.returncode == 2
    assert "broker_url=redis://" in error
    assert "leads out of the scratch place" in error
    assert live.is_as_before()


def test_every_task_of_the_catalogue_is_proven(live: Live) -> None:
    found = live.answers("--probe", app="tasks")
    assert len(found) >= 72
    assert {name: each["evidence"] for name, each in found.items() if each["verdict"] != "PASS"} == {}
    assert live.is_as_before()
