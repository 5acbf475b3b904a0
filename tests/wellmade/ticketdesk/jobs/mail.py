"""Mail."""

from __future__ import annotations

import logging
import random
import smtplib
from email.message import EmailMessage
from typing import Any

import structlog
from celery.contrib.abortable import AbortableTask
from sqlalchemy import text

from ticketdesk import settings
from ticketdesk.celery_app import app
from ticketdesk.database import engine

log = logging.getLogger(__name__)


def eligible(customer: Any, job: str) -> str | None:
    """Return why a customer has no turn in a job; None where he has. One policy for all jobs."""
    if customer.suspended:
        return "suspended"
    return None if job in customer.wanted else "has not asked for it"


@app.task(
    bind=True,
    base=AbortableTask,
    autoretry_for=(ConnectionError, TimeoutError),
    retry_backoff=10,
    owner="growth-team",
    depends_on=["postgres"],
)
def send_digests(self: Any) -> None:
    """Order a digest for each customer who wants one, every Monday at 08:00."""
    with engine().connect() as db:
        if not db.execute(text("SELECT pg_try_advisory_lock(4711)")).scalar():
            return
        try:
            customers = db.execution_options(yield_per=500).execute(
                text("SELECT id, suspended, wanted FROM customers ORDER BY random()")
            )
            for customer in customers:
                if self.is_aborted():
                    log.warning("aborted; customers not_done are those after %s", customer.id)
                    break
                reason = eligible(customer, "digest")
                if reason is not None:
                    log.info("customer %s left out: %s", customer.id, reason)
                    continue
                structlog.contextvars.bind_contextvars(tenant=customer.id, job="digest")
                send_digest.apply_async((customer.id,), countdown=random.uniform(0, 1800))
        finally:
            db.execute(text("SELECT pg_advisory_unlock(4711)"))


@app.task(
    bind=True,
    autoretry_for=(smtplib.SMTPException, OSError),
    retry_backoff=10,
    max_retries=6,
    owner="growth-team",
    depends_on=["postgres", "smtp"],
)
def send_digest(self: Any, customer_id: int) -> None:
    """Send one customer the digest of this week, once: a row of the log says that it was sent."""
    with engine().begin() as db:
        customer = db.execute(
            text("SELECT id, email FROM customers WHERE id = :id FOR UPDATE"), {"id": customer_id}
        ).one()
        fresh = db.execute(
            text(
                "INSERT INTO notifications (recipient, kind, period) VALUES (:id, 'digest', date_trunc('week', now()))"
                " ON CONFLICT DO NOTHING RETURNING recipient"
            ),
            {"id": customer.id},
        ).first()
        if fresh is None:
            return
        message = EmailMessage()
        message["To"], message["Subject"] = customer.email, "This week"
        with smtplib.SMTP(settings.MAIL_HOST, timeout=20) as server:
            server.send_message(message)
