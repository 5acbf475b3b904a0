"""The app that `fanout` measures: everything that `steadybeat.install` does, and nothing else in memory."""

from __future__ import annotations

from typing import Any

from celery import Celery

import steadybeat

app = Celery("bench_sharing")
steadybeat.install(app)


@app.task(name="bench.sharing.share")
def share(tenant: int) -> None:
    """Do nothing for a tenant."""


@app.task(name="bench.unread.share")
def unread(tenant: int) -> None:
    """Be sent to a queue that nobody reads."""


@app.task(bind=True, name="bench.sharing.fan_out")
def fan_out(self: Any, count: int, task: str, concurrency: int) -> Any:
    """Fan out, for so many tenants from a generator."""
    return self.fan_out(task, tenants=(number for number in range(count)), concurrency=concurrency)
