"""What joins the runs of one cause: an id that goes from a caller to its task and on to each of its sub-tasks.

It travels in the headers of messages, which live as long as the run, and stands among the bound facts:

    steadybeat_correlation_id   `correlation_id`: text, normally 32 hexadecimal digits
    traceparent                 `trace_id`: version, trace, span and flags, as W3C Trace Context writes them
    tracestate                  what vendors add to that; passed on as it is

Where nobody gave a correlation id, the trace id is it. A `traceparent` that is none is ignored, and so is its
`tracestate`. Source: https://www.w3.org/TR/trace-context/, sections 3.2 and 3.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar, Token
from typing import Any, NamedTuple
from uuid import uuid4

from steadybeat.telemetry.facts import bind, bound, clear_run

HEADER = "steadybeat_correlation_id"
TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
HEADERS = (HEADER, TRACEPARENT, TRACESTATE)

LENGTH_LIMIT = 128
"""Characters of an id that are kept: it may come from a stranger's HTTP header."""

_STATE_LIMIT = 512

# A later version may append fields; version ff is forbidden, and so is an id of zeros.
_FORM = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})-(?P<span>(?!0{16})[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<more>-[\x21-\x7e]{0,400})?"
)


class Trace(NamedTuple):
    """Where in a trace something happens.

    Attributes:
        parent: A `traceparent` that is one.
        state: The `tracestate` beside it, or None.
    """

    parent: str
    state: str | None = None

    @property
    def id(self) -> str:
        """The id of the trace, 32 hexadecimal digits."""
        return self.parent.split("-")[1]


_trace: ContextVar[Trace | None] = ContextVar("steadybeat_trace", default=None)


def current() -> str | None:
    """Return the correlation id of the run or the block that is being worked on."""
    return bound().get("correlation_id")


def current_trace() -> Trace | None:
    """Return where in a trace the run or the block stands that is being worked on."""
    return _trace.get()


def new() -> str:
    """Return an id that nobody has used."""
    return uuid4().hex


def of_run(run: str) -> str:
    """Return the correlation id of a fire that nothing but its schedule has caused: the digits of its run's id.

    Args:
        run: Id of the run, a UUID.
    """
    return run.replace("-", "")


@contextmanager
def correlation(
    correlation_id: str | None = None, *, traceparent: str | None = None, tracestate: str | None = None
) -> Iterator[str]:
    """Let all tasks that are sent, and all lines that are logged in the block share one correlation id.

    Args:
        correlation_id: The id, such as the one of a web request; by default that of the trace, or else a new one.
        traceparent: The header of that name of a web request, as W3C Trace Context defines it; one that is none is
            ignored.
        tracestate: The header beside it.

    Returns:
        The id in use.
    """
    trace = trace_of(traceparent, tracestate)
    chosen = clean(correlation_id) or (trace.id if trace is not None else new())
    facts = {**bound(), "correlation_id": chosen}
    if trace is not None:
        facts["trace_id"] = trace.id
    entered = enter(trace or _trace.get())
    token = bind(facts)
    try:
        yield chosen
    finally:
        clear_run(token)
        leave(entered)


def as_in(headers: Mapping[str, Any], correlation_id: str | None) -> AbstractContextManager[str]:
    """Let what is sent in the block follow a run that is worked on elsewhere, or not any more.

    Args:
        headers: Of its message, for the trace.
        correlation_id: Its id.
    """
    traceparent, tracestate = headers.get(TRACEPARENT), headers.get(TRACESTATE)
    return correlation(correlation_id, traceparent=traceparent, tracestate=tracestate)


def carried() -> dict[str, str]:
    """Return the current trace as headers, for what is sent later by somebody else."""
    headers: dict[str, str] = {}
    write(headers, _trace.get())
    return headers


def enter(trace: Trace | None) -> Token[Trace | None]:
    """Let what is sent from here on belong to a trace; return what `leave` takes."""
    return _trace.set(trace)


def leave(token: Token[Trace | None]) -> None:
    """Let what is sent belong to the trace of before."""
    try:
        _trace.reset(token)
    except (ValueError, RuntimeError):
        # Entered in another context (a coroutine's, say): no trace is the safe answer.
        _trace.set(None)


def stamp(headers: MutableMapping[str, Any]) -> str:
    """Put the correlation id and the trace into a message's headers, unless they are there.

    Args:
        headers: Headers of the message; changed in place.

    Returns:
        The correlation id that the message carries now: its own, else the current one, else its trace's, else new.
    """
    trace = trace_in(headers)
    given = clean(headers.get(HEADER)) or current() or (trace.id if trace is not None else None)
    for name in (TRACEPARENT, TRACESTATE):
        headers.pop(name, None)
    write(headers, trace or _trace.get())
    headers[HEADER] = given or new()
    return str(headers[HEADER])


def write(headers: MutableMapping[str, Any], trace: Trace | None) -> None:
    """Put a trace into headers."""
    if trace is not None:
        headers[TRACEPARENT] = trace.parent
        if trace.state is not None:
            headers[TRACESTATE] = trace.state


def of_request(request: Any) -> str:
    """Return the correlation id of a Celery request (`task.request`): its own, else the current one, else new.

    Its own is its header's, or else the trace id. An eager call has no message: its headers are one level deeper, and
    it belongs to whoever called it.
    """
    given = clean(request.get(HEADER))
    if given is None and request.headers:
        given = clean(request.headers.get(HEADER))
    if given is None:
        trace = trace_of_request(request)
        given = current() or (trace.id if trace is not None else None)
    return given or new()


def trace_of_request(request: Any) -> Trace | None:
    """Return the trace that a Celery request carries."""
    return trace_in(request) or trace_in(request.headers or {})


def trace_in(headers: Mapping[str, Any]) -> Trace | None:
    """Return the trace that headers carry, or None."""
    return trace_of(headers.get(TRACEPARENT), headers.get(TRACESTATE))


def trace_of(traceparent: object, tracestate: object = None) -> Trace | None:
    """Return the trace that two headers say, or None where `traceparent` is none; of version 00 nothing may follow."""
    if not isinstance(traceparent, str):
        return None
    found = _FORM.fullmatch(traceparent.strip())
    if found is None or (found["version"] == "00" and found["more"]):
        return None
    state = tracestate.strip() if isinstance(tracestate, str) else ""
    usable = bool(state) and len(state) <= _STATE_LIMIT and state.isascii() and state.isprintable()
    return Trace(f"00-{found['trace']}-{found['span']}-{found['flags']}", state if usable else None)


def clean(value: object) -> str | None:
    """Return an id as it may be used, or None if `value` is none."""
    if not isinstance(value, str):
        return None
    return value.strip()[:LENGTH_LIMIT] or None
