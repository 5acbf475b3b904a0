"""Inside: what a worker of a scratch place brings along, as ``celery worker --include`` loads it.

A task can be killed before and after a transaction of its own commits. What SQLAlchemy sees of any engine of the
process counts; of the ledger's, only effects. And a worker looks five times a second whether one of its
processes has died, not each five seconds: the kernel tells it so a moment before it can be seen.
"""

from __future__ import annotations

from typing import Any

from celery import current_task
from celery.concurrency.asynpool import AsynPool
from sqlalchemy import Connection, Engine, event
from sqlalchemy.pool import Pool

from steadybeat.task.transactions import is_within_effect

_LOOK_SECONDS = 0.2
_COMMITTED = "steadybeat_committed"

AsynPool.timers = property(lambda pool: {pool.maintain_pool: _LOOK_SECONDS})


def _reach(point: str) -> None:
    if current_task:
        current_task.app.steadybeat.reach(point, current_task.name)


def _pool_of_ledger() -> Pool:
    pool: Pool = current_task.app.steadybeat.ledger.database.engine.pool
    return pool


@event.listens_for(Engine, "commit")
def _before_commit(connection: Connection) -> None:
    """Come by the point before a commit, and remember that it will have been one."""
    if current_task and (is_within_effect() or connection.engine.pool is not _pool_of_ledger()):
        _reach("before_commit")
        connection.info[_COMMITTED] = True


@event.listens_for(Engine, "begin")
def _begun_again(connection: Connection) -> None:
    """Come by the point after a commit, where the same connection is used again."""
    if connection.info.pop(_COMMITTED, False):
        _reach("after_commit")


@event.listens_for(Pool, "checkin")
def _given_back(_: Any, record: Any) -> None:
    """Come by the point after a commit, where the connection is given back."""
    if record is not None and record.info.pop(_COMMITTED, False):
        _reach("after_commit")
