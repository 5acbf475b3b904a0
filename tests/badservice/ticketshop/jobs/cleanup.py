"""What is old goes."""

from __future__ import annotations

import logging

from sqlalchemy import text

from ticketshop.celery_app import app
from ticketshop.database import engine

log = logging.getLogger(__name__)


@app.task
def expire_orders() -> None:
    """Give back the tickets of orders that nobody paid within half an hour."""
    with engine().begin() as db:
        db.execute(
            text("UPDATE orders SET state = 'expired' WHERE state = 'open' AND created_at < now() - interval '30 min'")
        )


@app.task
def clear_sessions() -> None:
    """Remove sessions that ended a month ago."""
    with engine().begin() as db:
        db.execute(text("DELETE FROM sessions WHERE ended_at < now() - interval '30 days'"))
