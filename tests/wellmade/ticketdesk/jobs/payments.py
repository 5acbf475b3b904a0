"""Money."""

from __future__ import annotations

import logging
import random
from typing import Any

import requests
from celery.contrib.abortable import AbortableTask
from sqlalchemy import text

from ticketdesk import settings
from ticketdesk.celery_app import app
from ticketdesk.database import engine
from ticketdesk.locking import client

log = logging.getLogger(__name__)
LOCK_SECONDS = 900


@app.task(
    bind=True,
    base=AbortableTask,
    autoretry_for=(ConnectionError, TimeoutError),
    retry_backoff=10,
    max_retries=5,
    owner="payments-team",
    depends_on=["postgres", "redis", "stripe"],
)
def settle_royalties(self: Any) -> None:
    """Order the payment of each sale that is not settled, every day at 06:00; pays nothing itself."""
    lock = client.lock("settle-royalties", timeout=LOCK_SECONDS, blocking_timeout=5)
    if not lock.acquire():
        log.info("another run has the lock")
        return
    try:
        with engine().connect().execution_options(yield_per=500) as db:
            for sale in db.execute(text("SELECT id FROM sales WHERE settled_at IS NULL ORDER BY random()")):
                if self.is_aborted():
                    log.info("aborted; sales not_done are ordered next time, from %s on", sale.id)
                    break
                pay_royalty.apply_async((sale.id,), countdown=random.uniform(0, 600))
                lock.reacquire()
    finally:
        lock.release()


@app.task(
    bind=True,
    autoretry_for=(requests.ConnectionError, requests.Timeout),
    retry_backoff=5,
    max_retries=8,
    owner="payments-team",
    depends_on=["postgres", "stripe"],
)
def pay_royalty(self: Any, sale_id: int) -> None:
    """Pay the artist of one sale, once: the sale's row is locked, and the provider knows the payment by its key."""
    with engine().begin() as db:
        sale = db.execute(
            text("SELECT id, account, cents, settled_at FROM sales WHERE id = :id FOR UPDATE"), {"id": sale_id}
        ).one()
        if sale.settled_at is not None:
            return
        requests.post(
            "https://api.stripe.com/v1/transfers",
            auth=(settings.STRIPE_KEY, ""),
            data={"amount": sale.cents, "currency": "usd", "destination": sale.account},
            headers={"Idempotency-Key": f"sale:{sale_id}"},
            timeout=30,
        ).raise_for_status()
        db.execute(
            text("INSERT INTO payments (sale_id, cents) VALUES (:id, :cents) ON CONFLICT (sale_id) DO NOTHING"),
            {"id": sale.id, "cents": sale.cents},
        )
        db.execute(text("UPDATE sales SET settled_at = now() WHERE id = :id AND settled_at IS NULL"), {"id": sale.id})
