"""Every schedule that some release of the shop has."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from steadybeat import every
from steadybeat.schedule import Rule

TICK = every(timedelta(seconds=1))
CHARGE = every(timedelta(seconds=2))
AUDIT = every(timedelta(seconds=3))
RARELY = every(timedelta(days=3650))
"""Of what runs only when a person asks."""

OVERLAPS = ("skip", "queue_one", "queue_all", "cancel_running")


def packing(name: str, rule: Rule, overlap: str = "allow", **kwargs: Any) -> dict[str, Any]:
    """Return a schedule whose task leaves a line when it starts, and may wait at a gate."""
    task = {"task": "shop.orders.pack", "args": [name], "kwargs": kwargs}
    return {**task, "schedule": rule, "catch_up": "all", "overlap": overlap}


WATCHED: dict[str, dict[str, Any]] = {
    "orders.invoice": {},
    "orders.freeze": {},
    "orders.knot": {},
    "orders.crawl": {},
    "orders.gather": {"expect": "items > 0"},
    "orders.archive": {},
    "mail.post": {},
    "canvas.paint": {},
}


def watched(name: str, **policies: Any) -> dict[str, Any]:
    """Return a schedule whose runs go wrong in a way of their own."""
    return {"task": f"shop.{name}", "schedule": CHARGE, "overlap": "skip", "catch_up": "none", **policies}


ASKED: dict[str, dict[str, Any]] = {
    "well": {"task": "shop.orders.pack", "args": ["well"]},
    "held": {"task": "shop.orders.pack", "args": ["held"], "kwargs": {"gate": "held"}},
    "flaky": {"task": "shop.orders.flaky", "args": ["flaky", 1]},
    "refused": {"task": "shop.orders.refuse", "args": ["refused", "never"]},
    "dropped": {"task": "shop.orders.poison", "args": ["dropped", "dropped"]},
    "quiet": {"task": "shop.orders.pack", "args": ["quiet"], "heartbeat": "off"},
    "crons": {"task": "shop.orders.flaky", "args": ["crons", 1], "heartbeat": "sentry:"},
}

SCHEDULES: dict[str, dict[str, Any]] = {
    "tick": {"task": "shop.orders.tick", "schedule": TICK, "catch_up": "all", "overlap": "allow"},
    "charge": {"task": "shop.billing.charge", "schedule": CHARGE, "catch_up": "all", "overlap": "allow"},
    "audit": {"task": "shop.billing.audit", "schedule": AUDIT, "catch_up": "all", "overlap": "allow"},
    "audit:often": {"task": "shop.billing.audit", "schedule": TICK, "catch_up": "all", "overlap": "allow"},
    "count": packing("count", AUDIT),
    "count:often": packing("count", TICK),
    "round": {"task": "shop.mail.round_robin", "schedule": CHARGE, "catch_up": "all", "overlap": "allow"},
    "stock": packing("stock", CHARGE),
    **{name: {**asked, "schedule": RARELY, "overlap": "allow"} for name, asked in ASKED.items()},
    **{overlap: packing(overlap, CHARGE, overlap, gate="shelf") for overlap in OVERLAPS},
    **{name: watched(name, **policies) for name, policies in WATCHED.items()},
}


def release(words: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the schedules of a release: ``audit``, or ``audit:often`` for what another release means by it."""
    return {word.partition(":")[0]: SCHEDULES[word] for word in words}
