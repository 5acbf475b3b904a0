"""Billing: each month, one invoice for every account that bought something, and none twice.

A fan-out: one run per account. What one account lacks, such as a tax rate of its country, is a dead letter of that
account alone; the others get their invoices, and whoever has put it right asks for `dead requeue`, or for
`runs rerun <run> --only failed`. Who is not to be billed is no matter of this code: the policy `monthly-invoices` says
so.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from celery import shared_task
from sqlalchemy.dialects.postgresql import insert

from steadybeat import Permanent, SteadyTask, cron, eligible
from tasks import rehearsal
from tasks.books import billed_months, invoices, tax_rates
from tasks.clearing import clear
from tasks.market import accounts, engine, orders

POLICY = "monthly-invoices"
UNFINISHED = timedelta(days=90)

# In words, not as a value: Postgres must see, also in a plan that is good for any value, that the index is meant.
ISSUED = invoices.c.state == sa.literal_column("'issued'")


@shared_task(
    bind=True,
    schedule=cron("0 5 1 * *", tz="UTC"),
    jitter=timedelta(minutes=10),
    catch_up="latest",
    catch_up_window=timedelta(days=7),
    overlap="skip",
    soft_time_limit=540,
    time_limit=600,
    memory_limit=256 * 2**20,
    max_retries=5,
    retry_backoff=30,
    retry_backoff_max=600,
    owner="finance-team",
    severity="critical",
    depends_on=["postgres", "redis"],
    audit_args=rehearsal.month_to_bill,
)
def bill_month(self: SteadyTask, month: str | None = None) -> Any:
    """Bill every account for the month before: one run per account, 20 at a time over all workers.

    Safe to run twice: it bills nobody itself; an account is billed once for a month, whoever asks how often.

    Args:
        self: This run.
        month: Another month, such as `2026-01`.

    Raises:
        Permanent: This is no month, or it is not over.
    """
    now = self.scheduled_for or datetime.now(UTC)
    month = month or month_before(now)
    if bounds_of(month)[1] > now:
        raise Permanent(f"month={month!r}: is not over")
    return self.fan_out(
        issue_invoice,
        tenants=eligible(POLICY),
        concurrency=20,
        abort_when=0.05,  # so many accounts that lack something lack the same: look before the rest is billed
        on_complete=close_month.s(month=month),
        kwargs={"month": month},
    )


@shared_task(
    bind=True,
    key_template="{account_id}:{month}",
    soft_time_limit=50,
    time_limit=60,
    memory_limit=256 * 2**20,
    max_retries=8,
    retry_backoff=5,
    retry_backoff_max=600,
    owner="finance-team",
    severity="error",
    depends_on=["postgres"],
    audit_args=rehearsal.buyer_of_month,
)
def issue_invoice(self: SteadyTask, account_id: int, month: str) -> dict[str, str]:
    """Send one account its invoice for a month, where it bought something.

    Safe to run twice: one valid invoice per account and month, unique in the database; it commits together with the
    processed key.

    Args:
        self: This run.
        account_id: Who is billed.
        month: Such as `2026-01`.

    Raises:
        Permanent: There is no such account or month, or its country has no tax rate.
    """
    with self.exactly_once() as db:
        return {"state": issue(db, account_id, month)}


def issue(db: sa.Connection, account_id: int, month: str) -> str:
    """Issue the invoice of an account for a month, inside the caller's transaction.

    Returns:
        `issued`; `issued before`; or `nothing bought`, where there is nothing to bill.

    Raises:
        Permanent: There is no such account or month, or its country has no tax rate.
    """
    begin, end = bounds_of(month)
    account = db.execute(
        sa.select(accounts.c.country, tax_rates.c.rate)
        .join_from(accounts, tax_rates, tax_rates.c.country == accounts.c.country, isouter=True)
        .where(accounts.c.id == account_id)
    ).one_or_none()
    if account is None:
        raise Permanent(f"account {account_id}: there is no such account")
    if account.rate is None:
        raise Permanent(f"account {account_id}: its country {account.country} has no tax rate")
    count, net = sa.func.count(), sa.cast(sa.func.sum(orders.c.amount_cents), sa.BigInteger)
    tax = sa.cast(sa.func.round(net * account.rate), sa.BigInteger)
    now = sa.func.now()
    bought = (
        sa.select(sa.literal(account_id), sa.literal(month), sa.literal("issued"), count, net, tax, now, now)
        .where(orders.c.buyer_id == account_id, orders.c.paid_at >= begin, orders.c.paid_at < end)
        .having(count > 0)
    )
    columns = ["account_id", "month", "state", "order_count", "net_cents", "tax_cents", "made_at", "issued_at"]
    issued = db.scalar(
        insert(invoices)
        .from_select(columns, bought)
        .on_conflict_do_nothing(index_elements=["account_id", "month"], index_where=ISSUED)
        .returning(invoices.c.id)
    )
    if issued is not None:
        return "issued"
    before = sa.select(invoices.c.id).where(invoices.c.account_id == account_id, invoices.c.month == month, ISSUED)
    return "nothing bought" if db.scalar(before) is None else "issued before"


@shared_task(
    bind=True,
    soft_time_limit=50,
    time_limit=60,
    memory_limit=256 * 2**20,
    max_retries=8,
    retry_backoff=5,
    retry_backoff_max=600,
    owner="finance-team",
    severity="error",
    depends_on=["postgres"],
    audit_args=rehearsal.month_to_close,
)
def close_month(self: SteadyTask, counts: Mapping[str, Any], month: str) -> dict[str, Any]:
    """Write down what became of a month once every account is done.

    Safe to run twice: an upsert by month.

    Args:
        self: This run.
        counts: What the fan-out says of its tenants.
        month: Such as `2026-01`.
    """
    with self.exactly_once() as db:
        return close(db, counts, month)


def close(db: sa.Connection, counts: Mapping[str, Any], month: str) -> dict[str, Any]:
    """Write down what became of a month, inside the caller's transaction; return the row."""
    gross = sa.func.coalesce(sa.func.sum(invoices.c.net_cents + invoices.c.tax_cents), 0)
    found = db.execute(sa.select(sa.func.count(), gross).where(invoices.c.month == month, ISSUED)).one()
    row = {
        "state": counts["state"],
        "billed_count": counts["succeeded"],
        "failed_count": counts["failed"],
        "skipped_count": counts["skipped"],
        "invoice_count": found[0],
        "gross_cents": int(found[1]),
    }
    told = insert(billed_months).values(month=month, closed_at=sa.func.now(), **row)
    told = told.on_conflict_do_update(index_elements=["month"], set_={**row, "closed_at": sa.func.now()})
    db.execute(told)
    return {"month": month, **row}


@shared_task(
    bind=True,
    schedule=cron("20 4 * * *", tz="UTC"),
    jitter=timedelta(minutes=5),
    catch_up="latest",
    catch_up_window=timedelta(hours=12),
    overlap="skip",
    soft_time_limit=540,
    time_limit=600,
    memory_limit=256 * 2**20,
    max_retries=3,
    retry_backoff=10,
    retry_backoff_max=300,
    owner="finance-team",
    severity="warning",
    depends_on=["postgres"],
    audit_args=rehearsal.unfinished_invoices,
)
def remove_unfinished(self: SteadyTask) -> dict[str, int]:
    """Delete drafts that nobody finished and invoices that were voided, both 90 days ago.

    1,000 in a transaction, at most 100,000 in a run. Safe to run twice: batched deletes by state and age; a run that
    was killed goes on behind the last batch on record. No valid invoice is ever deleted: a draft that is issued
    meanwhile stays.
    """
    before = (self.scheduled_for or datetime.now(UTC)) - UNFINISHED
    last = sa.case((invoices.c.state == "draft", invoices.c.made_at), else_=invoices.c.voided_at)
    return clear(self, engine(), invoices, sa.and_(~ISSUED, last < before))


def month_before(instant: datetime) -> str:
    """Return the month in UTC before that of an instant: `2026-01`."""
    first = instant.astimezone(UTC).replace(day=1)
    return f"{first - timedelta(days=1):%Y-%m}"


def bounds_of(month: str) -> tuple[datetime, datetime]:
    """Return the first instant, in UTC, of a month such as `2026-01`, and that of the next one.

    Raises:
        Permanent: This is no month.
    """
    with suppress(ValueError, OverflowError):
        begin = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
        if f"{begin:%Y-%m}" == month:
            return begin, (begin + timedelta(days=31)).replace(day=1)
    raise Permanent(f"month={month!r}: is no month; write it like 2026-01")
