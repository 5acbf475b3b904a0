"""Snapshots: business figures at one fire, written down as one row. `make demo` counts these rows."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from steadybeat import SteadyTask
from tasks.market import engine, snapshots


class Effect(NamedTuple):
    """What the marketplace shows of one fire: how many rows it has, and when the first was written (UTC)."""

    name: str
    scheduled_for: datetime
    row_count: int
    first_taken_at: datetime


def take(
    task: SteadyTask, service: str, name: str, figures: sa.Select[*tuple[Any, ...]], work_seconds: float
) -> dict[str, int]:
    """Read figures from the marketplace and write them as one row of `market.snapshots`.

    Args:
        task: The task being run; its run and fire are written down with the figures.
        service: Whose figures these are.
        name: What the row is called; the schedule's name.
        figures: A statement giving one row; its column labels are the figures' names.
        work_seconds: How long to wait between reading and writing, in no transaction.

    Returns:
        The figures.
    """
    with engine().connect() as db:
        values = dict(db.execute(figures).one()._mapping)
    if work_seconds > 0:
        time.sleep(work_seconds)
    with task.exactly_once() as db:
        db.execute(
            sa.insert(snapshots).values(
                name=name,
                service=service,
                scheduled_for=task.scheduled_for,
                figures=values,
                run_id=task.request.id,
            )
        )
    return values


def effects(db_engine: sa.Engine) -> list[Effect]:
    """Return every fire that left a snapshot, by name and time; a row count above one is a doubled fire."""
    fires = (
        sa.select(
            snapshots.c.name,
            snapshots.c.scheduled_for,
            sa.func.count(),
            sa.func.min(snapshots.c.taken_at),
        )
        .where(snapshots.c.scheduled_for.is_not(None))
        .group_by(snapshots.c.name, snapshots.c.scheduled_for)
        .order_by(snapshots.c.name, snapshots.c.scheduled_for)
    )
    with db_engine.connect() as db:
        return [Effect(*row) for row in db.execute(fires)]
