"""Crash reports to Sentry: one for each run that nothing more will be tried about, with the facts of that run.

Runs that end for the same cause make one issue: the same task, the same kind of error, raised at the same place of the
application's own code; neither its message, which may hold ids, nor the number of the attempt tells them apart.

Reports carry no arguments and no local variables, and pass the same redaction as lines do. A program that has
set up Sentry by itself keeps its own settings; then the tags and the grouping are added, and what its own integration
with Celery says of a run that steadybeat reports by itself is left out.
"""

from __future__ import annotations

import logging
import re
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import celery.exceptions
from celery._state import get_current_task

from steadybeat.errors import ConfigurationError
from steadybeat.settings import PREFIX
from steadybeat.telemetry.facts import bound, instance, run_facts
from steadybeat.telemetry.redaction import redact

TAGS = ("task", "service", "schedule", "run_id", "attempt", "tenant", "correlation_id", "trace_id")
CONTROL_FLOW = (celery.exceptions.Ignore, celery.exceptions.Retry, celery.exceptions.Reject)

# Names under which Sentry's and Celery's own code hands over the arguments of a task.
_ARGUMENTS = frozenset({"args", "kwargs", "argsrepr", "kwargsrepr", "positional_args"})

_NO_CRASH = (
    # Celery's Beat, with a stack, when the broker was away for a moment: it listens again by itself.
    "beat pidbox connection error",
    # A pool's process is gone. What becomes of its run is told by `report`; this names a pid, and comes at each retry.
    "Process %r pid:%r exited with",
    # What people are told of in another way.
    "alert opened",
    "alert reopened",
)

# Where Celery tells in its own words of what `report` is called for.
_TOLD_TWICE = frozenset({"celery.worker.request", "celery.worker.job", "celery.app.trace"})

_OUTCOMES = "steadybeat.run"
_TRACING = "celery.app.trace"

_FLUSH_SECONDS = 2.0

# A report is some ten levels deep: exception, values, stacktrace, frames, lines.
_LEVELS = 20

_NUMBERS = re.compile(r"[0-9a-fA-F-]{8,}|\d+")
_OTHERS = ("steadybeat.", "celery.", "kombu.", "billiard.", "sentry_sdk.")
_LIBRARY = sysconfig.get_paths()["stdlib"]

_log = logging.getLogger(__name__)

_told: ContextVar[bool] = ContextVar("steadybeat_told", default=False)


class _State:
    """Whether this process reports; its children inherit that."""

    active = False


def start(dsn: str) -> None:
    """Set up Sentry in this process and its children, once; do nothing while `dsn` is empty.

    Release and environment come from Sentry's own ``SENTRY_RELEASE`` and ``SENTRY_ENVIRONMENT``.

    Args:
        dsn: Where reports go.

    Raises:
        ConfigurationError: `dsn` is none.
    """
    if not dsn or _State.active:
        return
    import sentry_sdk
    from sentry_sdk.utils import BadDsn, Dsn

    try:
        Dsn(dsn)
    except (BadDsn, ValueError) as exc:
        name = f"{PREFIX}sentry_dsn"
        raise ConfigurationError(
            f"{name}={redact(dsn)!r}: {exc}; must look like 'https://key@host/1', or be empty.", name=name
        ) from None
    try:
        if sentry_sdk.get_client().is_active():
            sentry_sdk.get_global_scope().add_event_processor(_tagged)
        else:
            _initialise(dsn)
    except Exception:  # noqa: BLE001 - no crash reports is better than no work
        _log.warning("crash reports are off", exc_info=True)
        return
    _State.active = True


def report(error: BaseException | str, facts: Mapping[str, Any] | None = None) -> None:
    """Report what ended a run, with the facts that are bound; the same error is reported once.

    Args:
        error: What was raised; or why the run has ended, where nothing was.
        facts: Facts of a run that is not bound here; they win over the bound ones.
    """
    if not _State.active or isinstance(error, CONTROL_FLOW):
        return
    import sentry_sdk

    known = {**bound(), **(facts or {})}
    with sentry_sdk.new_scope() as scope:
        scope.set_tags({name: str(known[name]) for name in TAGS if known.get(name) is not None})
        if isinstance(error, BaseException):
            scope.capture_exception(error)
            return
        scope.fingerprint = ["steadybeat", str(known.get("task")), _NUMBERS.sub("#", error)[:200]]
        scope.capture_message(f"{known.get('task')}: {error}", level="error")


@contextmanager
def told(facts: Mapping[str, Any]) -> Iterator[None]:
    """Report nothing of what Celery logs in the block about a run: that is done where it is to be.

    Args:
        facts: Of the run, for those lines.
    """
    token = _told.set(True)
    try:
        with run_facts(**facts):
            yield
    finally:
        _told.reset(token)


def complete(event: Any, hint: Mapping[str, Any]) -> Any:
    """Return a report as it may be sent: tagged with the facts of the run, without secrets and arguments.

    Args:
        event: What Sentry is about to send; `before_send` calls this.
        hint: Where it comes from.

    Returns:
        The report, or None for what is none: see `_is_none`.
    """
    tagged = _tagged(event, hint)
    return None if tagged is None else redact(tagged, levels=_LEVELS, hidden=_ARGUMENTS)


def _tagged(event: Any, hint: Mapping[str, Any]) -> Any:
    if _is_none(event, hint):
        return None
    facts = bound()
    tags = {name: str(facts[name]) for name in TAGS if name in facts}
    event["tags"] = {"instance": instance()} | tags | dict(event.get("tags") or {})
    task = event["tags"].get("task")
    if task is not None and hint.get("exc_info") is not None:
        event["fingerprint"] = ["steadybeat", task, *_cause(event)]
    return event


def _is_none(event: Any, hint: Mapping[str, Any]) -> bool:
    """Whether this is no crash, or one that `report` is called for: by which tasks steer Celery, or told twice."""
    record, exc_info = hint.get("log_record"), hint.get("exc_info")
    if record is not None and (str(record.msg).startswith(_NO_CRASH) or record.name == _OUTCOMES):
        return True
    if record is not None and _told.get() and record.name in _TOLD_TWICE:
        return True
    if exc_info and isinstance(exc_info[1], CONTROL_FLOW):
        return True
    values = (event.get("exception") or {}).get("values") or [{}]
    by_celery = ((values[-1] or {}).get("mechanism") or {}).get("type") == "celery"
    by_celery = by_celery or (record is not None and record.name == _TRACING)
    return by_celery and _is_reported(get_current_task())


def _is_reported(task: Any) -> bool:
    """Whether the errors of a task that is running are told by `report`, once nothing more will be tried."""
    return bool(getattr(task, "recorded", False)) and not (task.request.called_directly or task.request.is_eager)


def _cause(event: Any) -> list[str]:
    """Return what tells the cause of an error from others: its kind, and the innermost place in the application."""
    values = (event.get("exception") or {}).get("values") or []
    if not values:
        return []
    frames = (values[-1].get("stacktrace") or {}).get("frames") or []
    places = [f"{frame.get('module')}:{frame.get('function')}" for frame in frames if _is_own(frame)]
    return [str(values[-1].get("type")), *places[-1:]]


def _is_own(frame: Mapping[str, Any]) -> bool:
    """Whether a frame is the application's: neither of a library, nor of what runs tasks."""
    module, path = f"{frame.get('module')}.", str(frame.get("abs_path") or frame.get("filename"))
    return not (module.startswith(_OTHERS) or "-packages/" in path or path.startswith(_LIBRARY))


def _initialise(dsn: str) -> None:
    import sentry_sdk
    from sentry_sdk.integrations.atexit import AtexitIntegration
    from sentry_sdk.integrations.logging import ignore_logger

    # An outcome's error is reported by `report`, with its stack and only when nothing more will be tried.
    ignore_logger(_OUTCOMES)
    sentry_sdk.init(
        dsn=dsn,
        before_send=complete,
        send_default_pii=False,
        include_local_variables=False,
        auto_enabling_integrations=False,
        # Not Sentry's own for Celery: it takes a quarter as long again as all else of a short run, to see what is seen
        # here anyway.
        integrations=[AtexitIntegration(callback=_waits)],
    )


def flush() -> None:
    """Wait a moment for reports to leave this process, which ends where no exit handler sees it."""
    if _State.active:
        import sentry_sdk

        sentry_sdk.flush(_FLUSH_SECONDS)


def _waits(pending: int, timeout: float) -> None:
    """Say in a line, not in bare text, that the end of the process waits for reports to leave."""
    _log.info("crash reports pending", extra={"facts": {"pending_count": pending, "timeout_seconds": timeout}})
