"""Channel: how messages cross Redis. kombu's channel, unable to choke on a message, and with one client for all.

kombu's own takes an item off a queue and then decodes it; an item that is no message ends the worker, and is gone.
Here it is handed to `keep_foreign` instead. kombu's own also builds a Redis client for every acknowledgement, about
a fifth of a worker's time; here a channel has one.
"""

from __future__ import annotations

import functools
import json
import logging
from typing import Any

import kombu
from kombu.transport import redis as kombu_redis

logger = logging.getLogger(__name__)

TRANSPORT = f"{__name__}:Transport"
_TAKES_AN_ITEM = ("BRPOP", "RPOP")


class _Reader:
    """A mix-in for Redis clients: an item that is no message is set aside as it is read."""

    set_aside: Any = None

    def parse_response(self, connection: Any, command_name: str, **options: Any) -> Any:
        reply = super().parse_response(connection, command_name, **options)  # type: ignore[misc]
        if reply and command_name in _TAKES_AN_ITEM and self.set_aside is not None:
            queue, item = reply if command_name == "BRPOP" else (b"", reply)
            reason = why_unreadable(item)
            if reason:
                self.set_aside(_text(queue), item, reason)
                return None
        return reply


class _Client(_Reader, kombu_redis.redis.Redis):
    pass


class _PrefixedClient(_Reader, kombu_redis.PrefixedStrictRedis):
    pass


class Channel(kombu_redis.Channel):
    """kombu's Redis channel, which sets unreadable items aside.

    The transport option ``keep_foreign`` is called with the queue, the raw bytes and the reason. When it raises, the
    item goes back to the end of its queue. Without it the channel is kombu's.
    """

    from_transport_options = (*kombu_redis.Channel.from_transport_options, "keep_foreign")
    keep_foreign: Any = None
    _shared: Any = None

    def _get_client(self) -> Any:
        client = super()._get_client()
        if isinstance(client, functools.partial):
            return functools.partial(_PrefixedClient, **client.keywords)
        return _Client

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return self._reading(super()._create_client(asynchronous=True))
        if self._shared is None or self._shared.connection_pool is not self.pool:
            self._shared = self._reading(super()._create_client())
        return self._shared

    def _reading(self, client: Any) -> Any:
        if self.keep_foreign is not None:
            client.set_aside = self._set_aside
        return client

    def _set_aside(self, key: str, item: bytes, reason: str) -> None:
        queue = key.rsplit(self.sep, 1)[0]
        try:
            self.keep_foreign(queue, item, reason)
        except Exception:
            logger.exception("foreign message put back", extra={"queue": queue, "reason": reason})
            self._create_client().lpush(key or queue, item)
        else:
            logger.error("foreign message kept", extra={"queue": queue, "reason": reason})


class Connection(kombu.Connection):
    """kombu's connection, which calls itself a Redis one: Flower and Celery's banners read its URL."""

    def as_uri(self, *args: Any, **kwargs: Any) -> str:
        """Return the URL with the scheme of Redis instead of the name of our transport."""
        uri = str(super().as_uri(*args, **kwargs))
        return uri.replace(f"{TRANSPORT}://", "rediss://" if self.ssl else "redis://")


class Transport(kombu_redis.Transport):
    """kombu's Redis transport over our `Channel`; named by Celery's setting ``broker_transport``."""

    Channel = Channel


def why_unreadable(item: bytes | str) -> str:
    """Return why `item` is no message as kombu writes them, or an empty string."""
    try:
        payload = json.loads(item)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    if not isinstance(payload, dict):
        return f"not a message but a {type(payload).__name__}"
    properties = payload.get("properties")
    if not isinstance(properties, dict) or "delivery_tag" not in properties:
        return "a message without properties.delivery_tag"
    if not isinstance(properties.get("delivery_info"), dict):
        return "a message without properties.delivery_info"
    if not {"exchange", "routing_key"} <= properties["delivery_info"].keys():
        return "a message whose delivery_info lacks exchange or routing_key"
    if not isinstance(payload.get("headers"), dict):
        return "a message without headers"
    if not isinstance(payload.get("body", ""), str):
        return "a message whose body is not a text"
    return ""


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
