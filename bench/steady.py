"""The app under test: everything that `steadybeat.install` does, at its defaults.

Its Redis and Postgres are given by ``STEADYBEAT_REDIS_URL`` and ``STEADYBEAT_DATABASE_URL``.
"""

from __future__ import annotations

from datetime import timedelta

from celery import Celery

import steadybeat
from steadybeat import every

app = Celery("bench_steady")
app.conf.update(worker_send_task_events=False)  # as in `bench.plain`; the worker's option -E turns both on
steadybeat.install(app)


@app.task(name="bench.steady.nothing")
def nothing() -> None:
    """Do nothing."""


@app.task(
    name="bench.beating.beat",
    schedule=every(timedelta(seconds=1)),
    catch_up="all",
    overlap="allow",
)
def beat() -> None:
    """Be due every second, for `failover`."""
