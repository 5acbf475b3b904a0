"""Subject: a task as the audit sees it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from steadybeat.audit.source import Source, read
from steadybeat.ledger.rows import ScheduleRow


class Subject:
    """One task, with everything that its code says of it.

    Args:
        task: The Celery task, bound to its app.
        service: The service that owns it.
        schedules: Those that send it, as the code defines them.
        written: What the code wrote of each schedule, by its name: the policies that stand there, and none by default.
    """

    def __init__(
        self, task: Any, service: str, schedules: Sequence[ScheduleRow], written: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self.task = task
        self.service = service
        self.schedules = tuple(schedules)
        self.written = dict(written)

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.task.name)

    @property
    def is_steady(self) -> bool:
        """Whether its runs pass through steadybeat's own claim and outcome, which it does not replace."""
        from steadybeat.task import SteadyTask

        called = next(kind for kind in type(self.task).__mro__ if "__call__" in vars(kind))
        return isinstance(self.task, SteadyTask) and called.__module__.startswith("steadybeat.")

    @property
    def is_recorded(self) -> bool:
        """Whether its runs are rows of the ledger."""
        return self.is_steady and bool(self.task.recorded)

    @functools.cached_property
    def source(self) -> Source:
        """What its code says, and the code that it calls in its own package."""
        return read(self.task)
