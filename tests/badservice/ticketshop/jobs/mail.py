"""Mail to customers."""

from __future__ import annotations

import smtplib
from email.message import EmailMessage

from sqlalchemy import text

from ticketshop import settings
from ticketshop.celery_app import app
from ticketshop.database import engine


def send(recipient: str, subject: str, body: str) -> None:
    """Send one message."""
    message = EmailMessage()
    message["To"], message["Subject"] = recipient, subject
    message.set_content(body)
    with smtplib.SMTP(settings.MAIL_HOST) as server:
        server.send_message(message)


@app.task
def send_digest() -> None:
    """Send each customer the week's new events."""
    with engine().connect() as db:
        customers = db.execute(text("SELECT email FROM customers WHERE wants_digest")).fetchall()
        events = db.execute(text("SELECT title FROM events WHERE created_at > now() - interval '7 days'")).fetchall()
    for customer in customers:
        try:
            send(customer.email, "This week", "\n".join(event.title for event in events))
        except Exception:
            pass


@app.task
def trial_notice() -> None:
    with engine().connect() as db:
        accounts = db.execute(text("SELECT id, email FROM accounts WHERE trial_ends_on = current_date + 3")).fetchall()
    for account in accounts:
        welcome.delay(account.id, account.email)


@app.task
def welcome(account_id: int, email: str) -> None:
    send(email, "Your trial ends soon", f"Account {account_id}: three days are left.")
