"""One run of a job at a time."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import redis

from ticketshop import settings

log = logging.getLogger(__name__)
client = redis.Redis.from_url(settings.REDIS_URL)


def single(name: str) -> Callable[..., Any]:
    """Let only one run of a job work at a time."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def locked(*args: Any, **kwargs: Any) -> Any:
            key = f"lock:{name}"
            try:
                if not client.set(key, "1", nx=True, ex=settings.LOCK_TTL):
                    log.info("%s is already running", name)
                    return None
            except redis.RedisError:
                log.warning("no Redis, going on without the lock of %s", name)
            result = function(*args, **kwargs)
            client.delete(key)
            return result

        return locked

    return decorate
