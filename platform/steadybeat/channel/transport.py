"""Transport: how messages cross Redis. kombu's channel, unable to choke on a message, and with one client for all.

kombu's own takes an item off a queue and then decodes it; an item that is no message ends the worker, and is gone.
Here it is handed to `keep_foreign` instead. kombu's own also builds a Redis client for every acknowledgement, about
a fifth of a worker's time; here a channel has one.

A URL of sentinels is all that kombu needs: `Connection` reads it whole. kombu's own loses the database that stands in
the last part, fails on the master's name in the URL, and changes to a transport of its own at the first failure.
"""

from __future__ import annotations

import base64
import functools
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import kombu
from kombu.transport import redis as kombu_redis
from kombu.utils.json import loads
from redis.exceptions import ConnectionError as RedisConnectionError

from steadybeat.address import Address, is_sentinel
from steadybeat.channel.acknowledging import QoS
from steadybeat.channel.clients import Sentinels

logger = logging.getLogger(__name__)

TRANSPORT = "steadybeat.channel:Transport"
KeepForeign = Callable[[str, bytes, str], None]
Command = tuple[str, tuple[Any, ...]]
"""A method of redis-py's client and its arguments."""

_TAKES_AN_ITEM = ("BRPOP", "RPOP")
_ASK_SECONDS = 10.0

SENTINELS = "steadybeat_sentinels"
"""Transport option: host and port of each sentinel. So copies of a connection, and those of a pool, have them too."""


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


class Kept:
    """The commands of a message that is built and not sent; kombu takes it for one of its own batches."""

    def __init__(self) -> None:
        self.commands: list[Command] = []

    def add(self, name: str, *args: Any) -> None:
        """Keep one command."""
        self.commands.append((name, args))


class Channel(kombu_redis.Channel):
    """kombu's Redis channel, which sets unreadable items aside, and can build messages that are sent later.

    The connection's ``keep_foreign`` is called with the queue, the raw bytes and the reason. When it raises, the
    item goes back to the end of its queue. Without it the channel is kombu's.
    """

    QoS = QoS
    _shared: Any = None
    _kept: Kept | None = None

    @contextmanager
    def keeping(self) -> Iterator[Kept]:
        """Keep the commands of what is published while the block runs, instead of sending them."""
        self._kept = Kept()
        try:
            yield self._kept
        finally:
            self._kept = None

    def basic_publish(self, message: Any, exchange: Any, routing_key: Any, **options: Any) -> Any:
        """Publish a message, or keep what would."""
        if self._kept is not None:
            options["_publish_batch"] = self._kept
        return super().basic_publish(message, exchange, routing_key, **options)

    def execute(self, commands: Sequence[Command]) -> None:
        """Send commands that were kept, in one go; messages for one queue stay in their order.

        Raises:
            ResponseError: Redis refused one; the others are done.
        """
        for error in self.execute_each(commands).values():
            raise error

    def execute_each(self, commands: Sequence[Command]) -> dict[str, Exception]:
        """Send commands that were kept, in one go, and return what Redis said to those it refused, by their keys."""
        pushed: dict[str, list[Any]] = defaultdict(list)
        keys: list[str] = []
        with self.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
            for name, args in commands:
                if name == "lpush":
                    pushed[args[0]].append(args[1])
                else:
                    getattr(pipe, name)(*args)
                    keys.append(args[0])
            for key, items in pushed.items():
                pipe.lpush(key, *items)
                keys.append(key)
            answers = pipe.execute(raise_on_error=False)
        return {key: answer for key, answer in zip(keys, answers, strict=True) if isinstance(answer, Exception)}

    def put_back(self, queue: str, raw: bytes) -> None:
        """Put a message on a queue as the bytes that it was, in the list of its priority where it names one."""
        priority = 0 if why_unreadable(raw) else self._get_message_priority(loads(raw.decode()))
        with self.conn_or_acquire() as client:
            client.lpush(self._q_for_pri(queue, priority), raw)

    @property
    def keep_foreign(self) -> KeepForeign | None:
        """What keeps an item that is no message."""
        keep: KeepForeign | None = getattr(self.connection.client, "keep_foreign", None)
        return keep

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

    def _connparams(self, asynchronous: bool = False) -> Any:
        """Return how to connect; for a channel that outlives its connection, fail as a lost connection does.

        kombu's own raises AttributeError there, which ends a worker while Redis restarts.
        """
        if self.connection is None or self.connection.client is None:
            raise RedisConnectionError("the connection of this channel is closed")
        return super()._connparams(asynchronous=asynchronous)

    def _reading(self, client: Any) -> Any:
        if self.keep_foreign is not None:
            client.set_aside = self._set_aside
        return client

    def _set_aside(self, key: str, item: bytes, reason: str) -> None:
        queue = key.rsplit(self.sep, 1)[0]
        try:
            assert self.keep_foreign is not None
            self.keep_foreign(queue, item, reason)
        except Exception:
            logger.exception("foreign message put back", extra={"queue": queue, "reason": reason})
            self._create_client().lpush(key or queue, item)
        else:
            logger.error("foreign message kept", extra={"queue": queue, "reason": reason})


class SentinelChannel(Channel, kombu_redis.SentinelChannel):
    """Our channel to the master that the sentinels name, asked again at each connection."""

    def _sentinel_managed_pool(self, asynchronous: bool = False) -> Any:
        login = self._connparams(asynchronous)
        del login["host"], login["port"]
        asked = Sentinels(
            self.connection.client.transport_options[SENTINELS],
            getattr(self, "sentinel_kwargs", None),
            min_other_sentinels=getattr(self, "min_other_sentinels", 0),
            **login,
        )
        if asynchronous:
            self._async_sentinel_manager = asked
        else:
            self._sentinel_manager = asked
        return asked.client(self.master_name).connection_pool


class Connection(kombu.Connection):
    """kombu's connection, which calls itself a Redis one: Flower and Celery's banners read its URL.

    Attributes:
        keep_foreign: Called with the queue, the raw bytes and the reason when an item is no message.
    """

    keep_foreign: KeepForeign | None = None

    def __init__(self, hostname: Any = "localhost", *args: Any, transport_options: Any = None, **options: Any) -> None:
        transport_options = dict(transport_options or {})
        url = ";".join(hostname) if isinstance(hostname, list | tuple) else hostname
        if is_sentinel(url):
            address = Address.read(url, "broker_url", transport_options)
            transport_options |= {"master_name": address.master_name, SENTINELS: address.sentinels}
            hostname = address.first_url
        super().__init__(hostname, *args, transport_options=transport_options, **options)

    @classmethod
    def keeping(cls, keep_foreign: KeepForeign) -> type[Connection]:
        """Return a class of connections that hand what is no message to `keep_foreign`."""
        return type("Connection", (cls,), {"keep_foreign": staticmethod(keep_foreign)})

    def as_uri(self, *args: Any, **kwargs: Any) -> str:
        """Return the URL with the scheme of Redis instead of the name of our transport; of sentinels, the first."""
        uri = str(super().as_uri(*args, **kwargs))
        if SENTINELS in self.transport_options:
            return uri.replace(f"{TRANSPORT}://", "sentinel://")
        return uri.replace(f"{TRANSPORT}://", "rediss://" if self.ssl else "redis://")


class Poller(kombu_redis.MultiChannelPoller):
    """kombu's poller, which asks without an event loop too whether a subscription is still alive.

    Beat listens for remote control without one. A server that hangs would leave it deaf for ever.
    """

    _ask_at = 0.0

    def get(self, callback: Any, timeout: float | None = None) -> Any:
        """Wait for an event."""
        now = time.monotonic()
        if now >= self._ask_at:
            self._ask_at = now + _ASK_SECONDS
            self.maybe_check_subclient_health()
        return super().get(callback, timeout)


class Transport(kombu_redis.Transport):
    """kombu's Redis transport over our channels; named by Celery's setting ``broker_transport``."""

    Channel = Channel
    _loop: Any = None
    _loop_thread: int | None = None

    def __init__(self, client: Any, **options: Any) -> None:
        if SENTINELS in client.transport_options:  # kombu's pools make connections of kombu's own class
            self.Channel = SentinelChannel
        super().__init__(client, **options)
        self.cycle = Poller()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Be served by an event loop, in the thread that it runs in."""
        self._loop, self._loop_thread = loop, threading.get_ident()
        super().register_with_event_loop(connection, loop)

    @property
    def loop_of_this_thread(self) -> Any:
        """The event loop that serves this connection, for the thread that it runs in; None for any other."""
        return self._loop if threading.get_ident() == self._loop_thread else None


def why_unreadable(item: bytes | str) -> str:
    """Return why `item` is no message as kombu writes them, or an empty string."""
    try:
        payload = loads(item if isinstance(item, str) else item.decode())
    except Exception as error:  # noqa: BLE001 - kombu's JSON calls decoders of types that the item names
        return f"not JSON: {error}"
    if not isinstance(payload, dict):
        return f"not a message but a {type(payload).__name__}"
    properties = payload.get("properties")
    if not isinstance(properties, dict) or not isinstance(properties.get("delivery_tag"), str):
        return "a message without properties.delivery_tag"
    delivery = properties.get("delivery_info")
    if not isinstance(delivery, dict):
        return "a message without properties.delivery_info"
    if not all(isinstance(delivery.get(name), str) for name in ("exchange", "routing_key")):
        return "a message whose delivery_info lacks exchange or routing_key"
    if not isinstance(payload.get("headers"), dict):
        return "a message without headers"
    return _why_no_body(payload.get("body", ""), properties.get("body_encoding"))


def _why_no_body(body: Any, encoding: Any) -> str:
    if not isinstance(body, str):
        return "a message whose body is not a text"
    if not encoding or str(encoding).lower() == "utf-8":
        return ""
    if encoding != "base64":
        return f"a message whose body_encoding is {encoding!r}"
    try:
        base64.b64decode(body)
    except ValueError as error:
        return f"a message whose body is not base64: {error}"
    return ""


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
