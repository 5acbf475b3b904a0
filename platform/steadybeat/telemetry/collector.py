"""The way to a collector of OpenTelemetry, whose packages are imported when it is asked for.

Each process has a connection of its own: a pool's processes are forked, and would share their worker's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from steadybeat.telemetry.facts import instance

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult


class OfThisProcess:
    """A `SpanExporter` that sends through one which belongs to the process that sends.

    Args:
        url: Where spans go.
        timeout_seconds: How long that may take to answer.
    """

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._pid = 0
        self._exporter: OTLPSpanExporter | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans."""
        if self._exporter is None or self._pid != os.getpid():
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            self._exporter = OTLPSpanExporter(endpoint=self._url, timeout=self._timeout_seconds)
            self._pid = os.getpid()
        return self._exporter.export(spans)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Say that nothing waits here."""
        return self._exporter is None or self._exporter.force_flush(timeout_millis)

    def shutdown(self) -> None:
        """Send nothing more."""
        if self._exporter is not None and self._pid == os.getpid():
            self._exporter.shutdown()  # type: ignore[no-untyped-call]


def provider(name: str, url: str, timeout_seconds: float, share: float) -> TracerProvider:
    """Return what makes spans, and sends them from a thread.

    Whether a trace is kept its caller decides, where there is one.

    Args:
        name: `service.name`, where ``OTEL_SERVICE_NAME`` says no other.
        url: Where spans go.
        timeout_seconds: How long that may take to answer.
        share: Of the traces that nobody has decided about so many are kept, and all of fires.
    """
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler, SamplingResult, TraceIdRatioBased

    class FiresAndSome(Sampler):
        """Keeps every trace that begins with a fire, and a share of the others."""

        def should_sample(
            self, parent_context: Any, trace_id: int, name: str, *rest: Any, **more: Any
        ) -> SamplingResult:
            chosen = ALWAYS_ON if name.startswith("fire ") else some
            return chosen.should_sample(parent_context, trace_id, name, *rest, **more)

        def get_description(self) -> str:
            return f"fires, and {share:g} of the others"

    resource = Resource.create().merge(Resource({"service.instance.id": instance()}))
    if str(resource.attributes["service.name"]).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": name}))
    some = TraceIdRatioBased(share)
    made = TracerProvider(resource=resource, sampler=ParentBased(FiresAndSome()), shutdown_on_exit=False)
    exporter = cast("SpanExporter", OfThisProcess(url, timeout_seconds))
    made.add_span_processor(BatchSpanProcessor(exporter))
    return made
