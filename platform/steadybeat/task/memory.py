"""Memory: how much an attempt took at its peak, and what becomes of a process that took too much.

The peak is the highest resident set of the process since the attempt began. Linux forgets an earlier peak when
``5`` is written to ``/proc/self/clear_refs`` (proc(5)). Where that cannot be done, and in a pool of threads, it is
the highest since the process began.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
from contextlib import suppress
from typing import Any

_UNIT = 1 if sys.platform == "darwin" else 1024
_ENOUGH_KB = 1 << 40

_clear_refs: dict[int, int] = {}
"""The open file by the id of its process: a child must not write to its parent's."""

_exceeded = False


def begin() -> None:
    """Forget the peak of what this process did before."""
    if threading.current_thread() is not threading.main_thread():
        return
    pid = os.getpid()
    with suppress(OSError):
        if pid not in _clear_refs:
            _clear_refs.clear()
            _clear_refs[pid] = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
        os.write(_clear_refs[pid], b"5")


def peak_bytes() -> int:
    """Return the highest resident set of this process since `begin`, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT


def replace_process() -> None:
    """Have this pool process replaced by a new one when its attempt has ended."""
    global _exceeded  # noqa: PLW0603 - it is true of the process
    _exceeded = True


def watch(worker: Any) -> None:
    """Have Celery's ``worker_max_memory_per_child`` also end a child that took more than its task may.

    Celery compares one number with what a child uses after each attempt. A child whose attempt took more than its
    task may take says that it uses more than any number.

    Args:
        worker: Celery's worker, before its pool is made.
    """
    from billiard import pool

    if not any(getattr(task, "memory_limit", None) for task in worker.app.tasks.values()):
        return
    worker.max_memory_per_child = worker.max_memory_per_child or _ENOUGH_KB
    used_kb = pool.mem_rss
    if not getattr(used_kb, "steadybeat", False):

        def reported() -> int:
            return 2 * _ENOUGH_KB if _exceeded else int(used_kb())

        reported.steadybeat = True  # type: ignore[attr-defined]
        pool.mem_rss = reported
