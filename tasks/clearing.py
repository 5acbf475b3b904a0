"""Clearing: rows that have served their time are deleted, 1,000 in a transaction, and none is looked at twice."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import sqlalchemy as sa

from steadybeat import SteadyTask

BATCH_COUNT = 1_000
PASS_COUNT = 100


def clear(task: SteadyTask, db_engine: sa.Engine, table: sa.Table, old: sa.ColumnElement[bool]) -> dict[str, int]:
    """Delete the rows of a table that are old, in the order of their ids, at most 100,000 in an attempt.

    After each batch the ledger knows its last id. A run that is stopped or killed goes on behind it, and whoever is
    asked to stop does so between two batches.

    Args:
        task: The task being run.
        db_engine: The marketplace's database.
        table: Has an `id` that rises.
        old: Which of its rows are to go. Of a batch, only those do of which it still holds.

    Returns:
        How many were deleted, by all attempts of the run; a batch whose attempt was killed before it could tell the
        ledger is not counted.
    """
    reached = {"id": 0, "deleted_count": 0} | (task.checkpoint or {})
    batches = islice(_batches(db_engine, table, old, reached["id"]), PASS_COUNT)
    for ids in task.iterate(batches, checkpoint=lambda ids: dict(reached), every=1):
        batch = task.exactly_once(db_engine, step=f"to:{ids[-1]}")  # an attempt that has lost its run deletes nothing
        with batch as db:
            batch.result = db.execute(sa.delete(table).where(table.c.id.in_(ids), old)).rowcount
        reached.update(id=ids[-1], deleted_count=reached["deleted_count"] + batch.result)
    return {"deleted_count": reached["deleted_count"]}


def _batches(db_engine: sa.Engine, table: sa.Table, old: sa.ColumnElement[bool], after_id: int) -> Iterator[list[int]]:
    """Yield the ids of rows that are old, 1,000 at a time, each list read in a transaction of its own."""
    while True:
        batch = sa.select(table.c.id).where(old, table.c.id > after_id).order_by(table.c.id).limit(BATCH_COUNT)
        with db_engine.connect() as db:
            ids = list(db.scalars(batch))
        if not ids:
            return
        yield ids
        after_id = ids[-1]
