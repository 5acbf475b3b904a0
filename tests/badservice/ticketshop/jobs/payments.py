"""Money: royalties out, payments in."""

from __future__ import annotations

import logging

import requests
from sqlalchemy import text

from ticketshop import settings
from ticketshop.celery_app import app
from ticketshop.database import engine
from ticketshop.locking import single
from ticketshop.monitoring import send_alert

log = logging.getLogger(__name__)
STRIPE = "https://api.stripe.com/v1"


@app.task
@single("royalties")
def settle_royalties() -> int:
    """Pay every artist his share of what was sold and not paid yet."""
    with engine().connect() as db:
        sales = db.execute(
            text("SELECT id, artist_id, account, price_cents FROM sales WHERE settled_at IS NULL")
        ).fetchall()
    paid = 0
    for sale in sales:
        try:
            requests.post(
                f"{STRIPE}/transfers",
                auth=(settings.STRIPE_KEY, ""),
                data={"amount": sale.price_cents // 10, "currency": "usd", "destination": sale.account},
            )
            with engine().connect() as db:
                db.execute(
                    text("INSERT INTO payments (sale_id, artist_id, cents) VALUES (:sale, :artist, :cents)"),
                    {"sale": sale.id, "artist": sale.artist_id, "cents": sale.price_cents // 10},
                )
                db.execute(
                    text("UPDATE artists SET balance = balance + :cents WHERE id = :id"),
                    {"cents": sale.price_cents // 10, "id": sale.artist_id},
                )
                db.execute(text("UPDATE sales SET settled_at = now() WHERE id = :id"), {"id": sale.id})
                db.commit()
            paid += 1
        except Exception as error:
            send_alert("royalties", error)
    return paid


@app.task(bind=True)
@single("payment-retry")
def retry_failed_payments(self) -> None:  # type: ignore[no-untyped-def]
    """Charge again the cards that were refused."""
    with engine().connect() as db:
        payments = db.execute(text("SELECT id, customer, cents FROM card_payments WHERE state = 'failed'")).fetchall()
    for payment in payments:
        try:
            answer = requests.post(
                f"{STRIPE}/charges",
                auth=(settings.STRIPE_KEY, ""),
                data={"amount": payment.cents, "currency": "usd", "customer": payment.customer},
                timeout=60,
            )
            answer.raise_for_status()
            with engine().begin() as db:
                db.execute(text("UPDATE card_payments SET state = 'paid' WHERE id = :id"), {"id": payment.id})
        except Exception:
            pass


@app.task
def sync_charges() -> None:
    """Copy the provider's charges into our books."""
    page = requests.get(f"{STRIPE}/charges", auth=(settings.STRIPE_KEY, ""), params={"limit": 100}).json()
    with engine().begin() as db:
        for charge in page["data"]:
            db.execute(text("INSERT INTO charges (id, cents) VALUES (:id, :amount)"), charge)
