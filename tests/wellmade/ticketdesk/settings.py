"""Settings."""

from __future__ import annotations

import os

BROKER_URL = os.environ.get("BROKER_URL", "amqp://shop@localhost//")
REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
DATABASE_URL = os.environ.get("DATABASE_URL", "postgresql+psycopg://shop@localhost/shop")
STRIPE_KEY = os.environ.get("STRIPE_KEY", "")
MAIL_HOST = os.environ.get("MAIL_HOST", "localhost")
PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"
PAGERDUTY_KEYS = {"payments-team": os.environ.get("PAYMENTS_KEY", ""), "growth-team": os.environ.get("GROWTH_KEY", "")}
PING_URL = "https://hc-ping.com/" + os.environ.get("PING_KEY", "key")
