"""Promise: what Flower and `celery inspect` are shown of a task has no secrets in it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.worker.request import Request

import steadybeat
from steadybeat.task.request import SteadyRequest

SECRET = "hunter2"
URL = f"redis://:{SECRET}@db/0"


@pytest.fixture
def app() -> Any:
    app = Celery("shop", set_as_current=False)
    steadybeat.install(app)

    @app.task(name="shop.orders.pay")
    def pay(url: str, password: str) -> None:
        """Pay."""

    return app


def request_of(app: Any, eventer: Any = None) -> SteadyRequest:
    """Return a request as a worker makes it of a message that plain Celery sent."""
    args, kwargs = [URL], {"password": SECRET}
    message = super(type(app.amqp), app.amqp).as_task_v2("2b1e0c9e-0000-4000-8000-000000000001", "shop.orders.pay")
    headers = {**message.headers, "argsrepr": repr(args), "kwargsrepr": repr(kwargs)}

    delivered = SimpleNamespace(
        delivery_tag="1", acknowledged=False, content_type="application/json", content_encoding="utf-8",
        payload=(args, kwargs, {}), body=b"", delivery_info={}, properties={},
    )  # fmt: skip
    return SteadyRequest(
        delivered, app=app, task=app.tasks["shop.orders.pay"], headers=headers, decoded=True, eventer=eventer,
        body=(args, kwargs, {}), hostname="here", connection_errors=(), on_ack=None, on_reject=None,
    )  # fmt: skip


class Events:
    """What is sent as events."""

    enabled = True

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send(self, kind: str, **fields: Any) -> None:
        self.sent.append(fields)


def test_a_message_shows_its_arguments_without_secrets(app: Any) -> None:
    sent = app.amqp.as_task_v2("id", "shop.orders.pay", (URL,), {"password": SECRET}, create_sent_event=True)
    assert SECRET not in f"{sent.headers}{sent.sent_event}"
    assert sent.headers["argsrepr"] == "('redis://:***@db/0',)"
    assert sent.body[0] == (URL,)
    assert sent.body[1] == {"password": SECRET}


def test_a_worker_shows_no_secrets_of_a_message_that_plain_celery_sent(app: Any) -> None:
    request = request_of(app)
    assert isinstance(request, Request)
    assert SECRET not in request.argsrepr + request.kwargsrepr
    assert SECRET not in str(request.info())
    assert request.info()["kwargs"] == {"password": "***"}
    assert request.kwargs == {"password": SECRET}


def test_events_of_a_task_have_no_secrets(app: Any) -> None:
    events = Events()
    request = request_of(app, events)
    request.send_event("task-failed", exception=f"ValueError('{URL}')", traceback=f"password={SECRET}")
    request.send_event("task-succeeded", result=f"token={SECRET}", runtime=0.5)
    assert SECRET not in str(events.sent)
    assert events.sent[1]["runtime"] == 0.5
