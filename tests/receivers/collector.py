"""A collector of OpenTelemetry: OTLP over HTTP with protobuf, for traces.

Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp-request
"""

from __future__ import annotations

from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.receivers.server import Asked, Receiver, Said


class Received(NamedTuple):
    """A span; ids as hexadecimal digits, and an empty parent for a root."""

    name: str
    trace: str
    id: str
    parent: str
    links: list[str]
    attributes: dict[str, Any]
    service: str


class Collector(Receiver):
    """Takes spans.

    Attributes:
        spans: What came in, in that order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[Received] = []

    def answer(self, asked: Asked) -> Said:
        """Keep the spans of a request."""
        export = ExportTraceServiceRequest.FromString(asked.body)
        for resource in export.resource_spans:
            service = next(
                each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
            )
            for scope in resource.scope_spans:
                self.spans += [_received(span, service) for span in scope.spans]
        return Said(200)


def _received(span: Any, service: str) -> Received:
    values = {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}
    links = [link.span_id.hex() for link in span.links]
    return Received(
        span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), links, values, service
    )
