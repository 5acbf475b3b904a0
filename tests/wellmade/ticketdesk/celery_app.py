"""The Celery application: every setting that keeps work from being lost or done twice."""

from __future__ import annotations

from datetime import timedelta

from celery import Celery
from celery.schedules import crontab
from kombu import Exchange, Queue

from ticketdesk import settings

DEAD = {"x-dead-letter-exchange": "dead", "x-queue-type": "quorum"}

app = Celery(
    "ticketdesk",
    broker=settings.BROKER_URL,
    backend=f"db+{settings.DATABASE_URL}",
    include=["ticketdesk.monitoring", "ticketdesk.jobs.cleanup", "ticketdesk.jobs.mail", "ticketdesk.jobs.payments"],
)

app.conf.update(
    timezone="UTC",
    beat_scheduler="redbeat.RedBeatScheduler",
    redbeat_redis_url=settings.REDIS_URL,
    redbeat_lock_timeout=60,
    beat_max_loop_interval=5,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_time_limit=600,
    task_soft_time_limit=540,
    task_queues=[Queue(name, Exchange(name), name, queue_arguments=DEAD) for name in ("payments", "mail", "cleanup")],
    task_default_queue="cleanup",
    task_routes={"ticketdesk.jobs.payments.*": {"queue": "payments"}, "ticketdesk.jobs.mail.*": {"queue": "mail"}},
    task_track_started=True,
    task_send_sent_event=True,
    result_extended=True,
    result_expires=timedelta(days=90),
    worker_concurrency=4,
    worker_prefetch_multiplier=1,
    worker_max_memory_per_child=400_000,
    worker_send_task_events=True,
    worker_soft_shutdown_timeout=600,
    beat_schedule={
        "settle-royalties": {
            "task": "ticketdesk.jobs.payments.settle_royalties",
            "schedule": crontab(hour=6, minute=0),
            "options": {"expires": 3600},
        },
        "weekly-digest": {
            "task": "ticketdesk.jobs.mail.send_digests",
            "schedule": crontab(hour=8, minute=0, day_of_week=1),
        },
        "expire-orders": {"task": "ticketdesk.jobs.cleanup.expire_orders", "schedule": timedelta(minutes=10)},
    },
)
