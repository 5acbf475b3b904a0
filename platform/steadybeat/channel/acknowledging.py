"""QoS: which messages are delivered and not acknowledged, kept in Redis with half of kombu's round trips.

kombu asks Redis once for each delivery and once for each acknowledgement, and waits for both. Here acknowledgements
go with the next delivery, or by themselves within `LONGEST_WAIT_SECONDS`. A worker that dies meanwhile has messages
delivered again that are done, which the ledger knows.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from kombu.utils.json import dumps
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

LONGEST_WAIT_SECONDS = 0.05


class QoS(kombu_redis.QoS):
    """kombu's unacknowledged messages of a channel; acknowledgements wait for each other while an event loop runs."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._acknowledged: list[str] = []
        self._timer: Any = None

    def append(self, message: Any, delivery_tag: str) -> None:
        """Write down that a message is delivered, and what was acknowledged since the last one."""
        delivery = message.delivery_info
        kept = dumps([message._raw, delivery["exchange"], delivery["routing_key"]])
        with self.pipe_or_acquire() as pipe:
            pipe.zadd(self.unacked_index_key, {delivery_tag: time.time()}).hset(self.unacked_key, delivery_tag, kept)
            self._write_with(pipe)
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message: at once, or soon where the event loop of this thread will see to it."""
        loop = self.channel.connection.loop_of_this_thread if self.channel.connection is not None else None
        if loop is None:
            super().ack(delivery_tag)
            return
        self._acknowledged.append(delivery_tag)
        virtual.QoS.ack(self, delivery_tag)
        if self._timer is None:
            self._timer = loop.call_later(LONGEST_WAIT_SECONDS, self._write_alone)

    def restore_unacked_once(self, *args: Any, **options: Any) -> None:
        """Give back what is not acknowledged, once; kombu calls this when it closes the channel."""
        try:
            self._write_alone()
        except RedisError as error:  # the connection is lost, as a rule; kombu goes on to open another
            lost = {"message_count": len(self._acknowledged), "error": str(error)}
            logger.warning("acknowledgements lost: what is done comes again", extra=lost)
            self._acknowledged.clear()
        super().restore_unacked_once(*args, **options)

    def _write_alone(self) -> None:
        self._timer = None
        if self._acknowledged:
            with self.pipe_or_acquire() as pipe:
                self._write_with(pipe)

    def _write_with(self, pipe: Any) -> None:
        tags = tuple(self._acknowledged)
        if tags:
            pipe.zrem(self.unacked_index_key, *tags).hdel(self.unacked_key, *tags)
        pipe.execute()
        del self._acknowledged[: len(tags)]
