"""Traces of OpenTelemetry: from a caller, or a fire, to a run, and from there to each of its attempts.

    span                kind       who ends it
    ------------------  ---------  ------------------------------------------------------------------------------
    fire <schedule>     internal   the Beat that makes the fire's message; the root of its trace
    send <task>         producer   whoever sends the run: child of the fire, of the attempt or of the caller's span.
                                   It stands for the run: its context travels in the message as `traceparent`
    process <task>      consumer   an attempt: child of the run's span, linked to the attempt before it. Of one that
                                   was too slow, or whose process is gone, its worker's main process makes the span

A run that was rerun has a trace of its own, linked to the old run. The tenants of a fan-out share one `send`. An
attempt whose whole worker is gone has no span: nobody is left who could make it.

Nothing happens, and nothing is imported, unless the application has set up a `TracerProvider`, or
``steadybeat_otlp_url`` names a collector: then each process sets one up when it makes its first span. Spans leave from
a thread, within time-outs; what a collector does not take is dropped.

Attributes: those of messages (https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/), and the facts
of the run as ``steadybeat.*``.
"""

from __future__ import annotations

import atexit
import importlib.metadata
import importlib.util
import logging
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from steadybeat.errors import ConfigurationError
from steadybeat.settings import PREFIX
from steadybeat.telemetry import correlation
from steadybeat.telemetry.correlation import Trace
from steadybeat.telemetry.facts import bound, fields_of, instance
from steadybeat.telemetry.redaction import as_text, redact_text

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span, Tracer

FORMER = "steadybeat_former_attempt"
"""Header of a message: the `traceparent` of the attempt before; lives as long as the run."""

TIMEOUT_SECONDS = 2.0
"""How long a collector may take to answer, and how long the end of a process waits for its spans to leave."""

_FACTS = ("service", "schedule", "scheduled_for", "attempt", "tenant", "correlation_id")
_FAILED = frozenset({"dead", "failed", "retried", "timed_out", "lost"})
_OFF: AbstractContextManager[None] = nullcontext()
_API = "opentelemetry.trace"

_log = logging.getLogger(__name__)


class _State:
    """What this process knows of its collector; its children inherit that."""

    url = ""
    name = "steadybeat"
    share = 1.0
    own: Any = None
    cached: tuple[Any, Tracer] | None = None


class Attempt(NamedTuple):
    """The span of an attempt, and what is to be undone when it ends."""

    run: str
    span: Span
    context_token: Any
    token: Any


_attempt: ContextVar[Attempt | None] = ContextVar("steadybeat_attempt_span", default=None)


def start(name: str, otlp_url: str, share: float = 1.0) -> None:
    """Have spans sent to a collector, from each process that makes some; nothing while `otlp_url` is empty.

    Args:
        name: What the app is called: `service.name`, where ``OTEL_SERVICE_NAME`` says no other.
        otlp_url: The collector's address for OTLP over HTTP.
        share: Of the traces that nobody has decided about so many are kept, and all of fires.

    Raises:
        ConfigurationError: `otlp_url` is none, or the packages for it are not installed.
    """
    if not otlp_url:
        return
    key = f"{PREFIX}otlp_url"
    if not _is_address(otlp_url):
        shown = redact_text(otlp_url)
        raise ConfigurationError(f"{key}={shown!r}: must be a URL such as 'http://collector:4318'.", name=key)
    if _is_missing("opentelemetry.sdk") or _is_missing("opentelemetry.exporter.otlp.proto.http"):
        raise ConfigurationError(f"{key}: needs OpenTelemetry; install steadybeat[otel], or leave it out.", name=key)
    path = otlp_url.rstrip("/")
    _State.url = path if path.endswith("/v1/traces") else f"{path}/v1/traces"
    _State.name, _State.share = name, share


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of a port that is none
        return False


def sending(task: str, message: Any, options: dict[str, Any]) -> AbstractContextManager[None]:
    """Make a span of the sending of a run, and let the message carry it, until the block ends.

    Args:
        task: Name of the task.
        message: Celery's: headers, properties, body.
        options: What it is sent with; its `headers` are replaced.
    """
    tracer = _tracer()
    return _OFF if tracer is None else _sending(tracer, task, message, options)


def begin(request: Any, task: str, run: str) -> Attempt | None:
    """Begin the span of an attempt, which is then the current one; None while there are no traces.

    Args:
        request: Celery's.
        task: Name of the task.
        run: Id of the run.
    """
    tracer = _tracer()
    if tracer is None:
        return None
    from opentelemetry import context, trace

    queue = (request.delivery_info or {}).get("routing_key")
    span = tracer.start_span(
        f"process {task}",
        context=_context_of(correlation.trace_of_request(request)),
        kind=trace.SpanKind.CONSUMER,
        attributes=_of_message("process", task, run, queue),
        links=_links(correlation.trace_of(request.get(FORMER))),
    )
    token = context.attach(trace.set_span_in_context(span))
    attempt = Attempt(run, span, token, None)
    return attempt._replace(token=_attempt.set(attempt))


def end(attempt: Attempt) -> None:
    """End the span of an attempt; the one before is the current one again."""
    from opentelemetry import context

    attempt.span.end()
    context.detach(attempt.context_token)
    _attempt.reset(attempt.token)


def are_on() -> bool:
    """Whether this process makes spans."""
    return _tracer() is not None


def trace_id(attempt: Attempt) -> str:
    """Return the id of the trace that an attempt's span belongs to, 32 hexadecimal digits."""
    return format(attempt.span.get_span_context().trace_id, "032x")


def here() -> str | None:
    """Return the `traceparent` of the attempt that is being worked on, for a link; None while there are no traces."""
    attempt = _attempt.get()
    return None if attempt is None else _traceparent(attempt.span)


def outcome(status: str, error: BaseException | str | None, facts: Mapping[str, Any]) -> None:
    """Let the span of the current attempt say how it ended.

    Args:
        status: As `log_outcome` takes it.
        error: What went wrong.
        facts: The fields of the line about it.
    """
    attempt = _attempt.get()
    if attempt is not None and attempt.span.is_recording() and facts.get("run_id", attempt.run) == attempt.run:
        _tell(attempt.span, status, error, {**bound(), **facts})


def seen(
    headers: Mapping[str, Any],
    *,
    started_at: datetime,
    status: str,
    error: BaseException,
    facts: Mapping[str, Any],
) -> str | None:
    """Make the span of an attempt that could not make it itself, and return its `traceparent`.

    Args:
        headers: Of the message that brought it.
        started_at: When it began; aware.
        status: ``timed_out`` or ``lost``.
        error: What became of it.
        facts: `task`, `run_id` and what else is known of it.
    """
    tracer = _tracer()
    if tracer is None:
        return None
    from opentelemetry import trace

    task, run = str(facts["task"]), str(facts["run_id"])
    span = tracer.start_span(
        f"process {task}",
        context=_context_of(correlation.trace_in(headers)),
        kind=trace.SpanKind.CONSUMER,
        attributes=_of_message("process", task, run, None),
        links=_links(correlation.trace_of(headers.get(FORMER))),
        start_time=int(started_at.timestamp() * 1e9),
    )
    _tell(span, status, error, facts)
    span.end()
    return _traceparent(span)


def flush() -> None:
    """Wait a moment for spans to leave this process, which ends."""
    provider = _State.own
    if provider is not None:
        thread = threading.Thread(target=provider.force_flush, name="steadybeat-last-spans", daemon=True)
        thread.start()
        thread.join(TIMEOUT_SECONDS)


@contextmanager
def _sending(tracer: Tracer, task: str, message: Any, options: dict[str, Any]) -> Iterator[None]:
    from opentelemetry import trace

    headers = {**message[0], **(options.get("headers") or {})}
    own = dict(options.get("headers") or {})
    attempt, run = _attempt.get(), str(headers.get("id"))
    if attempt is not None and attempt.run == run:
        # A retry, or a replacement: the same run goes on.
        options["headers"] = {**own, FORMER: _traceparent(attempt.span)}
        yield
        return
    given = correlation.trace_in(headers)
    former = given if options.get("rerun_of") else None
    parent = _context_of(None if former is not None else given)
    fire, schedule = None, headers.get("steadybeat_schedule")
    if schedule is not None and given is None:
        facts = {f"steadybeat.{name}": str(headers.get(f"steadybeat_{name}")) for name in ("schedule", "scheduled_for")}
        fire = tracer.start_span(f"fire {schedule}", context=parent, attributes=facts)
        parent = trace.set_span_in_context(fire)
    queue = options.get("queue")
    span = tracer.start_span(
        f"send {task}",
        context=parent,
        kind=trace.SpanKind.PRODUCER,
        attributes=_of_message("send", task, run, getattr(queue, "name", queue)),
        links=_links(former),
    )
    own.pop(correlation.TRACESTATE, None)
    sent = Trace(_traceparent(span), span.get_span_context().trace_state.to_header() or None)
    correlation.write(own, sent)
    options["headers"] = own
    try:
        yield
    except Exception as error:
        _fail(span, error)
        raise
    finally:
        span.end()
        if fire is not None:
            fire.end()


def _tracer() -> Tracer | None:
    """Return what makes spans in this process, or None."""
    if _State.url and _State.own is None:
        _set_up()
    api = sys.modules.get(_API)
    if api is None:
        return None
    provider = api.get_tracer_provider()
    if _State.cached is None or _State.cached[0] is not provider:
        if isinstance(provider, api.ProxyTracerProvider):
            return None
        _State.cached = provider, provider.get_tracer("steadybeat", importlib.metadata.version("steadybeat"))
    return _State.cached[1]


def _set_up() -> None:
    """Set up this process' way to the collector, unless the application has set up its own."""
    url, _State.url = _State.url, ""
    try:
        from opentelemetry import trace

        from steadybeat.telemetry.collector import provider

        if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            return
        made = provider(_State.name, url, TIMEOUT_SECONDS, _State.share)
        trace.set_tracer_provider(made)
    except Exception:  # noqa: BLE001 - no traces is better than no work
        _log.warning("traces are off", exc_info=True)
        return
    _State.own = made
    atexit.register(flush)


def _is_missing(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is None
    except ImportError:
        return True


def _context_of(given: Trace | None) -> Context | None:
    """Return the context of a trace that was given; else the current one, where a span is; else the current trace's."""
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    if given is None and not trace.get_current_span().get_span_context().is_valid:
        given = correlation.current_trace()
    if given is None:
        return None
    carrier: dict[str, str] = {}
    correlation.write(carrier, given)
    return TraceContextTextMapPropagator().extract(carrier)


def _links(former: Trace | None) -> list[Link]:
    if former is None:
        return []
    from opentelemetry import trace

    context = _context_of(former)
    return [trace.Link(trace.get_current_span(context).get_span_context(), {"steadybeat.link": "former"})]


def _traceparent(span: Span) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _of_message(operation: str, task: str, run: str, queue: str | None) -> dict[str, str]:
    facts = {
        "messaging.system": "celery",
        "messaging.operation.type": operation,
        "messaging.operation.name": operation,
        "messaging.message.id": run,
        "steadybeat.task": task,
        "steadybeat.run_id": run,
    }
    return facts if queue is None else {**facts, "messaging.destination.name": queue}


def _tell(span: Span, status: str, error: BaseException | str | None, facts: Mapping[str, Any]) -> None:
    given = fields_of({name: facts[name] for name in _FACTS if facts.get(name) is not None})
    known = {f"steadybeat.{name}": value for name, value in given.items()}
    span.set_attributes({"steadybeat.status": status, "steadybeat.instance": instance(), **known})
    if "correlation_id" in facts:
        span.set_attribute("messaging.message.conversation_id", str(facts["correlation_id"]))
    if facts.get("items_count") is not None:
        span.set_attribute("steadybeat.items_count", facts["items_count"])
    if status in _FAILED:
        _fail(span, error if error is not None else str(facts.get("reason") or status))


def _fail(span: Span, error: BaseException | str) -> None:
    """Let a span say what went wrong, without secrets, which the SDK's own `record_exception` would not hide."""
    from opentelemetry import trace

    said = error if isinstance(error, str) else f"{type(error).__name__}: {as_text(error)}"
    span.set_status(trace.Status(trace.StatusCode.ERROR, redact_text(said)))
    if isinstance(error, BaseException):
        stack = "".join(traceback.format_exception(error))
        span.set_attribute("error.type", type(error).__name__)
        span.add_event("exception", {
            "exception.type": type(error).__name__,
            "exception.message": redact_text(as_text(error)),
            "exception.stacktrace": redact_text(stack),
        })  # fmt: skip
