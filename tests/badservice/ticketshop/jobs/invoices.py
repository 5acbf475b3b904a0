"""Invoices."""

from __future__ import annotations

from sqlalchemy import text

from ticketshop.celery_app import app
from ticketshop.database import engine
from ticketshop.jobs.mail import send


@app.task
def monthly_invoices() -> None:
    """Write each account its invoice of the last month, and mail it."""
    with engine().connect() as db:
        accounts = db.execute(text("SELECT id, email, plan_cents FROM accounts WHERE active")).fetchall()
        for account in accounts:
            db.execute(
                text(
                    "INSERT INTO invoices (account_id, cents, month) VALUES (:id, :cents, date_trunc('month', now()))"
                ),
                {"id": account.id, "cents": account.plan_cents},
            )
            db.commit()
            send(account.email, "Your invoice", f"{account.plan_cents / 100:.2f} USD")
