"""The service stock: counts what it has, and orders what it lacks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from celery import shared_task
from sqlalchemy import text

from steadybeat import every

_COUNTED = text("INSERT INTO public.counted (scheduled_for) VALUES (:scheduled_for)")
_ORDERED = text("INSERT INTO public.ordered (item, attempt) VALUES (:item, :attempt)")


@shared_task(bind=True, schedule=every(timedelta(seconds=1)), catch_up="all", overlap="allow")
def count(self: Any) -> None:
    """Count what there is; every fire makes one row."""
    with self.exactly_once() as db:
        db.execute(_COUNTED, {"scheduled_for": self.scheduled_for})


@shared_task(bind=True, key_template="item:{item}", max_retries=5)
def order(self: Any, item: str) -> None:
    """Order an item from a supplier who answers at the third call."""
    if self.request.retries < 2:
        raise ConnectionError("the supplier does not answer")
    with self.exactly_once() as db:
        db.execute(_ORDERED, {"item": item, "attempt": self.request.retries + 1})
