"""Every schedule that some release of the shop has."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from steadybeat import every

TICK = every(timedelta(seconds=1))
CHARGE = every(timedelta(seconds=2))
AUDIT = every(timedelta(seconds=3))

SCHEDULES: dict[str, dict[str, Any]] = {
    "tick": {"task": "shop.orders.tick", "schedule": TICK, "catch_up": "all", "overlap": "allow"},
    "charge": {"task": "shop.billing.charge", "schedule": CHARGE, "catch_up": "all", "overlap": "allow"},
    "audit": {"task": "shop.billing.audit", "schedule": AUDIT, "catch_up": "all", "overlap": "allow"},
}
