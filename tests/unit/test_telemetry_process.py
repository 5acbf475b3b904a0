"""One real process, set up as a worker sets itself up: what leaves it, on its streams and to Sentry."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, NamedTuple

import pytest

from tests.receivers.sentry import Sentry

PROGRAM = """
import json, logging, sys, warnings
import redbeat, tornado.log
import structlog
from celery import Celery
from celery.exceptions import Ignore
from steadybeat import telemetry
from steadybeat.settings import Settings

app = Celery("one", broker="memory://")
telemetry.install(app, Settings(sentry_dsn=sys.argv[1]))
app.log.setup("INFO", None, redirect_stdouts=True)

@app.task(bind=True)
def good(self, password):
    telemetry.bind_run(
        task=self.name, service="one", run_id=self.request.id, schedule="s", attempt=2, tenant="acme")
    structlog.get_logger().info("structured", n=1)
    logging.getLogger("plain").info("plain", extra={"n": 2})
    print("printed")
    child.apply()
    telemetry.log_outcome("succeeded", 0.1, items=1)

@app.task
def child():
    pass

@app.task(bind=True)
def bad(self, argument):
    telemetry.bind_run(
        task=self.name, service="one", run_id=self.request.id, schedule="s", attempt=2, tenant="acme")
    local = argument
    error = ValueError("cannot reach redis://:hunter2@db/0")
    telemetry.log_outcome("retried", 0.1, error=error)
    try:
        raise error
    except ValueError as exc:
        telemetry.log_outcome("dead", 0.1, error=exc)
        raise

# Of runs, as a worker meets them.
def fails(text, run_id):
    telemetry.bind_run(task="one.fails", service="one", run_id=run_id)
    try:
        json.loads(text)
    except ValueError as exc:
        telemetry.log_outcome("dead", 0.1, error=exc)

fails("{", "f1")
fails("[17", "f2")
fails("x", "f3")

@app.task(bind=True)
def steady(self):
    raise ValueError("an error that is told when nothing more is tried")
steady.recorded = True
from celery.app.trace import build_tracer
request = {"delivery_info": {}, "is_eager": False, "args": (), "kwargs": {}}
build_tracer(steady.name, steady, app=app)("s1", (), {}, request)

facts = {"task": "one.lost", "run_id": "l1", "attempt": 3, "tenant": "acme"}
telemetry.log_outcome("lost", 1.0, error=OSError("child 7 is gone"), **facts, state="waiting")
telemetry.log_outcome("lost", 1.0, error=OSError("child 8 is gone"), **facts, state="dead")
for status in ("snoozed", "cancelled", "duplicate", "skipped", "interrupted", "stale"):
    telemetry.log_outcome(status, 0.1, error=ValueError("no crash"), task="one.lost", run_id="n1")
for run_id in ("p1", "p2"):
    telemetry.log_outcome("dead", task="one.poison", run_id=run_id, reason="workers died under it 3 times")
with telemetry.told(facts):
    logging.getLogger("celery.worker.request").error("Hard time limit (%ss) exceeded for %s[%s]", 3, "one.lost", "l1")
telemetry.clear_run()

good.apply(args=("hunter2",), task_id="g1")
bad.apply(args=("hunter2",), task_id="b1")

@app.task
def ignores():
    raise Ignore()
ignores.apply()
for name in ("kombu.mixins", "celery.beat", "flower.command", "flower.inspector", "tornado.access", "tornado.general"):
    logging.getLogger(name).warning("theirs")
warnings.warn("a warning")
try:
    raise OSError("the broker is away")
except OSError as exc:
    logging.getLogger("celery.beat").error("beat pidbox connection error: %r", exc, exc_info=True)
"""


class Left(NamedTuple):
    lines: list[dict[str, Any]]
    reports: list[dict[str, Any]]
    text: str


@pytest.fixture(scope="module")
def left() -> Left:
    with Sentry() as sentry:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, sentry.dsn],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 0, done.stdout
    return Left([json.loads(line) for line in done.stdout.splitlines()], sentry.events, done.stdout)


def of(left: Left, task: str) -> list[dict[str, Any]]:
    return [report for report in left.reports if report.get("tags", {}).get("task") == task]


def test_each_line_of_a_process_is_json_with_the_same_beginning(left: Left) -> None:
    assert len(left.lines) > 8
    for line in left.lines:
        assert list(line)[:5] == ["timestamp", "level", "event", "logger", "instance"]


@pytest.mark.parametrize("event", ["structured", "plain", "printed", "run succeeded", "task succeeded"])
def test_whoever_writes_inside_a_run_the_line_carries_its_facts(left: Left, event: str) -> None:
    line = next(line for line in left.lines if line["event"] == event and line.get("run_id") == "g1")
    facts = {"task": "one.good", "service": "one", "schedule": "s", "attempt": 2, "tenant": "acme"}
    assert facts.items() <= line.items()


def test_a_run_and_the_run_inside_it_share_the_correlation_id(left: Left) -> None:
    done = [line for line in left.lines if line["event"] == "task succeeded"]
    assert {line["task"] for line in done} == {"one.good", "one.child"}
    assert len({line["correlation_id"] for line in done}) == 1


def test_records_of_libraries_and_warnings_come_in_the_same_form(left: Left) -> None:
    wanted = {"kombu.mixins", "celery.beat", "flower.command", "flower.inspector", "tornado.access", "tornado.general"}
    assert {line["logger"] for line in left.lines if line["event"] == "theirs"} == wanted
    assert "py.warnings" in {line["logger"] for line in left.lines}


def test_an_error_is_reported_once_with_the_facts_of_its_run(left: Left) -> None:
    (report,) = of(left, "one.bad")
    tags = {"task": "one.bad", "run_id": "b1", "schedule": "s", "attempt": "2", "tenant": "acme"}
    assert (tags | {"service": "one"}).items() <= report["tags"].items()
    assert report["exception"]["values"][-1]["type"] == "ValueError"


def test_the_same_error_at_the_same_place_is_one_issue_whatever_its_message(left: Left) -> None:
    found = of(left, "one.fails")
    assert [report["tags"]["run_id"] for report in found] == ["f1", "f2", "f3"]
    assert {tuple(report["fingerprint"]) for report in found} == {
        ("steadybeat", "one.fails", "JSONDecodeError", "__main__:fails")
    }


def test_an_error_that_celery_sees_is_not_reported_where_the_outcome_is(left: Left) -> None:
    assert of(left, "one.steady") == []
    assert [line["event"] for line in left.lines if line.get("task") == "one.steady"] == ["task failed"]


def test_a_lost_process_is_reported_when_its_run_is_dead_and_not_before(left: Left) -> None:
    (report,) = of(left, "one.lost")
    assert report["exception"]["values"][-1]["value"] == "child 8 is gone"
    assert report["fingerprint"] == ["steadybeat", "one.lost", "OSError"]
    assert {"run_id": "l1", "attempt": "3", "tenant": "acme"}.items() <= report["tags"].items()
    (theirs,) = [line for line in left.lines if line["event"].startswith("Hard time limit")]
    assert {"run_id": "l1", "attempt": 3, "task": "one.lost"}.items() <= theirs.items()


def test_a_run_that_died_without_an_error_is_reported_by_its_reason(left: Left) -> None:
    found = of(left, "one.poison")
    assert [report["tags"]["run_id"] for report in found] == ["p1", "p2"]
    assert {tuple(report["fingerprint"]) for report in found} == {
        ("steadybeat", "one.poison", "workers died under it # times")
    }


def test_a_beat_that_has_lost_the_broker_says_so_and_reports_no_crash(left: Left) -> None:
    assert [line["level"] for line in left.lines if "pidbox" in line["event"]] == ["error"]
    assert not [report for report in left.reports if "pidbox" in json.dumps(report)]


def test_nothing_secret_leaves_a_process(left: Left) -> None:
    assert "hunter2" not in left.text
    assert "hunter2" not in json.dumps(left.reports)
    assert "redis://:***@db/0" in json.dumps(left.reports)


QUIET = """
import logging, sys
from steadybeat.telemetry.logs import configure_once_needed

configure_once_needed()
configure_once_needed()
print("structlog" in sys.modules)
logging.getLogger("x").info("below the level")
logging.getLogger("x").warning("first")
logging.getLogger("x").warning("second")
print("structlog" in sys.modules)
"""


def test_a_command_that_writes_no_line_does_without_structlog_and_loses_none() -> None:
    done = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["first", "second"]
