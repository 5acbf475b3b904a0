"""Orders: unpaid ones expire, and their seats go back on sale."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

import sqlalchemy as sa
from celery import shared_task

from steadybeat import SteadyTask, cron
from tasks import rehearsal
from tasks.market import HOLD, engine, orders, sales, tickets
from tasks.snapshots import take

BATCH_COUNT = 1_000

FIGURES = sa.select(
    sa.select(sa.func.count())
    .select_from(orders)
    .where(orders.c.state == "unpaid")
    .scalar_subquery()
    .label("open_order_count"),
    sa.select(sa.func.coalesce(sa.func.sum(sales.c.price_cents), 0))
    .where(sales.c.sold_at > sa.func.now() - timedelta(days=1))
    .scalar_subquery()
    .label("revenue_of_last_day_cents"),
)


class Expired(NamedTuple):
    """How much one pass of `expire_unpaid` changed."""

    order_count: int
    seat_count: int


@shared_task(
    bind=True,
    schedule=cron("* * * * *", tz="UTC"),
    jitter=timedelta(seconds=20),
    catch_up="latest",
    overlap="skip",
    soft_time_limit=45,
    time_limit=55,
    memory_limit=256 * 2**20,
    max_retries=3,
    retry_backoff=2,
    retry_backoff_max=30,
    owner="orders-team",
    severity="warning",
    depends_on=["postgres"],
    audit_args=rehearsal.unpaid_orders,
)
def expire(self: SteadyTask) -> dict[str, int]:
    """Expire orders that stayed unpaid for 48 hours and free their seats, at most 1,000 a minute.

    Safe to run twice: one statement by state and age; what one run expired is not unpaid for the next.
    """
    effect = self.exactly_once(engine())  # an attempt that has lost its run frees no seats
    with effect as db:
        effect.result = expire_unpaid(db)._asdict()
    return effect.result


def expire_unpaid(db: sa.Connection) -> Expired:
    """Expire the oldest unpaid orders past their hold and free their seats, in one statement.

    Orders that a buyer is paying at this moment are locked and left for the next pass.
    """
    due = (
        sa.select(orders.c.id)
        .where(orders.c.state == "unpaid", orders.c.placed_at < sa.func.now() - HOLD)
        .order_by(orders.c.placed_at)
        .limit(BATCH_COUNT)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    expired = (
        sa.update(orders)
        .where(orders.c.id == due.c.id)
        .values(state="expired", expired_at=sa.func.now())
        .returning(orders.c.id)
        .cte("expired")
    )
    freed = (
        sa.update(tickets)
        .where(tickets.c.order_id == expired.c.id)
        .values(order_id=None)
        .returning(tickets.c.id)
        .cte("freed")
    )
    counts = sa.select(
        sa.select(sa.func.count()).select_from(expired).scalar_subquery(),
        sa.select(sa.func.count()).select_from(freed).scalar_subquery(),
    )
    order_count, seat_count = db.execute(counts).one()
    return Expired(order_count, seat_count)


@shared_task(
    bind=True,
    soft_time_limit=20,
    time_limit=30,
    memory_limit=256 * 2**20,
    max_retries=5,
    retry_backoff=1,
    retry_backoff_max=10,
    owner="orders-team",
    severity="info",
    depends_on=["postgres"],
    audit_args=("rehearsal",),
)
def snapshot(self: SteadyTask, name: str, work_seconds: float = 0.0) -> dict[str, int]:
    """Write down how many orders are open and what the last day earned.

    Safe to run twice: the row and the processed key commit together.

    Args:
        self: This run.
        name: What the row is called; the schedule's name.
        work_seconds: How long to wait between reading the figures and writing them.
    """
    return take(self, "orders", name, FIGURES, work_seconds)
