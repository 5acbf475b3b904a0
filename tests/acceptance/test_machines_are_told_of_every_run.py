"""Promise: whatever becomes of a run, its lines, its trace and its crash report say whose run it was, and no secret."""

from __future__ import annotations

import json
from typing import Any

import steadybeat
from tests.acceptance.installation import Shop
from tests.acceptance.nodes import WorkerNode
from tests.eventually import eventually
from tests.receivers.collector import Collector, Received
from tests.receivers.sentry import Sentry

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
SECRET = "hunter2"


def lines_of(shop: Shop, run: str) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = json.loads(shop.celery("runs", "show", run, "--json"))["lines"]
    return shown


def of(spans: list[Received], run: str, name: str) -> list[Received]:
    return [span for span in spans if span.attributes.get("steadybeat.run_id") == run and span.name.startswith(name)]


def check_lines(worker: WorkerNode, runs: list[str]) -> None:
    """Every line of these runs says whose it is, and those of an end how it ended."""
    for line in (each for each in worker.events() if each.get("run_id") in runs):
        always = {"timestamp", "level", "event", "logger", "instance", "task", "correlation_id", "trace_id"}
        assert always <= line.keys(), line
        assert (line["correlation_id"], line["trace_id"]) == ("web-7", TRACE), line
        if line["logger"] == "steadybeat.run":
            assert {"service", "started_at", "attempt", "status", "duration_seconds"} <= line.keys(), line


def check_reports(sentry: Sentry) -> None:
    """There is one issue for each cause, with the facts of each run."""
    found = [tuple(event["fingerprint"]) for event in sentry.events]
    assert [key[1] for key in found] == ["shop.orders.refuse", "shop.orders.refuse", "shop.orders.poison"]
    assert len({*found}) == 2
    for event in sentry.events:
        assert {"task", "run_id", "attempt", "service", "correlation_id"} <= event["tags"].keys()


def check_spans(spans: list[Received], retried: str, lost: str) -> None:
    """Attempts belong to the caller's trace, and each links to the one before it."""
    first, second = sorted(of(spans, retried, "process"), key=lambda span: len(span.links))
    assert (first.trace, second.trace) == (TRACE, TRACE)
    assert (first.parent, second.links) == (PARENT.split("-")[2], [first.id])
    assert [span.attributes["steadybeat.status"] for span in (first, second)] == ["retried", "succeeded"]
    assert of(spans, lost, "process")[0].attributes["steadybeat.status"] == "lost"


def test_a_retried_a_refused_and_a_lost_run_are_each_told_with_every_fact_and_no_secret(shop: Shop) -> None:
    with Sentry() as sentry, Collector() as collector:
        env = {
            "STEADYBEAT_SENTRY_DSN": sentry.dsn,
            "STEADYBEAT_OTLP_URL": collector.url,
            "STEADYBEAT_LOG_LINES_COUNT": "100",
            "STEADYBEAT_CRASH_COUNT": "2",
            "STEADYBEAT_REDACT": "name",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        worker, watchdog = shop.worker("orders", "canvas", concurrency=1, **env), shop.watchdog(**env)
        assert worker.ready()
        assert watchdog.ready()
        with steadybeat.correlation("web-7", traceparent=PARENT):
            retried = shop.send("canvas.part", 1, name=f"{SECRET}-a", failures=1)
            refused = [shop.send("orders.refuse", name=f"{SECRET}-b", unless="never") for _ in range(2)]
            # A process that is killed takes the spans along that it has not sent.
            eventually(lambda: len(of(collector.spans, retried, "process")) == 2 and len(sentry.events) == 2)
            lost = shop.send("orders.poison", name=f"{SECRET}-c", antidote="never")
        shop.settle()
        eventually(lambda: of(collector.spans, lost, "process") and len(sentry.events) == 3)

        runs = [retried, *refused, lost]
        check_lines(worker, runs)
        assert worker.said("run retried", run_id=retried, attempt=1)
        assert worker.said("run succeeded", run_id=retried, attempt=2)
        assert worker.said("run died", run_id=refused[0], error="Permanent: this order cannot be packed")
        assert worker.said("run lost", run_id=lost, attempt=1, state="waiting")
        assert worker.said("run died", run_id=lost, attempt=2)
        eventually(lambda: {"run retried", "run succeeded"} <= {line["event"] for line in lines_of(shop, retried)})
        assert "run lost" in {line["event"] for line in lines_of(shop, lost)}

    check_reports(sentry)
    check_spans(collector.spans, retried, lost)
    shown = [shop.celery("runs", "show", run, STEADYBEAT_REDACT="name") for run in runs]
    everything = [json.dumps(sentry.items), worker.logs(), watchdog.logs(), repr(collector.spans), *shown]
    assert not [text for text in everything if SECRET in text]
