"""An app that says itself where its broker is, so that a probe of it would use the live one."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

import steadybeat

app: Any = Celery("probed_elsewhere", broker=os.environ.get("PROBED_BROKER_URL"))
steadybeat.install(app)


@app.task(audit_args=())
def anything() -> None:
    raise AssertionError("nobody may try this")
