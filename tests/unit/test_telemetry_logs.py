"""Lines carry the facts of their run, in one form, whoever wrote them."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import structlog
from celery import Celery
from celery.app.task import Context

from steadybeat import telemetry
from steadybeat.errors import ConfigurationError
from steadybeat.settings import Settings
from steadybeat.telemetry import correlation
from steadybeat.telemetry.logs import ConsoleFormatter, FactsFormatter


class Lines(logging.Handler):
    """Keeps each record as it would be written."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(FactsFormatter())
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        assert "\n" not in text
        self.lines.append(json.loads(text))


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    root, handler = logging.getLogger(), Lines()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler.lines
    root.removeHandler(handler)


@pytest.fixture
def app() -> Celery:
    app = Celery("telemetry-test", broker="memory://", set_as_current=False)
    telemetry.install(app, Settings())
    telemetry.install(app, Settings())
    return app


def bind(**facts: Any) -> Any:
    return telemetry.bind_run(**{"task": "tasks.mail.send", "service": "mail", "run_id": "r1"} | facts)


def test_a_line_says_when_how_bad_what_where_and_who(lines: list[dict[str, Any]]) -> None:
    telemetry.get_logger("tasks.mail").info("sent", count=3)
    (line,) = lines
    assert datetime.fromisoformat(line["timestamp"]).tzinfo == UTC
    assert line["timestamp"].endswith("Z")
    assert {key: line[key] for key in ("level", "event", "logger", "count")} == {
        "level": "info",
        "event": "sent",
        "logger": "tasks.mail",
        "count": 3,
    }
    assert line["instance"].split(":")[1] == str(os.getpid())


def test_every_line_of_a_run_carries_its_facts(lines: list[dict[str, Any]]) -> None:
    berlin = timezone(timedelta(hours=2))
    token = bind(
        schedule="tasks.mail.send:eu",
        scheduled_for=datetime(2026, 7, 1, 8, tzinfo=berlin),
        started_at=datetime(2026, 7, 1, 6, 0, 1, 500, tzinfo=UTC),
        attempt=2,
        correlation_id="c1",
        tenant="acme",
    )
    logging.getLogger("celery.worker").warning("theirs")
    telemetry.log_outcome("succeeded", 0.25, items=7)
    telemetry.clear_run(token)
    logging.getLogger("celery.worker").warning("after")
    theirs, outcome, after = lines
    facts = {
        "task": "tasks.mail.send",
        "service": "mail",
        "schedule": "tasks.mail.send:eu",
        "run_id": "r1",
        "scheduled_for": "2026-07-01T06:00:00.000000Z",
        "started_at": "2026-07-01T06:00:01.000500Z",
        "attempt": 2,
        "correlation_id": "c1",
        "tenant": "acme",
    }
    assert facts.items() <= theirs.items()
    end = {"event": "run succeeded", "status": "succeeded", "duration_seconds": 0.25, "items_count": 7}
    assert (facts | end).items() <= outcome.items()
    assert not facts.keys() & after.keys()


def test_a_run_that_is_no_fire_has_no_schedule(lines: list[dict[str, Any]]) -> None:
    bind()
    telemetry.log_outcome("skipped", reason="paused")
    assert {"schedule", "scheduled_for", "tenant"}.isdisjoint(lines[0])
    assert lines[0]["reason"] == "paused"


def test_a_failure_is_one_line_with_error_and_stack_and_no_secret(lines: list[dict[str, Any]]) -> None:
    try:
        raise ConnectionError("postgresql://u:hunter2@db: refused")
    except ConnectionError as exc:
        telemetry.log_outcome("dead", 1.5, items=4, error=exc)
    (line,) = lines
    assert line["event"] == "run died"
    assert line["level"] == "error"
    assert line["error"] == "ConnectionError: postgresql://u:***@db: refused"
    assert line["stack"].startswith("Traceback")
    assert line["items_count"] == 4
    assert "hunter2" not in json.dumps(line)


def test_facts_given_with_an_outcome_win_over_the_bound_ones(lines: list[dict[str, Any]]) -> None:
    telemetry.log_outcome("lost", 3.0, error="child 7 is gone", task="tasks.mail.send", run_id="r9")
    assert (lines[0]["run_id"], lines[0]["error"]) == ("r9", "child 7 is gone")


def test_an_unknown_status_is_still_an_outcome(lines: list[dict[str, Any]]) -> None:
    telemetry.log_outcome("postponed")
    assert lines[0]["event"] == "run postponed"


def test_a_level_that_is_off_writes_nothing(lines: list[dict[str, Any]]) -> None:
    logging.getLogger().setLevel(logging.ERROR)
    telemetry.log_outcome("succeeded", 0.1)
    telemetry.get_logger("quiet").info("unheard")
    assert lines == []


def test_structlog_and_extra_are_equally_good_and_cannot_forge_a_line(lines: list[dict[str, Any]]) -> None:
    structlog.contextvars.bind_contextvars(order=5)
    logging.getLogger("mine").info("%s of %d", "one", 2, extra={"password": "x", "place": "Köln\n"})
    telemetry.get_logger("mine").info("named", level="gold", logger="me", args=[1], extra={"run_id": "r3"})
    assert (lines[0]["event"], lines[0]["password"], lines[0]["place"]) == ("one of 2", "***", "Köln\n")
    assert lines[0]["order"] == 5
    assert (lines[1]["run_id"], lines[1]["args"]) == ("r3", [1])
    assert (lines[1]["level"], lines[1]["level_"], lines[1]["logger_"]) == ("info", "gold", "me")


def test_what_json_cannot_hold_is_written_as_text(lines: list[dict[str, Any]]) -> None:
    telemetry.get_logger("odd").info("odd", nan=float("nan"), bytes=b"\xff", pair={("a", 1): object})
    assert lines[0]["nan"] == "nan"


def test_a_log_call_with_wrong_arguments_still_says_where_it_was() -> None:
    record = logging.makeLogRecord({"name": "odd", "msg": "%d", "args": ("wrong",), "when": datetime.now(UTC)})
    line = json.loads(FactsFormatter().format(record))
    assert (line["event"], line["logger"]) == ("%d", "odd")
    assert datetime.fromisoformat(line["when"])


@pytest.mark.parametrize(
    ("data", "event", "fields"),
    [
        ({"eta": None}, "task received", {}),
        ({"runtime": 0.5, "return_value": "7"}, "task succeeded", {"duration_seconds": 0.5, "result": "7"}),
        ({"exc": "Retry in 1s"}, "task retried", {"error": "Retry in 1s"}),
        ({"description": "ignored", "exc": "Ignore()", "traceback": "T"}, "task ignored", {"error": "Ignore()"}),
        ({"description": "raised expected", "exc": "E()"}, "task failed as it may", {"error": "E()"}),
        (
            {"description": "raised unexpected", "exc": "E()", "traceback": "Traceback"},
            "task failed",
            {"error": "E()", "stack": "Traceback"},
        ),
    ],
)
def test_celerys_sentences_become_facts_without_arguments(
    lines: list[dict[str, Any]], data: dict[str, Any], event: str, fields: dict[str, Any]
) -> None:
    data |= {"id": "r2", "name": "tasks.mail.send", "args": "('hunter2',)", "kwargs": "{}"}
    logging.getLogger("celery.app.trace").info("Task %(name)s[%(id)s]", data, extra={"data": data})
    (line,) = lines
    assert line["event"] == event
    assert ({"task": "tasks.mail.send", "run_id": "r2"} | fields).items() <= line.items()
    assert "hunter2" not in json.dumps(line)
    assert ("stack" in line) == ("stack" in fields)


def test_what_a_worker_takes_says_whose_run_it_is(lines: list[dict[str, Any]]) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {
        "id": "r2",
        "steadybeat_schedule": "s",
        "steadybeat_scheduled_for": "2026-07-01T08:00:00+02:00",
        "steadybeat_correlation_id": "c",
        "steadybeat_tenant": "acme",
        "traceparent": f"00-{trace}-b7ad6b7169203331-01",
    }
    telemetry.received(headers)
    for run in ("r2", "another"):
        data = {"id": run, "name": "tasks.mail.send", "eta": None}
        logging.getLogger("celery.worker.strategy").info("Task received", extra={"data": data})
    telemetry.received({"id": "r3", "steadybeat_scheduled_for": "never"})
    data = {"id": "r3", "name": "tasks.mail.send", "eta": None}
    logging.getLogger("celery.worker.strategy").info("Task received", extra={"data": data})
    facts = {"schedule": "s", "scheduled_for": "2026-07-01T06:00:00.000000Z", "correlation_id": "c", "tenant": "acme"}
    assert (facts | {"trace_id": trace}).items() <= lines[0].items()
    assert not facts.keys() & (lines[1].keys() | lines[2].keys())


def test_a_death_without_an_error_says_its_reason_as_the_error(lines: list[dict[str, Any]]) -> None:
    known = {"task": "t", "run_id": "r", "scheduled_for": datetime(2026, 7, 1, 6, tzinfo=UTC), "tenant": None}
    telemetry.log_outcome("dead", **known, reason="2 workers died under it")
    assert "tenant" not in lines[0]
    assert (lines[0]["error"], lines[0]["scheduled_for"]) == ("2 workers died under it", "2026-07-01T06:00:00.000000Z")


def test_a_terminal_gets_a_readable_line_with_the_stack_below() -> None:
    record = logging.makeLogRecord({"name": "mine", "levelname": "ERROR", "msg": "broke", "facts": {"n": 1}})
    try:
        raise ValueError("password=hunter2")
    except ValueError:
        record.exc_info = sys.exc_info()
    text = ConsoleFormatter(colors=False).format(record)
    first, *rest = text.splitlines()
    assert "broke" in first
    assert "n=1" in first
    assert rest[0].startswith("Traceback")
    assert "hunter2" not in text


def test_the_facts_of_an_eager_run_inside_another_end_with_it(app: Celery, lines: list[dict[str, Any]]) -> None:
    seen: list[str | None] = []

    @app.task(name="inner")  # type: ignore[untyped-decorator]
    def inner() -> None:
        seen.append(correlation.current())
        logging.getLogger("mine").info("inner")

    @app.task(name="outer", bind=True)  # type: ignore[untyped-decorator]
    def outer(self: Any) -> None:
        seen.append(correlation.current())
        bind(run_id=self.request.id, task="outer", attempt=3)
        inner.apply()
        logging.getLogger("mine").info("outer")

    outer.apply(task_id="o1")
    own = [line for line in lines if line["logger"] == "mine"]
    assert [line["task"] for line in own] == ["inner", "outer"]
    assert own[1]["attempt"] == 3
    assert seen[0] is not None
    assert seen[0] == seen[1] == own[1]["correlation_id"]
    assert telemetry.bound() == {}


def test_an_app_that_was_not_installed_gets_no_facts(app: Celery, lines: list[dict[str, Any]]) -> None:
    other = Celery("stranger", broker="memory://", set_as_current=False)

    @other.task(name="strange")  # type: ignore[untyped-decorator]
    def strange() -> None:
        logging.getLogger("mine").info("strange")

    strange.apply()
    assert "task" not in next(line for line in lines if line["logger"] == "mine")


def test_the_correlation_id_goes_from_caller_to_message_to_run(app: Celery) -> None:
    with correlation.correlation("web-1") as chosen, app.connection_for_write() as connection:
        app.send_task("tasks.mail.send", connection=connection)
        message = connection.SimpleQueue("celery").get(timeout=1)
    assert chosen == "web-1"
    assert correlation.current() is None
    assert message.headers[correlation.HEADER] == "web-1"
    assert correlation.of_request(Context(dict(message.headers, args=()))) == "web-1"


def test_a_stamp_keeps_what_is_there_and_invents_what_is_not() -> None:
    headers: dict[str, Any] = {}
    first = correlation.stamp(headers)
    assert len(first) == 32
    with correlation.correlation("other"):
        assert correlation.stamp(headers) == first
    assert headers == {correlation.HEADER: first}


def test_an_id_from_a_stranger_is_checked() -> None:
    with correlation.correlation("  x" * 100) as chosen:
        assert len(chosen) == 128
    headers: dict[str, Any] = {correlation.HEADER: {"not": "text"}}
    assert correlation.stamp(headers) == headers[correlation.HEADER]


def test_a_malformed_dsn_is_refused_by_its_setting_without_its_password(app: Celery) -> None:
    with pytest.raises(ConfigurationError, match=r"^steadybeat_sentry_dsn=.*must look like") as caught:
        telemetry.install(app, Settings(sentry_dsn="https://key:hunter2@host/no-number"))
    assert "hunter2" not in str(caught.value)
