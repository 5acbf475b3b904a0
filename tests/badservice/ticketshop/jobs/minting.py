"""Tokens: each ticket sold becomes one."""

from __future__ import annotations

import time

import requests
from sqlalchemy import text

from ticketshop import settings
from ticketshop.celery_app import app
from ticketshop.database import engine
from ticketshop.locking import single


@app.task(bind=True, max_retries=None)
@single("mint")
def mint_pending(self) -> None:  # type: ignore[no-untyped-def]
    """Mint a token for every ticket that has none."""
    with engine().connect() as db:
        tickets = db.execute(text("SELECT id, owner FROM tickets WHERE token IS NULL")).all()
    for ticket in tickets:
        answer = requests.post(f"{settings.CHAIN_URL}/mint", json={"owner": ticket.owner, "ticket": ticket.id})
        if answer.status_code == 429:
            time.sleep(30)
            raise self.retry(countdown=10)
        with engine().begin() as db:
            db.execute(
                text("UPDATE tickets SET token = :token WHERE id = :id"), {"token": answer.text, "id": ticket.id}
            )
