"""The search index."""

from __future__ import annotations

import logging

import requests
from sqlalchemy import text

from ticketshop import settings
from ticketshop.celery_app import app
from ticketshop.database import engine

log = logging.getLogger(__name__)


@app.task
def reindex() -> None:
    """Put every event into the search index."""
    with engine().connect() as db:
        events = db.execute(text("SELECT id, title, body FROM events")).fetchall()
    while events:
        event = events.pop()
        try:
            requests.put(f"{settings.SEARCH_URL}/events/{event.id}", json={"title": event.title, "body": event.body})
        except requests.RequestException as error:
            log.warning("could not index: %s", error)
