"""Describing: what the tasks of an app are, for those who do not have its code."""

from __future__ import annotations

import inspect
import re
from typing import Any

from steadybeat.ledger.rows import TaskRow

_LONGEST = 500


def described(app: Any) -> list[TaskRow]:
    """Return what each task of an app is, but for Celery's own, by name."""
    return [_row(app, task) for name, task in sorted(app.tasks.items()) if not name.startswith("celery.")]


def purpose_of(task: Any) -> str | None:
    """Return the first sentence of a task's docstring, or None where it has none of its own."""
    text = inspect.getdoc(task.run)
    first = " ".join((text or "").partition("\n\n")[0].split())
    return re.split(r"(?<=[.!?]) ", first)[0][:_LONGEST] or None


def _row(app: Any, task: Any) -> TaskRow:
    return TaskRow(
        name=task.name,
        service=app.steadybeat.service(task.name),
        owner=getattr(task, "owner", None),
        severity=getattr(task, "severity", None) or "error",
        purpose=purpose_of(task),
        soft_time_limit_seconds=task.soft_time_limit,
        time_limit_seconds=task.time_limit,
        depends_on=[str(each) for each in getattr(task, "depends_on", ())],
    )
