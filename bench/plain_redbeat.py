"""The app that `herd` and `failover` compare with: Celery with RedBeat as its documentation says, and nothing else.

Its Redis is given by ``BENCH_REDBEAT_URL``; how long its lock lasts and how often a Beat looks, in seconds, by
``BENCH_REDBEAT_LOCK_SECONDS`` and ``BENCH_REDBEAT_POLL_SECONDS``. A lock that lapses within a tick ends RedBeat, and a
tick lasts as long as all that is due in it: so the lock has RedBeat's default unless it is given.
"""

from __future__ import annotations

import os
from datetime import timedelta

from celery import Celery

app = Celery("bench_redbeat", broker=os.environ.get("BENCH_REDBEAT_URL"))
app.conf.update(
    beat_scheduler="redbeat.RedBeatScheduler",
    redbeat_redis_url=os.environ.get("BENCH_REDBEAT_URL"),
    redbeat_redis_options={},
    redbeat_lock_timeout=float(os.environ.get("BENCH_REDBEAT_LOCK_SECONDS", "1500")),
    beat_max_loop_interval=float(os.environ.get("BENCH_REDBEAT_POLL_SECONDS", "1")),
    task_routes=lambda name, *_, **__: {"queue": name.split(".")[1]},
)
if "BENCH_REDBEAT_LOCK_SECONDS" in os.environ:
    app.conf.beat_schedule = {"beat": {"task": "bench.beating.beat", "schedule": timedelta(seconds=1)}}
