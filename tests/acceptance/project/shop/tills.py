"""Tasks of the service orders that hold a lock, or one of a few places, while they work."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

from celery.exceptions import Ignore, Reject

from shop import app, witness
from steadybeat import Permanent


@app.task(bind=True, name="shop.orders.deposit", lock="account:{account}", retry_backoff=120, retry_jitter=False)
def deposit(self: Any, account: str, name: str, gate: str | None = None) -> None:
    """Make one effect, and leave word of who was there when."""
    with witness.present(self, account, gate), self.exactly_once() as db:
        witness.effect(self, db, name)


@app.task(bind=True, name="shop.orders.collect", concurrency=2, concurrency_key="tenant:{tenant}")
def collect(self: Any, tenant: str, name: str, gate: str | None = None) -> None:
    """Make one effect, and leave word of who was there when."""
    with witness.present(self, tenant, gate), self.exactly_once() as db:
        witness.effect(self, db, name)


@app.task(bind=True, name="shop.orders.tidy", lock="account:{account}", on_locked="skip")
def tidy(self: Any, account: str, name: str) -> None:
    """Make one effect, unless somebody is at the account."""
    with self.exactly_once() as db:
        witness.effect(self, db, name)


@app.task(bind=True, name="shop.orders.doze", lock="account:{account}")
def doze(self: Any, account: str, name: str) -> None:
    """Make one effect; the process of the first to try is stopped before, and its parent is not."""
    witness.started(self, name)
    if witness.only_once(f"stop-{name}"):
        os.kill(os.getpid(), signal.SIGSTOP)
    with self.exactly_once() as db:
        witness.effect(self, db, name)


@app.task(bind=True, name="shop.orders.leave", lock="account:{how}", max_retries=1, soft_time_limit=1)
def leave(self: Any, how: str) -> None:
    """End in a way in which a task can end."""
    if how == "success":
        return
    if how == "soft time limit":
        threading.Event().wait()
    raise {
        "error": lambda: ValueError("an error"),
        "retry": lambda: self.retry(countdown=0, throw=False),
        "ignore": lambda: Ignore("nothing to do"),
        "reject": lambda: Reject("not this one"),
        "permanent": lambda: Permanent("never"),
        "exit": lambda: SystemExit(1),
    }[how]()
