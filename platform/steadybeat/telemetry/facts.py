"""Who is speaking, and of which run: the facts that stand in every line and every crash report.

The facts of the current run live in one context variable as one ready mapping, so that binding a run is one
assignment and a line only copies it. Threads, greenlets and coroutines each see their own.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from steadybeat.telemetry.redaction import redact_fields

RESERVED = frozenset({"timestamp", "level", "event", "logger", "instance"})
"""Names that every line gives itself; a fact that is called like one is written with ``_`` at its end."""

_TRAVELLING = ("schedule", "scheduled_for", "correlation_id", "tenant")

NOTHING: Mapping[str, Any] = MappingProxyType({})

_bound: ContextVar[Mapping[str, Any]] = ContextVar("steadybeat_facts", default=NOTHING)


class _Process:
    """What this process is called; asks the pid each time, because a child inherits the name of its parent."""

    pid = 0
    role = "caller"
    name = ""


def instance_id(role: str) -> str:
    """Return what this process is called in the given role: ``host:pid:role``.

    Args:
        role: What the process does: ``worker``, ``child``, ``beat``, ``flower``, ``caller`` …
    """
    return f"{socket.gethostname()}:{os.getpid()}:{role}"


def bind_instance(name: str) -> None:
    """Let every line of this process carry `name` as its instance; a child of it has to bind its own.

    Args:
        name: The id of the instance, ``host:pid:role``.
    """
    _Process.pid = os.getpid()
    _Process.role = name.rpartition(":")[2]
    _Process.name = name


def instance() -> str:
    """Return what this process is called, by default ``host:pid:role``."""
    if _Process.pid != os.getpid():
        bind_instance(instance_id(_Process.role))
    return _Process.name


def bound() -> Mapping[str, Any]:
    """Return the facts that lines carry at this moment; not to be changed."""
    return _bound.get()


def bind(facts: Mapping[str, Any]) -> Token[Mapping[str, Any]]:
    """Put `facts` in the place of those bound now; what is None is left out.

    Returns:
        What `clear_run` takes to restore the former facts.
    """
    return _bound.set({name: value for name, value in facts.items() if value is not None})


def bind_run(
    *,
    task: str,
    service: str | None,
    run_id: str,
    schedule: str | None = None,
    scheduled_for: datetime | None = None,
    attempt: int = 1,
    correlation_id: str | None = None,
    tenant: str | None = None,
    started_at: datetime | None = None,
    trace_id: str | None = None,
) -> Token[Mapping[str, Any]]:
    """Let every line from here on carry the facts of this attempt.

    Args:
        task: Name of the task.
        service: Service that owns it; None where nobody knows.
        run_id: Id of the run, which is Celery's task id.
        schedule: Name of the schedule, for a fire.
        scheduled_for: The fire's nominal time, aware.
        attempt: Number of the attempt, from 1.
        correlation_id: What joins the runs of one cause; the current one by default.
        tenant: Account for which the run does its share.
        started_at: Actual start, aware; by default when this run was first bound, else now.
        trace_id: The trace that it belongs to; the current one by default.

    Returns:
        What `clear_run` takes to restore the former facts.
    """
    outer = _bound.get()
    if started_at is not None:
        start = instant(started_at)
    elif outer.get("run_id") == run_id:
        start = outer["started_at"]
    else:
        start = instant(datetime.now(UTC))
    return bind(
        {
            "task": task,
            "service": service,
            "schedule": schedule,
            "run_id": run_id,
            "scheduled_for": None if scheduled_for is None else instant(scheduled_for),
            "started_at": start,
            "attempt": attempt,
            "correlation_id": correlation_id or outer.get("correlation_id"),
            "tenant": tenant,
            "trace_id": trace_id or outer.get("trace_id"),
        }
    )


def clear_run(token: Token[Mapping[str, Any]] | None = None) -> None:
    """Restore the facts that were bound before.

    Args:
        token: What `bind_run` returned; without it, no facts remain.
    """
    if token is None:
        _bound.set(NOTHING)
        return
    try:
        _bound.reset(token)
    except (ValueError, RuntimeError):
        # Bound in another context (a coroutine's, say) or restored before: no run is the safe answer.
        _bound.set(NOTHING)


@contextmanager
def run_facts(**facts: Any) -> Iterator[None]:
    """Add `facts` to those bound now, until the end of the block.

    Args:
        **facts: Names and values; instants aware, anything that JSON can hold.
    """
    token = bind({**_bound.get(), **fields_of(facts)})
    try:
        yield
    finally:
        clear_run(token)


def facts_of_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of a run that the headers of its message say.

    Args:
        headers: Of any message; what they do not say is left out.
    """
    found = {name: headers.get(f"steadybeat_{name}") for name in _TRAVELLING}
    facts: dict[str, Any] = {name: value for name, value in found.items() if isinstance(value, str)}
    if "scheduled_for" in facts:
        try:
            facts["scheduled_for"] = instant(datetime.fromisoformat(facts["scheduled_for"]))
        except ValueError:  # a header may hold anything
            del facts["scheduled_for"]
    return facts


def fields_of(facts: Mapping[Any, Any]) -> dict[str, Any]:
    """Return `facts` as fields of a line: nothing secret, no name that a line gives itself.

    Args:
        facts: Names and values as somebody wrote them.
    """
    fields = redact_fields({name: _plain(value) for name, value in facts.items()})
    for name in RESERVED & fields.keys():
        fields[f"{name}_"] = fields.pop(name)
    return fields


def _plain(value: Any) -> Any:
    return instant(value) if isinstance(value, datetime) and value.tzinfo is not None else value


def instant(at: datetime) -> str:
    """Return an instant as ISO 8601 in UTC with microseconds and ``Z``."""
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return f"{utc.isoformat(timespec='microseconds')[:-6]}Z"
