"""Record: what the ledger says to one audit, each thing asked once; None where it does not answer."""

from __future__ import annotations

from typing import Any

from steadybeat.audit.surroundings import Surroundings
from steadybeat.audit.timed import queue_of
from steadybeat.beat.definitions import entries
from steadybeat.ledger import Instance, SchemaStatus
from steadybeat.ledger.instances import Consumers
from steadybeat.ledger.monitors import MonitorRow
from steadybeat.ledger.recent import RecentRuns
from steadybeat.ledger.rows import TaskRow

REACH = "point STEADYBEAT_DATABASE_URL to the ledger, `celery -A … ledger status`, and run the audit again"


def away(around: Surroundings) -> str:
    """Return why the ledger says nothing, in a few words."""
    said, _, _ = around.why_no_ledger.partition(": ")
    return said or "the ledger did not answer in time"


def schema(around: Surroundings) -> SchemaStatus | None:
    """Return which migrations the ledger has."""
    return around.ledger("schema", lambda ledger: ledger.status())


def instances(around: Surroundings) -> list[Instance] | None:
    """Return the processes that live."""
    return around.ledger("instances", lambda ledger: ledger.instances.live())


def living(around: Surroundings, role: str) -> list[Instance] | None:
    """Return the processes of a role that live.

    Args:
        around: What the audit knows.
        role: ``worker``, ``beat`` or ``watchdog``.
    """
    found = instances(around)
    return None if found is None else [each for each in found if each.role == role]


def consumers(around: Surroundings, queue: str) -> Consumers | None:
    """Return who takes runs from a queue.

    Args:
        around: What the audit knows.
        queue: Its name.
    """
    return around.ledger(f"consumers of {queue}", lambda ledger: ledger.instances.consumers(queue))


def tasks(around: Surroundings) -> dict[str, TaskRow] | None:
    """Return what the deploy step has written down of tasks, by name."""
    return around.ledger("tasks", lambda ledger: {row.name: row for row in ledger.tasks.all()})


def monitors(around: Surroundings) -> dict[str, MonitorRow]:
    """Return how monitors elsewhere stand, by the name of the schedule; empty where the ledger does not say."""
    return around.ledger("monitors", lambda ledger: {row.name: row for row in ledger.monitors.all()}) or {}


def recent(around: Surroundings) -> dict[str, RecentRuns] | None:
    """Return what the last runs of tasks were like, by task."""
    return around.ledger("recent", lambda ledger: ledger.recent.runs(*_of_app(around.app)))


def _of_app(app: Any) -> tuple[list[str], list[str]]:
    """Return the queues of an app's tasks, and the names of its schedules."""
    queues = {queue_of(app, name) for name in app.tasks if not name.startswith("celery.")}
    return sorted(queues), [name for name, _ in entries(app)]
