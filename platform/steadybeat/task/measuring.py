"""Measuring: what is counted of attempts. Where metrics are off, each of these looks at one attribute and returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steadybeat.ledger.rows import Claim
from steadybeat.telemetry import metrics
from steadybeat.telemetry.metrics import table

NO_ATTEMPT = frozenset({"waiting", "duplicate", "skipped"})
"""Statuses under which a delivery ends that was no attempt; they are counted where that is found."""


def begun(app: Any, request: Any, waited_seconds: float) -> None:
    """Count how long the message of an attempt that begins was on its queue.

    Args:
        app: The Celery app.
        request: Celery's request context.
        waited_seconds: As the claim says it.
    """
    if metrics.is_on():
        queue, known = (request.delivery_info or {}).get("routing_key"), app.amqp.queues
        # What a message says of its queue is input, and would be a series of its own.
        label = str(queue) if queue in known else metrics.OTHERS
        metrics.observe(table.QUEUE_WAIT, label, value=max(0.0, waited_seconds))


def ended(app: Any, task: str, status: str, seconds: float | None) -> None:
    """Count an attempt that has ended.

    Args:
        app: The Celery app.
        task: Its name.
        status: What became of it, as the log says it.
        seconds: How long it has worked; None where nobody knows.
    """
    if metrics.is_on() and status not in NO_ATTEMPT:
        metrics.count(table.ATTEMPTS, task, app.steadybeat.service(task), status.replace(" ", "_"))
        if seconds is not None:
            metrics.observe(table.ATTEMPT_SECONDS, task, value=seconds)


def turned_away(task: str, found: Claim, end: Mapping[str, Any] | None) -> None:
    """Count a delivery of which no attempt is made, and what becomes of its fire.

    Args:
        task: Its name.
        found: What the claim says.
        end: How its run ends by that, as `verdicts.ending` says it.
    """
    metrics.count(table.TURNED_AWAY, task, found.verdict)
    if end is not None and "fire_state" in end and found.schedule is not None:
        metrics.count(table.FIRES, found.schedule, end["fire_state"], end["cause"])


def lock_failed(kind: str, failure: str) -> None:
    """Count that something went wrong with a lock.

    Args:
        kind: ``lock`` or ``concurrency``.
        failure: One of the words of `table.LOCK_FAILURES`.
    """
    metrics.count(table.LOCK_FAILURES, kind, failure)
