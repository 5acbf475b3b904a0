"""Pools: where the attempts of a worker run, and what does not work there."""

from __future__ import annotations

from typing import Any

from celery.utils.log import get_logger

from steadybeat.errors import ConfigurationError

logger = get_logger(__name__)

PREFORK, THREADS, SOLO = "celery.concurrency.prefork", "celery.concurrency.thread", "celery.concurrency.solo"


def has_processes(pool: Any) -> bool:
    """Return whether a pool runs each attempt in a process that can be ended."""
    return bool(pool.__module__ == PREFORK)


def check(worker: Any) -> None:
    """Refuse a pool in which the promise is not kept, and say what does not work in the one that was chosen.

    Args:
        worker: Celery's worker.

    Raises:
        ConfigurationError: Names the pool, the reason and the way out.
    """
    pool = worker.pool_cls.__module__
    name = pool.rpartition(".")[2]
    if pool not in (PREFORK, THREADS, SOLO):
        raise ConfigurationError(
            f"--pool {name}: is not proven. Its greenlets share one thread, so that one which computes keeps the"
            " signs of life of all others from going on. Use prefork, threads or solo.",
            pool=name,
        )
    if pool == PREFORK and worker.pool_start_method != "fork":
        raise ConfigurationError(
            f"worker_pool_start_method={worker.pool_start_method!r}: must be 'fork'; a process that is not forked from"
            " its worker does not share its lease.",
            pool=name,
        )
    if pool != PREFORK:
        logger.warning("no time limit, memory limit or termination works in this pool", extra={"pool": name})
