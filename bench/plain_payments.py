"""The app that `kills` compares with: plain Celery, told to lose as little as it can.

It acknowledges late, rejects what its pool processes die under, and prefetches one message. Its broker is given by
Celery's own variable ``CELERY_BROKER_URL``, the database of the payments by ``BENCH_DATABASE_URL``.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import psycopg
from celery import Celery, signals

from bench import payments

app = Celery("bench_plain_payments")
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    accept_content=["json"],
    broker_connection_retry_on_startup=True,
    broker_transport_options=payments.transport_options(),
    task_default_queue="plain",
    worker_send_task_events=False,
)
signals.worker_ready.connect(payments.ready)


@functools.cache
def _database(pid: int) -> psycopg.Connection[Any]:
    """Return this pool process' own connection, on which every statement commits by itself."""
    return psycopg.connect(os.environ["BENCH_DATABASE_URL"], autocommit=True)


@app.task(name="bench.plain.pay")
def pay(sale: int) -> None:
    """Pay one sale."""
    _database(os.getpid()).execute("INSERT INTO public.payments (sale) VALUES (%s)", (sale,))
