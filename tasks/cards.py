"""Cards: a card payment that failed is tried again later, a few times, and charged once.

Each try is a run of its own with a key of its own, `card-payment:<id>:<number of the try>`, which is also the
provider's idempotency key: every attempt of that run is the same charge, whatever became of the attempts before it. A
card that is declined is an answer, not an error; the next try, days later, asks anew under the next key.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import sqlalchemy as sa
from celery import shared_task

from steadybeat import Permanent, SteadyTask, cron
from tasks import gateway, rehearsal
from tasks.market import card_payments, engine

BATCH_COUNT = 500
TRY_COUNT = 5_000
PAUSES = (timedelta(days=1), timedelta(days=3), timedelta(days=7))  # after each declined try but the last
FINAL = frozenset({"expired_card", "stolen_card"})  # no later try can do better


class Payment(NamedTuple):
    """A card payment that may be tried now."""

    id: int
    amount_cents: int
    card: str

    @property
    def reference(self) -> str:
        """What the provider is told that a charge is for."""
        return f"card-payment:{self.id}"


@shared_task(
    bind=True,
    schedule=cron("20 * * * *", tz="UTC"),
    jitter=timedelta(minutes=5),
    catch_up="latest",
    catch_up_window=timedelta(hours=12),
    overlap="skip",
    soft_time_limit=240,
    time_limit=300,
    memory_limit=256 * 2**20,
    max_retries=5,
    retry_backoff=10,
    retry_backoff_max=300,
    owner="payments-team",
    severity="error",
    depends_on=["postgres", "redis"],
    audit_args=rehearsal.failed_payments,
    audit_count=rehearsal.provider_count,
)
def retry_failed(self: SteadyTask) -> dict[str, int]:
    """Order the next try of every failed card payment whose time has come, longest due first, at most 5,000.

    Safe to run twice: it charges nothing itself; each try has one run, known by the key `card-payment:<id>:<try>`.
    """
    enqueued_count = 0
    for tries in self.iterate(due(engine(), self.scheduled_for or datetime.now(UTC))):
        for payment_id, try_number in tries:
            charge.apply_async((payment_id, try_number))
        enqueued_count += len(tries)
    return {"enqueued_count": enqueued_count}


def due(db_engine: sa.Engine, before: datetime) -> Iterator[list[tuple[int, int]]]:
    """Yield failed payments and the numbers of their next tries, in lists of at most 500 and 5,000 in all.

    Each list is read in a transaction of its own, which is over before the list is worked on.

    Args:
        db_engine: The marketplace's database.
        before: Payments to be tried after this instant are left for a later fire.
    """
    rows = card_payments.c
    last = (datetime.min.replace(tzinfo=UTC), 0)
    for _ in range(TRY_COUNT // BATCH_COUNT):
        batch = (
            sa.select(rows.try_at, rows.id, rows.try_count + 1)
            .where(rows.state == "failed", rows.try_at <= before, sa.tuple_(rows.try_at, rows.id) > last)
            .order_by(rows.try_at, rows.id)
            .limit(BATCH_COUNT)
        )
        with db_engine.connect() as db:
            found = db.execute(batch).all()
        if not found:
            return
        yield [(payment_id, try_number) for _, payment_id, try_number in found]
        last = (found[-1][0], found[-1][1])


@shared_task(
    bind=True,
    key_template="card-payment:{payment_id}:{try_number}",
    soft_time_limit=45,
    time_limit=60,
    memory_limit=256 * 2**20,
    max_retries=10,
    retry_backoff=5,
    retry_backoff_max=1800,
    owner="payments-team",
    severity="critical",
    depends_on=["postgres", "provider"],
    audit_args=rehearsal.failed_payment,
    audit_count=rehearsal.provider_count,
)
def charge(self: SteadyTask, payment_id: int, try_number: int) -> dict[str, Any]:
    """Charge the card of one failed payment, once for each try.

    Safe to run twice: the provider's idempotency key is the run's; an attempt after one of unknown fate asks for the
    charge of that key before it sends anything. The answer is written down with the processed key.

    Args:
        self: This run.
        payment_id: The card payment.
        try_number: 1 for the first try after the payment failed; part of the key, so that a later try is a new charge.

    Raises:
        Permanent: There is no such payment; the provider refuses the request; or the payment has changed while its
            card was charged, which a person must see.
        Transient: The provider did not answer, or says to come back later.
    """
    with engine().connect() as db:
        payment = to_try(db, payment_id, try_number)
    if payment is None:
        return {"payment_id": payment_id, "state": "not to be tried"}
    send = partial(charged_or_given_up, engine(), payment, try_number)
    charged = self.external("charge", send, resolve=gateway.charge_of)
    with self.exactly_once() as db:
        state = record(db, payment, try_number, charged)
        return {"payment_id": payment_id, "charge_id": charged["id"], "state": state}


def to_try(db: sa.Connection, payment_id: int, try_number: int) -> Payment | None:
    """Return a payment if this try of it is the next, or None where it has been made or is no longer wanted.

    Raises:
        Permanent: There is no such payment, or its tries have not come that far.
    """
    rows = card_payments.c
    found = db.execute(
        sa.select(rows.state, rows.try_count, rows.amount_cents, rows.card).where(rows.id == payment_id)
    ).one_or_none()
    if found is None:
        raise Permanent(f"card payment {payment_id}: there is no such payment")
    if try_number > found.try_count + 1:
        raise Permanent(f"card payment {payment_id}: has been tried {found.try_count} times, so {try_number} is no try")
    if found.state != "failed" or try_number <= found.try_count:
        return None
    return Payment(payment_id, found.amount_cents, found.card)


def record(db: sa.Connection, payment: Payment, try_number: int, charged: dict[str, Any]) -> str:
    """Write down, inside the caller's transaction, what became of a try; return the payment's state.

    Raises:
        Permanent: It is no longer this payment's turn: somebody has changed it while its card was charged.
    """
    rows = card_payments.c
    changed = db.scalar(
        sa.update(card_payments)
        .where(rows.id == payment.id, rows.state == "failed", rows.try_count == try_number - 1)
        .values(try_count=try_number, **outcome(try_number, charged))
        .returning(rows.state)
    )
    if changed is None:
        raise Permanent(
            f"card payment {payment.id}: somebody has changed it while its card was charged; "
            f"look at charge {charged['id']} ({charged['state']}) and put the two in order"
        )
    return str(changed)


def charged_or_given_up(db_engine: sa.Engine, payment: Payment, try_number: int, key: str) -> dict[str, Any]:
    """Charge a payment's card under a key; return the charge, paid or declined.

    Raises:
        Refused: The provider will never do this. That is written down, so that it is not ordered hour after hour.
        Transient: It may have happened, or not.
    """
    try:
        return gateway.charge(key, reference=payment.reference, amount_cents=payment.amount_cents, card=payment.card)
    except gateway.Refused as refusal:
        rows = card_payments.c
        with db_engine.begin() as db:
            db.execute(
                sa.update(card_payments)
                .where(rows.id == payment.id, rows.state == "failed", rows.try_count == try_number - 1)
                .values(try_count=try_number, state="given_up", reason=str(refusal), try_at=None)
            )
        raise


def outcome(try_number: int, charged: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a payment after a try: paid, to be tried again after a pause, or given up."""
    if charged["state"] != "declined":  # paid, and perhaps given back since
        return {"state": "paid", "charge_id": charged["id"], "paid_at": sa.func.clock_timestamp(), "try_at": None}
    reason = str(charged.get("reason") or "declined")
    if reason in FINAL or try_number > len(PAUSES):
        return {"state": "given_up", "reason": reason, "try_at": None}
    return {"reason": reason, "try_at": sa.func.clock_timestamp() + PAUSES[try_number - 1]}
