"""The app under test: everything that `steadybeat.install` does, at its defaults.

Its Redis and Postgres are given by ``STEADYBEAT_REDIS_URL`` and ``STEADYBEAT_DATABASE_URL``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from celery import Celery, signals
from sqlalchemy import text

import steadybeat
from bench import payments
from bench.report import client_of
from steadybeat import every

app = Celery("bench_steady")
app.conf.update(worker_send_task_events=False)  # as in `bench.plain`; the worker's option -E turns both on
app.conf.broker_transport_options = payments.transport_options()
steadybeat.install(app)
signals.worker_ready.connect(payments.ready)


@app.task(name="bench.steady.nothing")
def nothing() -> None:
    """Do nothing."""


@app.task(name="bench.steady.answer")
def answer(url: str, key: str) -> None:
    """Answer by a list in Redis."""
    client_of(url).lpush(key, 1)


@app.task(bind=True, name="bench.steady.pay")
def pay(self: Any, sale: int) -> None:
    """Pay one sale."""
    with self.exactly_once() as db:
        db.execute(text("INSERT INTO public.payments (sale) VALUES (:sale)"), {"sale": sale})


@app.task(
    name="bench.beating.beat",
    schedule=every(timedelta(seconds=1)),
    catch_up="all",
    overlap="allow",
)
def beat() -> None:
    """Be due every second, for `failover`."""
