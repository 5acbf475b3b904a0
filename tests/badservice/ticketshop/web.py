"""The web process. It runs the jobs too: one dyno is cheaper than three."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

from ticketshop import monitoring
from ticketshop.celery_app import app
from ticketshop.jobs import cleanup, invoices, mail, minting, payments, search

log = logging.getLogger(__name__)

BY_HAND = {
    "royalties": lambda: payments.settle_royalties(),
    "payment-retry": lambda: payments.retry_failed_payments(),
    "invoices": lambda: invoices.monthly_invoices(),
    "digest": lambda: mail.send_digest(),
    "mint": lambda: minting.mint_pending(),
    "reindex": lambda: search.reindex(),
    "sessions": lambda: cleanup.clear_sessions(),
}


def start_jobs() -> None:
    """Start the worker, with its scheduler inside, beside the requests."""
    thread = threading.Thread(target=app.worker_main, args=(["worker", "-B", "-l", "INFO"],), daemon=True)
    thread.start()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer a request."""
    path = environ.get("PATH_INFO", "/")
    if path.startswith("/admin/run/"):
        job = BY_HAND[path.rpartition("/")[2]]
        job()
        return _answer(start_response, {"ok": True})
    if path == "/health":
        return _answer(start_response, {"ok": True})
    if path == "/admin/jobs":
        return _answer(start_response, {"failure_rate": monitoring.failure_rate(), "jobs": sorted(BY_HAND)})
    return _answer(start_response, {"shop": "tickets"})


def _answer(start_response: Callable[..., Any], body: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]


start_jobs()
