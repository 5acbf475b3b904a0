"""Tasks that go wrong in the ways that a watchdog sees, until a gate is open; each has an owner."""

from __future__ import annotations

import threading
from typing import Any

from shop import app, witness
from steadybeat import Permanent

SLOW_SECONDS = 4.0


def cured(name: str) -> bool:
    """Return whether a test has opened the gate of this name."""
    return (witness.folder() / f"open-{name}").exists()


@app.task(bind=True, name="shop.orders.invoice", owner="payments", severity="critical")
def invoice(self: Any, bank: str = "", token: str = "") -> None:
    """Fail for good, and say too much of it."""
    witness.started(self, "invoice")
    if not cured("invoice"):
        raise Permanent(f"{bank} takes no token={token}")


@app.task(bind=True, name="shop.orders.freeze", owner="payments")
def freeze(self: Any) -> None:
    """Hang."""
    witness.started(self, "freeze")
    witness.wait_at("freeze")


@app.task(bind=True, name="shop.orders.knot", owner="stock")
def knot(self: Any) -> None:
    """Come to the second of three items, and no further."""
    witness.started(self, "knot")
    for number in self.iterate(range(3), total=3):
        if number == 1:
            witness.wait_at("knot")


@app.task(bind=True, name="shop.orders.crawl", owner="stock")
def crawl(self: Any) -> None:
    """Take far longer than ever before."""
    witness.started(self, "crawl")
    if not cured("crawl"):
        threading.Event().wait(SLOW_SECONDS)


@app.task(bind=True, name="shop.orders.gather", owner="stock")
def gather(self: Any) -> None:
    """Find nothing to do."""
    witness.started(self, "gather")
    for _ in self.iterate(range(3) if cured("gather") else ()):
        pass


@app.task(bind=True, name="shop.orders.archive", owner="stock")
def archive(self: Any) -> None:
    """Do nothing, well."""


@app.task(bind=True, name="shop.mail.post", owner="post")
def post(self: Any) -> None:
    """Do nothing, in a service that nobody works for."""


@app.task(bind=True, name="shop.canvas.paint", owner="artists")
def paint(self: Any) -> None:
    """Do nothing, in a service whose worker stands still."""
