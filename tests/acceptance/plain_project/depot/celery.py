"""Its app. What is added to move in is the one line behind `DEPOT_MOVES_IN`."""

from __future__ import annotations

import os

from celery import Celery
from celery.schedules import crontab

app = Celery("depot")
app.conf.update(
    broker_url=os.environ["DEPOT_REDIS"],
    result_backend=os.environ["DEPOT_REDIS"],
    redbeat_redis_url=os.environ["DEPOT_REDIS"],
    redbeat_redis_options={},
    beat_scheduler="redbeat.RedBeatScheduler",
    timezone="Europe/Riga",
    task_routes={"depot.tasks.report": {"queue": "reports"}},
    beat_schedule={
        "count": {"task": "depot.tasks.count", "schedule": 2.0, "relative": True},
        "sweep": {"task": "depot.tasks.sweep", "schedule": crontab(minute=0, hour=3), "options": {"expires": 600}},
    },
)
app.autodiscover_tasks(["depot"])

if os.environ.get("DEPOT_MOVES_IN"):
    import steadybeat

    steadybeat.install(app)
