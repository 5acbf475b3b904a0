"""The app that `herd` and `scale` compare with: Celery with RedBeat as its documentation says, and nothing else.

Its Redis is given by ``BENCH_REDBEAT_URL``.
"""

from __future__ import annotations

import os

from celery import Celery

app = Celery("bench_redbeat", broker=os.environ.get("BENCH_REDBEAT_URL"))
app.conf.update(
    beat_scheduler="redbeat.RedBeatScheduler",
    redbeat_redis_url=os.environ.get("BENCH_REDBEAT_URL"),
    redbeat_redis_options={},
    beat_max_loop_interval=1,
    redbeat_lock_timeout=30,
    task_routes=lambda name, *_: {"queue": name.split(".")[1]},
)
