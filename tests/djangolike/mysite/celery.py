from __future__ import annotations

from celery import Celery

app = Celery("mysite")
app.config_from_object("mysite.settings", namespace="CELERY")
app.autodiscover_tasks(["accounts", "orders"])
