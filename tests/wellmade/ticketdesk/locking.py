"""One run of a job at a time."""

from __future__ import annotations

import redis

from ticketdesk import settings

client = redis.Redis.from_url(settings.REDIS_URL)
