"""Depths: how many messages wait in Redis, and how many are in the hands of workers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kombu.exceptions import OperationalError
from redis.exceptions import ResponseError

from steadybeat.errors import BrokerUnavailable


def depths(app: Any, queues: Iterable[str], *, timeout_seconds: float) -> tuple[dict[str, int], int]:
    """Return how many messages each queue holds, of all priorities, and how many were taken and not acknowledged.

    A key of Redis that has the name of a queue and is none is left out.

    Args:
        app: A Celery app on which steadybeat is installed.
        queues: Their names.
        timeout_seconds: How long to connect may take, and how long an answer.

    Raises:
        BrokerUnavailable: Redis does not answer.
    """
    once = {"socket_timeout": timeout_seconds, "socket_connect_timeout": timeout_seconds, "max_retries": 0}
    found: dict[str, int] = {}
    try:
        with app.connection_for_read(transport_options=once) as connection:
            channel = connection.default_channel
            for queue in queues:
                try:
                    found[queue] = channel._size(queue)
                except ResponseError:
                    continue
            return found, int(channel.client.hlen(channel.unacked_key))
    except (OperationalError, *app.connection_for_read().connection_errors) as error:
        raise BrokerUnavailable(f"Redis does not answer: {error}") from error
