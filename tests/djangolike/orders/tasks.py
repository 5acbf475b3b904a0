from __future__ import annotations

from typing import Any

from celery import Task, shared_task
from mysite.celery import app
from orm import atomic

from orders.models import Invoice, Order


@shared_task
def create_invoice(order_id: int) -> None:
    """Create the invoice of an order."""
    order = Order.objects.get(pk=order_id)
    Invoice.objects.create(order=order, cents=order.cents)
    order.invoiced = True
    order.save()


@shared_task(autoretry_for=(ConnectionError,), retry_backoff=True, max_retries=4)
def copy_invoice(order_id: int, number: str) -> None:
    """Copy an invoice from the accounting system."""
    with atomic():
        order = Order.objects.select_for_update().get(pk=order_id)
        if order.invoiced:
            return
        Invoice.objects.update_or_create(number=number, defaults={"order": order})
        Order.objects.filter(pk=order_id, invoiced=False).update(invoiced=True)


class Told(Task):
    """A base class that tells of failures."""

    abstract = True

    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Post it to the channel."""
        import requests

        requests.post("https://hooks.slack.com/services/T/B/x", json={"text": f"{self.name}: {exc!r}"}, timeout=5)


class ExportOrders(Told):
    """Write all orders into the accounting system's file, nightly."""

    name = "orders.export"

    def run(self) -> int:
        """Write the file."""
        with open("/var/exports/orders.csv", "w") as file:  # noqa: PTH123
            for order in list(Order.objects.all()):
                file.write(self.line(order))
        return 0

    def line(self, order: Any) -> str:
        """Return one line."""
        return f"{order.pk};{order.cents}\n"


app.register_task(ExportOrders())
