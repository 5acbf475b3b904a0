"""Timed: a schedule of a task as its checks want it: its rule, its policies, and which of them its code states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steadybeat.audit.subject import Subject
from steadybeat.schedule import Rule, from_json
from steadybeat.schedule.policies import Policies, policies_from_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One schedule.

    Attributes:
        name: Its name.
        spec: Its rule as JSON.
        policies: What becomes of its fires, defaults included.
        written: What its code says of it; None is what it does not say.
    """

    name: str
    spec: Mapping[str, Any]
    policies: Policies
    written: Mapping[str, Any]

    @property
    def rule(self) -> Rule:
        """When it is due."""
        return from_json(dict(self.spec))

    def states(self, policy: str) -> bool:
        """Return whether its code states a policy, which then is no default."""
        return self.written.get(policy) is not None


def timed(subject: Subject) -> list[Timed]:
    """Return the schedules of a task."""
    return [
        Timed(
            name=row.name,
            spec=row.spec,
            policies=policies_from_json(row.policies),
            written=subject.written.get(row.name, {}),
        )
        for row in subject.schedules
    ]


def queue_of(app: Any, task: str) -> str:
    """Return the queue that runs of a task are sent to.

    Args:
        app: The Celery app.
        task: Its name.
    """
    queue = app.amqp.router.route({}, task).get("queue") or app.steadybeat.service(task)
    return str(getattr(queue, "name", queue))
