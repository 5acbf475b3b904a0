"""The app that `overhead` compares with: Celery alone, told only to acknowledge late and to prefetch one message.

Its broker is given by Celery's own variable ``CELERY_BROKER_URL``.
"""

from __future__ import annotations

from celery import Celery

from bench.report import client_of

app = Celery("bench_plain")
app.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    accept_content=["json"],
    broker_connection_retry_on_startup=True,
    task_default_queue="plain",
    worker_send_task_events=False,
)


@app.task(name="bench.plain.nothing")
def nothing() -> None:
    """Do nothing."""


@app.task(name="bench.plain.answer")
def answer(url: str, key: str) -> None:
    """Answer by a list in Redis."""
    client_of(url).lpush(key, 1)
