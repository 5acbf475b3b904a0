"""Royalties: every sale owes its artist a share of the price, paid once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from celery import shared_task
from sqlalchemy.dialects.postgresql import insert

from steadybeat import Permanent, SteadyTask, cron
from tasks import rehearsal
from tasks.market import engine, payments, royalties, sales
from tasks.snapshots import take

BATCH_COUNT = 500
SETTLE_COUNT = 20_000

FIGURES = (
    sa.select(
        sa.func.count().label("unpaid_royalty_count"),
        sa.func.coalesce(sa.func.sum(sa.cast(sales.c.price_cents * royalties.c.share, sa.Integer)), 0).label(
            "unpaid_royalty_cents"
        ),
    )
    .join_from(sales, royalties, royalties.c.artist_id == sales.c.artist_id)
    .where(sales.c.settled_at.is_(None))
)


@shared_task(
    bind=True,
    schedule=cron("0 6 * * *", tz="UTC"),
    jitter=timedelta(minutes=1),
    catch_up="all",
    catch_up_window=timedelta(days=1),
    overlap="skip",
    late_after=timedelta(minutes=15),
    soft_time_limit=540,
    time_limit=600,
    memory_limit=256 * 2**20,
    max_retries=5,
    retry_backoff=10,
    retry_backoff_max=300,
    owner="payments-team",
    severity="critical",
    depends_on=["postgres", "redis"],
    audit_args=rehearsal.unsettled_sales,
)
def settle(self: SteadyTask) -> dict[str, int]:
    """Order the payment of every royalty due for sales up to this fire, oldest first, at most 20,000.

    Safe to run twice: it pays nothing itself; each sale has one payment run, known by the key `sale:<id>`.
    """
    enqueued_count = 0
    for sale_ids in self.iterate(unsettled(engine(), self.scheduled_for or datetime.now(UTC))):
        for sale_id in sale_ids:
            pay_royalty.apply_async((sale_id,))
        enqueued_count += len(sale_ids)
    return {"enqueued_count": enqueued_count}


def unsettled(db_engine: sa.Engine, sold_before: datetime) -> Iterator[list[int]]:
    """Yield the ids of sales that owe a royalty, oldest first, in lists of at most 500 and 20,000 in all.

    Each list is read in a transaction of its own, which is over before the list is worked on.

    Args:
        db_engine: The marketplace's database.
        sold_before: Sales from this instant on are left for the next day.
    """
    last_id = 0
    for _ in range(SETTLE_COUNT // BATCH_COUNT):
        batch = (
            sa.select(sales.c.id)
            .where(sales.c.settled_at.is_(None), sales.c.sold_at < sold_before, sales.c.id > last_id)
            .order_by(sales.c.id)
            .limit(BATCH_COUNT)
        )
        with db_engine.connect() as db:
            sale_ids = list(db.scalars(batch))
        if not sale_ids:
            return
        yield sale_ids
        last_id = sale_ids[-1]


@shared_task(
    bind=True,
    key_template="sale:{sale_id}",
    soft_time_limit=30,
    time_limit=40,
    memory_limit=256 * 2**20,
    max_retries=8,
    retry_backoff=2,
    retry_backoff_max=600,
    owner="payments-team",
    severity="critical",
    depends_on=["postgres"],
    audit_args=rehearsal.unsettled_sale,
)
def pay_royalty(self: SteadyTask, sale_id: int) -> dict[str, int | None]:
    """Pay the artist's share of one sale.

    Safe to run twice: one payment per sale id; payment and processed key commit together.

    Args:
        self: This run.
        sale_id: The sale; also this run's idempotency key.

    Raises:
        Permanent: There is no such sale, or no terms with its artist.
    """
    with self.exactly_once() as db:
        return {"sale_id": sale_id, "paid_cents": pay(db, sale_id)}


def pay(db: sa.Connection, sale_id: int) -> int | None:
    """Pay the royalty of a sale inside the caller's transaction.

    Returns:
        The amount in cents, or None where the sale's royalty had been paid before.

    Raises:
        Permanent: There is no such sale, or no terms with its artist.
    """
    owed = (
        sa.select(
            sales.c.id,
            sales.c.artist_id,
            sa.cast(sa.func.round(sales.c.price_cents * royalties.c.share), sa.Integer),
            sa.func.now(),
        )
        .join_from(sales, royalties, royalties.c.artist_id == sales.c.artist_id)
        .where(sales.c.id == sale_id)
    )
    amount_cents = db.scalar(
        insert(payments)
        .from_select(["sale_id", "artist_id", "amount_cents", "paid_at"], owed)
        .on_conflict_do_nothing(index_elements=["sale_id"])
        .returning(payments.c.amount_cents)
    )
    if amount_cents is None and db.scalar(sa.select(owed.exists())) is False:
        raise Permanent(f"sale {sale_id}: there is no such sale, or no royalty terms with its artist")
    db.execute(
        sa.update(sales).where(sales.c.id == sale_id, sales.c.settled_at.is_(None)).values(settled_at=sa.func.now())
    )
    return amount_cents


@shared_task(
    bind=True,
    soft_time_limit=20,
    time_limit=30,
    memory_limit=256 * 2**20,
    max_retries=5,
    retry_backoff=1,
    retry_backoff_max=10,
    owner="payments-team",
    severity="info",
    depends_on=["postgres"],
    audit_args=("rehearsal",),
)
def snapshot(self: SteadyTask, name: str, work_seconds: float = 0.0) -> dict[str, int]:
    """Write down how many royalties are unpaid, and their sum.

    Safe to run twice: the row and the processed key commit together.

    Args:
        self: This run.
        name: What the row is called; the schedule's name.
        work_seconds: How long to wait between reading the figures and writing them.
    """
    return take(self, "royalties", name, FIGURES, work_seconds)
