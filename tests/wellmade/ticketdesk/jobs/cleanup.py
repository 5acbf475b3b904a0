"""What is old goes."""

from __future__ import annotations

from sqlalchemy import text

from ticketdesk.celery_app import app
from ticketdesk.database import engine


@app.task(
    autoretry_for=(ConnectionError,), retry_backoff=5, max_retries=3, owner="payments-team", depends_on=["postgres"]
)
def expire_orders() -> None:
    """Every ten minutes, give back the tickets of orders that nobody paid: one statement, by state and age."""
    with engine().begin() as db:
        db.execute(
            text("UPDATE orders SET state = 'expired' WHERE state = 'open' AND created_at < now() - interval '30 min'")
        )
