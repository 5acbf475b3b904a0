"""A store: somebody else's Celery app, which has taken steadybeat in with one line."""

from celery import Celery

import steadybeat

app = Celery("store")
app.config_from_object("storeconfig")
steadybeat.install(app)
