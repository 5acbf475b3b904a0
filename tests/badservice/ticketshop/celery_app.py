"""The Celery application of the shop."""

from __future__ import annotations

from celery import Celery
from celery.schedules import crontab

from ticketshop import settings

app = Celery(
    "ticketshop",
    broker=settings.REDIS_URL,
    backend=settings.REDIS_URL,
    include=[
        "ticketshop.jobs.cleanup",
        "ticketshop.jobs.invoices",
        "ticketshop.jobs.mail",
        "ticketshop.jobs.minting",
        "ticketshop.jobs.payments",
        "ticketshop.jobs.search",
    ],
)

app.conf.update(
    timezone="America/New_York",
    worker_pool="threads",  # the web process has an event loop and does not like forks
    worker_concurrency=4,
    worker_redirect_stdouts_level="INFO",
    task_ignore_result=True,
    task_time_limit=3600,
    beat_schedule={
        "royalties": {"task": "ticketshop.jobs.payments.settle_royalties", "schedule": crontab(hour=2, minute=0)},
        "payment-retry": {"task": "ticketshop.jobs.payments.retry_failed_payments", "schedule": crontab(minute=0)},
        "stripe-sync": {"task": "ticketshop.jobs.payments.sync_charges", "schedule": crontab(minute="*/15")},
        "mint": {"task": "ticketshop.jobs.minting.mint_pending", "schedule": crontab(minute="*/5")},
        "digest": {"task": "ticketshop.jobs.mail.send_digest", "schedule": crontab(hour=8, minute=0, day_of_week=1)},
        "trial-notice": {"task": "ticketshop.jobs.mail.trial_notice", "schedule": crontab(hour=9, minute=0)},
        "expire-orders": {"task": "ticketshop.jobs.cleanup.expire_orders", "schedule": crontab(minute="*/10")},
        "sessions": {"task": "ticketshop.jobs.cleanup.clear_sessions", "schedule": crontab(hour=1, minute=30)},
        "reindex": {"task": "ticketshop.jobs.search.reindex", "schedule": crontab(hour=3, minute=0)},
        "invoices": {
            "task": "ticketshop.jobs.invoices.monthly_invoices",
            "schedule": crontab(day_of_month=1, hour=0, minute=0),
        },
    },
)
