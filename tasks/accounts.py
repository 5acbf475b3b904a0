"""Accounts: who there is, and trials that end when their time is over."""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from typing import NamedTuple

import sqlalchemy as sa
from celery import shared_task

from steadybeat import SteadyTask, cron
from tasks import rehearsal
from tasks.market import accounts, engine, orders, trials

BATCH_COUNT = 1_000
PASS_COUNT = 100


def ids() -> Generator[int]:
    """Yield the id of every account: the tenants of this app.

    They are read through a cursor of the server's, 1,000 at a time, which is closed when the reader stops early, too.
    """
    everybody = sa.select(accounts.c.id)
    with engine().connect() as db, db.execution_options(yield_per=BATCH_COUNT).execute(everybody) as found:
        yield from found.scalars()


class Ended(NamedTuple):
    """How many trials ended, by what they became."""

    converted_count: int
    expired_count: int


@shared_task(
    bind=True,
    schedule=cron("*/10 * * * *", tz="UTC"),
    jitter=timedelta(minutes=1),
    catch_up="latest",
    catch_up_window=timedelta(hours=1),
    overlap="skip",
    soft_time_limit=240,
    time_limit=300,
    memory_limit=256 * 2**20,
    max_retries=3,
    retry_backoff=5,
    retry_backoff_max=60,
    owner="accounts-team",
    severity="warning",
    depends_on=["postgres"],
    audit_args=rehearsal.ended_trials,
)
def end_trials(self: SteadyTask) -> dict[str, int]:
    """End every trial whose time is over: `converted` for who paid an order in that time, else `expired`.

    Safe to run twice: one statement by state and age per 1,000 trials; what one run ended is no trial for the next.
    """
    converted_count = expired_count = 0
    for number in self.iterate(range(PASS_COUNT)):
        batch = self.exactly_once(engine(), step=f"batch:{number}")  # an attempt that has lost its run ends nothing
        with batch as db:
            batch.result = list(end_due(db))
        ended = Ended(*batch.result)
        converted_count += ended.converted_count
        expired_count += ended.expired_count
        if sum(ended) < BATCH_COUNT:
            break
    return {"converted_count": converted_count, "expired_count": expired_count}


def end_due(db: sa.Connection) -> Ended:
    """End the 1,000 trials that are over for longest, in one statement.

    Trials that somebody changes at this moment are locked and left for the next pass.
    """
    due = (
        sa.select(trials.c.account_id)
        .where(trials.c.state == "trial", trials.c.ends_at <= sa.func.now())
        .order_by(trials.c.ends_at)
        .limit(BATCH_COUNT)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    paid = sa.exists().where(
        orders.c.buyer_id == trials.c.account_id,
        orders.c.paid_at >= trials.c.started_at,
        orders.c.paid_at < trials.c.ends_at,
    )
    ended = (
        sa.update(trials)
        .where(trials.c.account_id == due.c.account_id)
        .values(state=sa.case((paid, "converted"), else_="expired"), ended_at=sa.func.now())
        .returning(trials.c.state)
        .cte("ended")
    )
    counts = sa.select(
        sa.func.count().filter(ended.c.state == "converted"), sa.func.count().filter(ended.c.state == "expired")
    ).select_from(ended)
    return Ended(*db.execute(counts).one())
