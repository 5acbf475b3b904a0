"""Settings of the shop."""

from __future__ import annotations

import os

DATABASE_URL = os.environ.get("DATABASE_URL", "postgresql://shop@localhost/shop")
REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
STRIPE_KEY = os.environ.get("STRIPE_KEY", "")
SEARCH_URL = os.environ.get("SEARCH_URL", "http://localhost:9200")
CHAIN_URL = os.environ.get("CHAIN_URL", "http://localhost:8545")
MAIL_HOST = os.environ.get("MAIL_HOST", "localhost")

LOCK_TTL = 300  # seconds; five minutes are plenty
