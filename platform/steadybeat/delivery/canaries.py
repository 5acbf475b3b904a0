"""Canaries: one message in front of a queue, which asks whether somebody consumes from it."""

from __future__ import annotations

import json
import uuid
from typing import Any

from kombu.exceptions import OperationalError
from kombu.pools import producers

from steadybeat.channel import CANARY, CANARY_NUMBER
from steadybeat.delivery.patience import patience
from steadybeat.errors import BrokerUnavailable


class Canaries:
    """Sends canaries. One that still lies in front of its queue is not sent again: they do not pile up."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def send(self, queue: str, number: int) -> None:
        """Ask a queue.

        Args:
            queue: Its name.
            number: Of the message; whoever takes it answers with that.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        pool = producers[self._app.connection_for_write(transport_options=patience())]
        try:
            with pool.acquire(block=True, timeout=5) as producer, producer.connection._reraise_as_library_errors():
                self._put(producer.channel, queue, number)
        except OperationalError as error:
            raise BrokerUnavailable(f"Redis does not answer: {error}") from error

    def _put(self, channel: Any, queue: str, number: int) -> None:
        message = channel.prepare_message(
            "[[], {}, {}]",
            content_type="application/json",
            content_encoding="utf-8",
            headers={"lang": "py", "task": CANARY, "id": str(uuid.uuid4()), CANARY_NUMBER: number},
            properties={"delivery_mode": 2},
        )
        with channel.keeping() as kept:
            channel.basic_publish(message, exchange="", routing_key=queue)
        commands = [("rpush" if name == "lpush" else name, args) for name, args in kept.commands]
        key = commands[0][1][0]
        if not _is_canary(channel.client.lindex(f"{channel.global_keyprefix}{key}", -1)):
            for said in channel.execute_each(commands).values():
                raise said


def _is_canary(raw: Any) -> bool:
    """Return whether what lies in front of a queue is a canary."""
    try:
        return bool(json.loads(raw)["headers"]["task"] == CANARY)
    except (ValueError, TypeError, KeyError):
        return False
