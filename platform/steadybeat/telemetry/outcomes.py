"""How an attempt ended, in one line: the status, how long it took, what it did, and what went wrong."""

from __future__ import annotations

import logging
from typing import Any

from steadybeat.telemetry import crashes, heartbeats, traces
from steadybeat.telemetry.logs import FACTS

LOGGER = "steadybeat.run"

EVENTS: dict[str, tuple[str, int]] = {
    "succeeded": ("run succeeded", logging.INFO),
    "retried": ("run retried", logging.WARNING),
    "dead": ("run died", logging.ERROR),
    "failed": ("run failed", logging.ERROR),
    "timed_out": ("run timed out", logging.ERROR),
    "lost": ("run lost", logging.ERROR),
    "rescued": ("run rescued", logging.WARNING),
    "snoozed": ("run snoozed", logging.INFO),
    "interrupted": ("run interrupted", logging.WARNING),
    "waiting": ("run waits", logging.INFO),
    "fanned out": ("run fanned out", logging.INFO),
    "cancelled": ("run cancelled", logging.WARNING),
    "skipped": ("run skipped", logging.INFO),
    "duplicate": ("duplicate ignored", logging.INFO),
    "stale": ("stale attempt refused", logging.WARNING),
}
"""Status → event and level; a status that is not here is logged as ``run <status>`` at INFO."""

REPORTED = frozenset({"dead", "failed"})
"""Statuses that become a crash report, and so does ``state="dead"``. A retry is none: its run may still succeed."""

FAILED = frozenset({"dead", "failed", "timed_out", "lost"})
"""Statuses whose line has an `error` in any case."""

_log = logging.getLogger(LOGGER)


def log_outcome(
    status: str,
    duration_seconds: float | None = None,
    items: int | None = None,
    error: BaseException | str | None = None,
    **facts: Any,
) -> None:
    """Log the end of an attempt, let its span say it, and report its error where nothing more will be tried.

    Args:
        status: What became of it; a key of `EVENTS`.
        duration_seconds: How long the attempt worked, in seconds.
        items: Items processed; on failure, those processed before it.
        error: The error, with its stack if it is an exception.
        **facts: More fields, such as `reason` or `delay_seconds`; or the facts of a run that is not bound here,
            as in the parent process of a worker: `task`, `run_id`, `attempt` …; instants aware.
    """
    event, level = EVENTS.get(status, (f"run {status}", logging.INFO))
    traces.outcome(status, error, facts if items is None else {**facts, "items_count": items})
    if status in REPORTED or facts.get("state") == "dead":
        crashes.report(error or str(facts.get("reason") or event), facts)
    is_dead = facts.get("state") == "dead"
    heartbeats.ended(status, facts, duration_seconds=duration_seconds, items_count=items, error=error, is_dead=is_dead)
    if not _log.isEnabledFor(level):
        return
    fields: dict[str, Any] = {"status": status}
    if duration_seconds is not None:
        fields["duration_seconds"] = round(duration_seconds, 6)
    if items is not None:
        fields["items_count"] = items
    fields.update({name: value for name, value in facts.items() if value is not None})
    exc_info = None
    if isinstance(error, BaseException):
        exc_info = (type(error), error, error.__traceback__)
    elif error is not None:
        fields["error"] = error
    elif status in FAILED and "reason" in facts:
        fields["error"] = facts["reason"]
    _log.log(level, event, exc_info=exc_info, extra={FACTS: fields})
