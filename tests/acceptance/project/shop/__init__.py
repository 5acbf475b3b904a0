"""A shop whose tasks do nothing but what a test can count."""

from __future__ import annotations

import os

from celery import Celery
from timetable import release

import steadybeat
from steadybeat.fanout import writing

app = Celery("shop")
app.conf.imports = (
    "shop.orders",
    "shop.billing",
    "shop.errors.billing",
    "shop.money",
    "shop.canvas",
    "shop.tills",
    "shop.mail",
    "shop.watched",
)
# A release is told by the schedules that its code has.
app.conf.beat_schedule = release(os.environ.get("SHOP_SCHEDULES", "").split())
if "SHOP_VISIBILITY_SECONDS" in os.environ:
    app.conf.broker_transport_options = {
        "visibility_timeout": int(os.environ["SHOP_VISIBILITY_SECONDS"]),
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    }
if "SHOP_SENTINEL_PASSWORD" in os.environ:
    app.conf.broker_transport_options = {"sentinel_kwargs": {"password": os.environ["SHOP_SENTINEL_PASSWORD"]}}
if "SHOP_SOFT_SHUTDOWN_SECONDS" in os.environ:
    app.conf.worker_soft_shutdown_timeout = float(os.environ["SHOP_SOFT_SHUTDOWN_SECONDS"])
if "SHOP_RUNS_PER_CHILD" in os.environ:
    app.conf.worker_max_tasks_per_child = int(os.environ["SHOP_RUNS_PER_CHILD"])
steadybeat.install(app)
if "SHOP_BATCH_COUNT" in os.environ:
    writing.BATCH = int(os.environ["SHOP_BATCH_COUNT"])
if "SHOP_STUCK" in os.environ:
    app.steps["consumer"].add("shop.faults:StuckEventLoop")
