"""What joins the runs of one cause: correlation ids, and traces as W3C Trace Context writes them."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context

import steadybeat
from steadybeat import telemetry
from steadybeat.settings import Settings
from steadybeat.telemetry import correlation
from steadybeat.telemetry.logs import line_of

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def app() -> Celery:
    app = Celery("correlation-test", broker="memory://", set_as_current=False)
    telemetry.install(app, Settings())
    return app


def sent(app: Celery, **headers: str) -> dict[str, Any]:
    with app.connection_for_write() as connection:
        app.send_task("tasks.mail.send", connection=connection, headers=headers)
        return dict(connection.SimpleQueue("celery").get(timeout=1).headers)


def line() -> dict[str, Any]:
    return line_of(logging.makeLogRecord({"name": "mine", "msg": "done"}))


def test_a_web_request_hands_its_trace_to_what_it_sends(app: Celery) -> None:
    with steadybeat.correlation(traceparent=PARENT, tracestate="vendor=1") as chosen:
        headers, said = sent(app), line()
    assert chosen == TRACE
    assert (headers["traceparent"], headers["tracestate"]) == (PARENT, "vendor=1")
    assert headers[correlation.HEADER] == TRACE
    assert (said["correlation_id"], said["trace_id"]) == (TRACE, TRACE)
    assert correlation.current_trace() is None
    assert "trace_id" not in line()


def test_a_correlation_id_that_is_given_wins_over_the_trace(app: Celery) -> None:
    with steadybeat.correlation("order-7", traceparent=PARENT):
        headers = sent(app)
    assert headers[correlation.HEADER] == "order-7"
    assert headers["traceparent"] == PARENT


def test_a_message_of_somebody_else_gives_its_run_the_trace_and_the_sub_tasks_as_well(app: Celery) -> None:
    headers: dict[str, Any] = {}

    @app.task(name="outer")  # type: ignore[untyped-decorator]
    def outer() -> None:
        headers.update(sent(app))
        headers["said"] = line()

    outer.apply(headers={"traceparent": PARENT, "tracestate": "vendor=1"})
    assert headers["traceparent"] == PARENT
    assert headers["tracestate"] == "vendor=1"
    assert headers[correlation.HEADER] == headers["said"]["correlation_id"] == TRACE
    assert headers["said"]["trace_id"] == TRACE
    assert correlation.current_trace() is None


def test_a_request_without_an_id_of_its_own_has_its_traces() -> None:
    assert correlation.of_request(Context({"traceparent": PARENT, "args": ()})) == TRACE
    assert correlation.of_request(Context({"traceparent": PARENT, correlation.HEADER: "c", "args": ()})) == "c"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "nonsense",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-b7ad6b7169203331-01",
        f"00-{TRACE}-b7ad6b7169203331",
        f"00-{TRACE}-b7ad6b7169203331-01-more",
        f"ff-{TRACE}-b7ad6b7169203331-01",
        f"00-{TRACE[:-1]}-b7ad6b7169203331-01",
        f"00-{TRACE}-b7ad6b7169203331-0g",
        "00-" * 100_000,
        7,
        None,
    ],
)
def test_a_traceparent_that_is_none_is_ignored_and_its_state_with_it(app: Celery, value: Any) -> None:
    headers = {"traceparent": value, "tracestate": "vendor=1"}
    chosen = correlation.stamp(headers)
    assert headers == {correlation.HEADER: chosen}
    with steadybeat.correlation(traceparent=value) as given:
        assert len(given) == 32
        assert correlation.current_trace() is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    trace = correlation.trace_of(f"cc-{TRACE}-b7ad6b7169203331-01-what-the-future-will-be-like")
    assert trace is not None
    assert trace.parent == PARENT


@pytest.mark.parametrize("state", ["", "x" * 600, "line\nbreak", 7])
def test_a_tracestate_that_is_none_is_left_out(state: Any) -> None:
    assert correlation.trace_of(PARENT, state) == correlation.Trace(PARENT, None)


def test_a_block_inside_another_keeps_the_trace_and_may_have_its_own() -> None:
    with steadybeat.correlation(traceparent=PARENT):
        with steadybeat.correlation("inner"):
            assert correlation.current_trace() == correlation.Trace(PARENT)
        with steadybeat.correlation(traceparent=PARENT.replace(TRACE, "1" * 32)) as inner:
            assert inner == "1" * 32
        assert correlation.current() == TRACE
