"""Retrying: whether a task is tried again, and when. Asked in the process that works, and in its parent."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

from celery.exceptions import Ignore

from steadybeat.task.classifying import Decision, Opinions, decide, said


class PastAutoretry(Ignore):
    """Carries an error past Celery's ``autoretry_for``: somebody who is asked before it says what becomes of the run.

    Celery lets an `Ignore` pass there.
    """

    def __init__(self, error: Exception, decision: Decision | None) -> None:
        super().__init__(error)
        self.error = error
        self.decision = decision


def decision_on(
    task: Any, error: Exception, retries: int, *, gave_up: bool = False, found: Decision | None = None
) -> Decision:
    """Return what becomes of a run of `task` whose attempt ended with `error`.

    Args:
        task: The task, bound to its app.
        error: What was raised.
        retries: So far.
        gave_up: Celery's ``retry()`` has said in this attempt that no retry is left.
        found: What was said of it already.
    """
    found = found or said_on(task, error)
    if found is None and gave_up:
        return Decision("dead", "no retry is left")
    if found is None:
        found = decide(error, _opinions(task), datetime.now(UTC))
    spent = no_retry_left(task, retries)
    return Decision("dead", spent) if spent and found.verdict == "retry" else found


def no_retry_left(task: Any, retries: int) -> str:
    """Return why a task that was tried again so often is not tried again, or nothing where it may be."""
    limit = max_retries(task)
    return "" if limit is None or retries < limit else f"no retry is left (max_retries={limit})"


def said_on(task: Any, error: Exception) -> Decision | None:
    """Return what the error itself, the task's classifier or the app's says of it, or None."""
    return said(error, _opinions(task).classifiers)


def _opinions(task: Any) -> Opinions:
    return Opinions(
        classifiers={"task": task.classify, "app": task.app.steadybeat.classify},
        autoretry_for=_classes(task, "autoretry_for"),
        dont_autoretry_for=_classes(task, "dont_autoretry_for"),
    )


def _classes(task: Any, option: str) -> tuple[type[BaseException], ...]:
    return tuple(getattr(task, option, None) or ())


def max_retries(task: Any) -> int | None:
    """Return how often a task may be tried again; None: as long as ``retry_for`` or ``expires`` allow."""
    given = (getattr(task, "retry_kwargs", None) or {}).get("max_retries")
    limit: int | None = task.max_retries if given is None else given
    return limit


def pause_seconds(task: Any, retries: int, decision: Decision | None = None) -> float:
    """Return the pause before the next attempt.

    It is what was said; else ``retry_kwargs`` with a ``countdown``; else it doubles with each retry, less a random
    share of up to half.

    Args:
        task: The task, bound to its app.
        retries: So far.
        decision: What was said.
    """
    if decision is not None and decision.after is not None:
        return decision.after.total_seconds()
    settings = task.app.steadybeat.settings
    backoff = getattr(task, "retry_backoff", None)
    countdown = (getattr(task, "retry_kwargs", None) or {}).get("countdown")
    if not backoff and isinstance(countdown, int | float):
        return float(countdown)
    base = float(backoff or 0) or settings.retry_backoff_seconds
    longest = float(getattr(task, "retry_backoff_max", 0) or settings.retry_backoff_max_seconds)
    pause = min(longest, base * 2.0 ** min(retries, 30))
    return pause * random.uniform(0.5, 1.0) if getattr(task, "retry_jitter", True) else pause  # noqa: S311
