"""Pooled: whether an attempt works in a process of its own, which can be ended, and what ends it."""

from __future__ import annotations

from steadybeat.audit.by_hand import limit_of
from steadybeat.audit.guard import gap
from steadybeat.audit.subject import Subject
from steadybeat.audit.surroundings import Surroundings
from steadybeat.task.pools import PREFORK

USE_PREFORK = "use worker_pool='prefork'"


def shared(around: Surroundings) -> str:
    """Return which pool it is in which no attempt has a process of its own; empty where each has one.

    Args:
        around: What the audit knows.
    """
    pool = str(around.conf.worker_pool)
    return "" if pool in ("prefork", "processes") or pool.startswith(PREFORK) else f"worker_pool={pool!r}"


def limits(subject: Subject) -> str:
    """Return the time limits of a task, as evidence.

    Args:
        subject: The task.
    """
    hard, soft = limit_of(subject.task), subject.task.soft_time_limit or subject.task.app.conf.task_soft_time_limit
    told = {"time_limit": hard, "soft_time_limit": soft}
    return ", ".join(f"{name}={'None' if value is None else f'{value:g} s'}" for name, value in told.items())


def memory_bounds(subject: Subject, around: Surroundings) -> list[str]:
    """Return what bounds the memory of a process that works on a task, as evidence; empty where nothing does.

    Args:
        subject: The task.
        around: What the audit knows.
    """
    found = []
    own = getattr(subject.task, "memory_limit", None)
    if own and not gap(subject.task):  # it is measured where an attempt ends
        found.append(f"memory_limit={own / 2**20:g} MiB")
    if around.conf.worker_max_memory_per_child:
        found.append(f"worker_max_memory_per_child={around.conf.worker_max_memory_per_child} KiB")
    return found
