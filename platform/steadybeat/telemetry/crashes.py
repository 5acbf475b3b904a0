"""Crash reports to Sentry: one for each error that nothing more will be tried about, with the facts of its run.

Reports carry no arguments and no local variables, and pass the same redaction as lines do. A program that has
set up Sentry by itself keeps its own settings; then only the tags are added.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import celery.exceptions

from steadybeat.errors import ConfigurationError
from steadybeat.settings import PREFIX
from steadybeat.telemetry.facts import bound, instance
from steadybeat.telemetry.redaction import redact

TAGS = ("task", "service", "schedule", "run_id", "attempt", "tenant", "correlation_id")
CONTROL_FLOW = (celery.exceptions.Ignore, celery.exceptions.Retry, celery.exceptions.Reject)

# Names under which Sentry's and Celery's own code hands over the arguments of a task.
_ARGUMENTS = frozenset({"args", "kwargs", "argsrepr", "kwargsrepr", "positional_args"})

# What Celery's Beat logs as an error, with a stack, when the broker was away for a moment: it listens again by itself.
_ONLY_DEAF = "beat pidbox connection error"

# A report is some ten levels deep: exception, values, stacktrace, frames, lines.
_LEVELS = 20

_log = logging.getLogger(__name__)


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


def report(error: BaseException, facts: Mapping[str, Any] | None = None) -> None:
    """Report an error with the facts that are bound; the same error is reported once.

    Args:
        error: What was raised.
        facts: Facts of a run that is not bound here; they win over the bound ones.
    """
    if not _State.active or isinstance(error, CONTROL_FLOW):
        return
    import sentry_sdk

    tags = {name: str(facts[name]) for name in TAGS if facts.get(name) is not None} if facts else {}
    with sentry_sdk.new_scope() as scope:
        scope.set_tags(tags)
        scope.capture_exception(error)


def complete(event: Any, hint: Mapping[str, Any]) -> Any:
    """Return a report as it may be sent: tagged with the facts of the run, without secrets and arguments.

    Args:
        event: What Sentry is about to send; `before_send` calls this.
        hint: Where it comes from.

    Returns:
        The report, or None for an exception by which tasks steer Celery.
    """
    tagged = _tagged(event, hint)
    return None if tagged is None else redact(tagged, levels=_LEVELS, hidden=_ARGUMENTS)


def _tagged(event: Any, hint: Mapping[str, Any]) -> Any:
    record = hint.get("log_record")
    if record is not None and str(record.msg).startswith(_ONLY_DEAF):
        return None
    exc_info = hint.get("exc_info")
    if exc_info and isinstance(exc_info[1], CONTROL_FLOW):
        return None
    facts = bound()
    tags = {name: str(facts[name]) for name in TAGS if name in facts}
    event["tags"] = {"instance": instance()} | tags | dict(event.get("tags") or {})
    return event


def _initialise(dsn: str) -> None:
    import sentry_sdk
    from sentry_sdk.integrations.atexit import AtexitIntegration
    from sentry_sdk.integrations.celery import CeleryIntegration
    from sentry_sdk.integrations.logging import ignore_logger

    # An outcome's error is reported by `report`, with its stack and only when nothing more will be tried.
    ignore_logger("steadybeat.run")
    sentry_sdk.init(
        dsn=dsn,
        before_send=complete,
        send_default_pii=False,
        include_local_variables=False,
        auto_enabling_integrations=False,
        integrations=[
            CeleryIntegration(monitor_beat_tasks=False),
            AtexitIntegration(callback=_waits),
        ],
    )


def _waits(pending: int, timeout: float) -> None:
    """Say in a line, not in bare text, that the end of the process waits for reports to leave."""
    _log.info("crash reports pending", extra={"facts": {"pending_count": pending, "timeout_seconds": timeout}})
