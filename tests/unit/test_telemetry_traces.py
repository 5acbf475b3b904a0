"""Spans from a caller to its runs and their attempts, as OpenTelemetry's own SDK sees them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery
from celery.app.amqp import task_message
from celery.app.task import Context
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from steadybeat import telemetry
from steadybeat.errors import ConfigurationError
from steadybeat.settings import Settings
from steadybeat.telemetry import correlation, traces
from steadybeat.telemetry.collector import provider
from tests.receivers.collector import Collector

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """The application has set up a provider of its own."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


def sent(task: str, options: dict[str, Any], **headers: Any) -> dict[str, Any]:
    """Send a message, and return the headers that it has then."""
    message = task_message({"id": "r1", **headers}, {}, ([], {}, {}), None)
    with traces.sending(task, message, options):
        own = {**message.headers, **(options.get("headers") or {})}
        correlation.stamp(own)
    return own


def work(headers: dict[str, Any], run: str = "r1") -> traces.Attempt:
    attempt = traces.begin(Context({**headers, "args": ()}), "tasks.mail.send", run)
    assert attempt is not None
    return attempt


def context_of(span: Any) -> str:
    return f"{span.context.trace_id:032x}-{span.context.span_id:016x}"


def parent_of(span: Any) -> str | None:
    return None if span.parent is None else f"{span.parent.trace_id:032x}-{span.parent.span_id:016x}"


def test_a_run_is_a_child_of_its_callers_span_and_an_attempt_of_the_run(spans: InMemorySpanExporter) -> None:
    with trace.get_tracer("web").start_as_current_span("POST /orders"):
        headers = sent("tasks.mail.send", {"queue": "mail"})
    attempt = work(headers)
    telemetry.bind_run(task="tasks.mail.send", service="mail", run_id="r1", schedule="s", attempt=2, tenant="acme")
    telemetry.log_outcome("succeeded", 0.1, items=7)
    traces.end(attempt)
    send, caller, process = spans.get_finished_spans()
    assert [send.name, process.name] == ["send tasks.mail.send", "process tasks.mail.send"]
    assert [send.kind, process.kind] == [trace.SpanKind.PRODUCER, trace.SpanKind.CONSUMER]
    assert parent_of(send) == context_of(caller)
    assert parent_of(process) == context_of(send) == headers["traceparent"][3:-3]
    assert headers[correlation.HEADER] == f"{caller.context.trace_id:032x}"
    facts = {
        "messaging.system": "celery",
        "messaging.operation.type": "process",
        "messaging.message.id": "r1",
        "steadybeat.status": "succeeded",
        "steadybeat.schedule": "s",
        "steadybeat.attempt": 2,
        "steadybeat.tenant": "acme",
        "steadybeat.items_count": 7,
    }
    assert facts.items() <= dict(process.attributes or {}).items()
    assert (send.attributes or {})["messaging.destination.name"] == "mail"
    assert process.status.status_code is trace.StatusCode.UNSET


def test_a_fire_is_the_root_of_its_trace(spans: InMemorySpanExporter) -> None:
    fire_of = {"steadybeat_schedule": "tasks.mail.send:eu", "steadybeat_scheduled_for": "2026-07-01T06:00:00+00:00"}
    sent("tasks.mail.send", {"headers": fire_of})
    send, fire = spans.get_finished_spans()
    assert fire.name == "fire tasks.mail.send:eu"
    assert parent_of(fire) is None
    assert parent_of(send) == context_of(fire)
    assert (fire.attributes or {})["steadybeat.scheduled_for"] == "2026-07-01T06:00:00+00:00"


def test_a_retry_is_the_same_run_and_links_to_the_attempt_before(spans: InMemorySpanExporter) -> None:
    headers = sent("tasks.mail.send", {})
    first = work(headers)
    options: dict[str, Any] = {}
    entered = correlation.enter(correlation.trace_in(headers))
    again = sent("tasks.mail.send", options)
    correlation.leave(entered)
    telemetry.log_outcome("retried", 0.1, error=ConnectionError("redis://:hunter2@h"))
    assert traces.here() == again[traces.FORMER]
    traces.end(first)
    traces.end(work(again))
    send, before, after = spans.get_finished_spans()
    assert again["traceparent"] == headers["traceparent"]
    assert parent_of(before) == parent_of(after) == context_of(send)
    assert [f"{link.context.trace_id:032x}-{link.context.span_id:016x}" for link in after.links] == [context_of(before)]
    assert before.status.status_code is trace.StatusCode.ERROR
    assert "hunter2" not in before.to_json()
    assert (before.attributes or {})["error.type"] == "ConnectionError"
    assert traces.here() is None


def test_a_rerun_has_a_trace_of_its_own_that_links_to_the_old_run(spans: InMemorySpanExporter) -> None:
    sent("tasks.mail.send", {"rerun_of": "r0", "headers": {"traceparent": PARENT}})
    (send,) = spans.get_finished_spans()
    assert f"{send.context.trace_id:032x}" != TRACE
    assert [f"{link.context.trace_id:032x}" for link in send.links] == [TRACE]


def test_what_a_task_sends_is_a_child_of_its_attempt(spans: InMemorySpanExporter) -> None:
    attempt = work({"traceparent": PARENT})
    sent("tasks.other", {}, id="r2")
    traces.end(attempt)
    send, process = spans.get_finished_spans()
    assert parent_of(process) == PARENT[3:-3]
    assert parent_of(send) == context_of(process)


def test_a_traceparent_of_a_block_is_the_parent_of_what_is_sent_in_it(spans: InMemorySpanExporter) -> None:
    with correlation.correlation(traceparent=PARENT, tracestate="vendor=1"):
        headers = sent("tasks.mail.send", {})
    (send,) = spans.get_finished_spans()
    assert parent_of(send) == PARENT[3:-3]
    assert headers["traceparent"][3:-3] == context_of(send)
    assert headers["tracestate"] == "vendor=1"


def test_the_span_of_an_attempt_whose_process_is_gone_is_made_for_it(spans: InMemorySpanExporter) -> None:
    began = datetime(2026, 7, 1, 6, tzinfo=UTC)
    facts = {"task": "tasks.mail.send", "run_id": "r1", "attempt": 3}
    lost = traces.seen({"traceparent": PARENT}, started_at=began, status="lost", error=OSError("gone"), facts=facts)
    (span,) = spans.get_finished_spans()
    assert span.start_time == int(began.timestamp() * 1e9)
    assert parent_of(span) == PARENT[3:-3]
    assert lost is not None
    assert lost[3:-3] == context_of(span)
    assert (span.attributes or {})["steadybeat.attempt"] == 3


def test_a_message_that_cannot_be_sent_is_an_error_of_its_span(spans: InMemorySpanExporter) -> None:
    message = task_message({"id": "r1"}, {}, ([], {}, {}), None)
    with pytest.raises(ValueError, match="no queue"), traces.sending("tasks.mail.send", message, {}):
        raise ValueError("no queue, token=hunter2")
    (send,) = spans.get_finished_spans()
    assert send.status.status_code is trace.StatusCode.ERROR
    assert "hunter2" not in send.to_json()


def test_a_task_of_an_app_has_its_span_around_it(spans: InMemorySpanExporter) -> None:
    app = Celery("traced", broker="memory://", set_as_current=False)
    telemetry.install(app, Settings())
    seen: dict[str, Any] = {}

    @app.task(name="traced")  # type: ignore[untyped-decorator]
    def traced() -> None:
        seen.update(telemetry.bound(), current=trace.get_current_span().get_span_context().trace_id)

    traced.apply(headers={"traceparent": PARENT})
    (process,) = spans.get_finished_spans()
    assert seen["current"] == process.context.trace_id == int(TRACE, 16)
    assert seen["trace_id"] == TRACE
    assert not trace.get_current_span().get_span_context().is_valid


def test_without_a_provider_nothing_is_made_and_headers_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    options: dict[str, Any] = {}
    assert sent("tasks.mail.send", options).keys() == {"id", correlation.HEADER}
    assert options == {}
    assert traces.begin(Context({"args": ()}), "t", "r") is None
    assert not traces.are_on()


@pytest.mark.parametrize("url", ["collector:4318", "grpc://c:4317", "http://", "http://c:99999", "http://c:port"])
def test_what_is_no_url_of_a_collector_is_refused_by_its_setting(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^steadybeat_otlp_url="):
        traces.start("app", url)


PROGRAM = """
import os, sys, time
from celery import Celery
from celery.app.task import Context
from steadybeat import telemetry
from steadybeat.settings import Settings
from steadybeat.telemetry import traces

telemetry.install(Celery("shop", broker="memory://"), Settings())
assert not traces.are_on()
assert not [each for each in sys.modules if each.startswith("opentelemetry")]
telemetry.install(Celery("shop", broker="memory://"), Settings(otlp_url=sys.argv[1], traces_share=1))
assert not {"opentelemetry.sdk", "opentelemetry.trace"} & sys.modules.keys()
traces.end(traces.begin(Context({"args": ()}), "parent", "r1"))
traces._State.own.force_flush()
child = os.fork()
if child == 0:
    traces.end(traces.begin(Context({"args": ()}), "child", "r2"))
    traces.flush()
    os._exit(0)
os.waitpid(child, 0)
"""


def test_every_trace_of_a_fire_is_kept_and_of_the_others_a_share() -> None:
    made = provider("shop", "http://127.0.0.1:1", 1.0, 0.25).get_tracer("t")
    fires = [made.start_span("fire settle").get_span_context().trace_flags.sampled for _ in range(20)]
    others = [made.start_span("send pay").get_span_context().trace_flags.sampled for _ in range(2000)]
    assert all(fires)
    assert 350 < sum(others) < 650


def test_a_process_imports_nothing_until_it_makes_a_span_and_sends_them_before_it_ends() -> None:
    with Collector() as collector:
        subprocess.run([sys.executable, "-c", PROGRAM, collector.url], check=True, timeout=60)
    assert sorted(span.name for span in collector.spans) == ["process child", "process parent"]
    assert {span.service for span in collector.spans} == {"shop"}
    assert {request.path for request in collector.asked} == {"/v1/traces"}
