"""The main process of a worker sees time-outs and lost processes, and says as much of their runs as the work would."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from billiard.exceptions import WorkerLostError
from celery.worker.request import Request
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from steadybeat.delivery import Rescuer
from steadybeat.task.request import SteadyRequest
from steadybeat.telemetry.logs import line_of
from tests.eventually import eventually
from tests.integration.records import recorded
from tests.integration.working import Work, working

TRACE = "0af7651916cd43dd8448eb211c80319c"
AT = datetime(2026, 7, 1, 6, tzinfo=UTC)
FACTS = {
    "task": "shop.orders.pay",
    "service": "orders",
    "schedule": "s",
    "scheduled_for": "2026-07-01T06:00:00.000000Z",
    "attempt": 1,
    "correlation_id": "c",
    "trace_id": TRACE,
    "tenant": "acme",
}


@pytest.fixture
def work(ledger_url: str, redis_url: str) -> Iterator[Work]:
    with working(ledger_url, redis_url) as work:

        @work.app.task(name="shop.orders.pay", max_retries=1)  # type: ignore[untyped-decorator]
        def pay() -> None: ...

        yield work


def under_way(work: Work, **headers: Any) -> Request:
    """A run that an attempt of this worker works on."""
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "task": "shop.orders.pay", "lang": "py", **headers}
    message = {"headers": headers, "properties": {}}
    about = {"schedule": "s", "scheduled_for": AT, "correlation_id": "c", "tenant": "acme"}
    run = recorded(work.ledger, message=message, **about)
    instance = work.app.steadybeat.instance
    found = work.ledger.runs.claim(run.id, delivery_no=1, instance=instance, time_limit_seconds=60, crash_limit=3)
    assert found.verdict == "claimed"
    delivered = SimpleNamespace(
        delivery_tag="1", acknowledged=False, content_type="application/json", content_encoding="utf-8",
        payload=([], {}, {}), body=b"", delivery_info={}, properties={},
    )  # fmt: skip
    return SteadyRequest(
        delivered, app=work.app, task=work.app.tasks["shop.orders.pay"], headers={**headers, "id": run.id},
        decoded=True, body=([], {}, {}), hostname="here", connection_errors=(), on_ack=lambda *_: None,
        on_reject=lambda *_: None,
    )  # fmt: skip


def outcomes(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [line_of(record) for record in caplog.records if record.name == "steadybeat.run"]


def test_an_attempt_that_was_too_slow_is_told_with_every_fact(work: Work, caplog: pytest.LogCaptureFixture) -> None:
    request = under_way(work)
    request.on_timeout(False, 3.0)
    (line,) = outcomes(caplog)
    assert (FACTS | {"event": "run timed out", "status": "timed_out", "state": "waiting"}).items() <= line.items()
    assert {"error", "reason", "duration_seconds", "started_at", "instance"} <= line.keys()
    assert line["run_id"] == request.id


def test_the_last_time_out_of_a_run_says_that_it_is_dead(work: Work, caplog: pytest.LogCaptureFixture) -> None:
    request = under_way(work, retries=1)
    request.on_timeout(False, 3.0)
    (line,) = outcomes(caplog)
    assert (FACTS | {"event": "run timed out", "state": "dead"}).items() <= line.items()


def test_a_lost_process_gets_a_span_to_which_the_next_attempt_links(
    work: Work, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    request = under_way(work)
    request.on_failure(SimpleNamespace(exception=WorkerLostError("child 7 is gone")))
    (line,) = outcomes(caplog)
    assert (FACTS | {"event": "run lost", "error": "WorkerLostError: child 7 is gone"}).items() <= line.items()
    (span,) = exporter.get_finished_spans()
    assert f"{span.context.trace_id:032x}" == TRACE
    assert {"steadybeat.status": "lost", "steadybeat.tenant": "acme"}.items() <= dict(span.attributes or {}).items()
    kept = work.run(request.id)["message"]["headers"]
    assert kept["steadybeat_former_attempt"] == f"00-{TRACE}-{span.context.span_id:016x}-01"
    assert kept["traceparent"] == json.loads(json.dumps(request.request_dict))["traceparent"]
    provider.shutdown()


def test_who_rescues_a_run_says_as_much_of_it(work: Work, caplog: pytest.LogCaptureFixture) -> None:
    run = under_way(work).id
    work.ledger.database.execute(sa.text("UPDATE steadybeat.instances SET expires_at = clock_timestamp()"))
    now = itertools.count(step=10.0)
    rescue = Rescuer(work.app, clock=lambda: next(now))
    eventually(lambda: rescue() == 1)
    (line,) = outcomes(caplog)
    said = {"event": "run rescued", "status": "rescued", "reason": "its worker was lost", "run_id": run}
    assert (FACTS | said).items() <= line.items()
