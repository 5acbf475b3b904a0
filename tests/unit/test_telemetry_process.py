"""One real process, set up as a worker sets itself up: what leaves it, on its streams and to Sentry."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, NamedTuple

import pytest

PROGRAM = """
import logging, sys, warnings
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

good.apply(args=("hunter2",), task_id="g1")
bad.apply(args=("hunter2",), task_id="b1")

@app.task
def ignores():
    raise Ignore()
ignores.apply()
logging.getLogger("kombu.x").warning("theirs")
warnings.warn("a warning")
try:
    raise OSError("the broker is away")
except OSError as exc:
    logging.getLogger("celery.beat").error("beat pidbox connection error: %r", exc, exc_info=True)
"""


class Sentry(BaseHTTPRequestHandler):
    """Takes envelopes as Sentry does, and keeps the events in them."""

    reports: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        items = body.split(b"\n")[1:]
        for head, payload in zip(items[::2], items[1::2], strict=False):
            if json.loads(head).get("type") == "event":
                self.reports.append(json.loads(payload))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        return


class Left(NamedTuple):
    lines: list[dict[str, Any]]
    reports: list[dict[str, Any]]
    text: str


@pytest.fixture(scope="module")
def left() -> Iterator[Left]:
    Sentry.reports.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Sentry) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        dsn = f"http://publickey@127.0.0.1:{server.server_address[1]}/1"
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, dsn],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
        server.shutdown()
        thread.join()
    assert done.returncode == 0, done.stdout
    yield Left(
        [json.loads(line) for line in done.stdout.splitlines()],
        [*Sentry.reports],
        done.stdout,
    )


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
    assert {"kombu.x", "py.warnings"} <= {line["logger"] for line in left.lines}


def test_an_error_is_reported_once_with_the_facts_of_its_run(left: Left) -> None:
    (report,) = left.reports
    tags = {"task": "one.bad", "run_id": "b1", "schedule": "s", "attempt": "2", "tenant": "acme"}
    assert (tags | {"service": "one"}).items() <= report["tags"].items()
    assert report["exception"]["values"][-1]["type"] == "ValueError"


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
