"""Place: a scratch database on the ledger's server, and a number of its Redis that holds nothing, both for one probe.

The live system is asked for two things only: to make a database, and which numbers of Redis are empty. A number is
taken by one key, and given back empty: `steadybeat:probe`, a text, the name of the database; gone after a day.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from typing import Any
from urllib.parse import urlsplit

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from steadybeat.address import Address
from steadybeat.channel import client
from steadybeat.errors import BrokerUnavailable, ConfigurationError
from steadybeat.ledger.scratch import ScratchDatabases

MARK = "steadybeat:probe"

_MARK_SECONDS = 86_400
_NUMBERS = range(15, 0, -1)  # a Redis has sixteen unless it is told otherwise
_TIMEOUT_SECONDS = 5.0


class Place:
    """A scratch place, until it is removed.

    Args:
        app: The live app; its servers are used, and nothing of theirs.
        template: Name of the scratch database that the new one is a copy of; an empty one unless given.

    Attributes:
        name: Of its database.
        database_url: Of its database.
        redis_url: Of its number of Redis.
        lock_urls: Of the same number of each Redis that keeps locks.

    Raises:
        ConfigurationError: Postgres makes no database, or no number of Redis is empty.
        BrokerUnavailable: Redis does not answer.
    """

    def __init__(self, app: Any, template: str | None = None) -> None:
        self._app = app
        self._databases = ScratchDatabases(app.steadybeat.settings.database_url)
        self._urls: list[str] = []
        self.name, self.database_url = self._databases.make(template)
        try:
            self.redis_url, *self.lock_urls = self._take_a_number()
        except BaseException:
            self._databases.drop(self.name)
            raise

    @property
    def environment(self) -> Mapping[str, str]:
        """What processes in it are told of its servers."""
        locks = {"STEADYBEAT_LOCK_URLS": " ".join(self.lock_urls)} if self.lock_urls else {}
        return {"STEADYBEAT_DATABASE_URL": self.database_url, "STEADYBEAT_REDIS_URL": self.redis_url, **locks}

    def remove(self) -> None:
        """Drop the database, and leave the number of Redis as empty as it was."""
        with ExitStack() as stack:
            stack.callback(self._databases.drop, self.name)
            for redis in self._clients(self._urls, stack):
                if _text(redis.get(MARK)) == self.name:
                    redis.flushdb()

    def _take_a_number(self) -> list[str]:
        live = [_live_address(self._app).url, *self._app.steadybeat.settings.lock_urls]
        try:
            for number in _NUMBERS:
                urls = [numbered(url, number) for url in live]
                with ExitStack() as stack:
                    if number != _live_address(self._app).db and self._taken(dict.fromkeys(urls), stack):
                        return urls
        except RedisError as error:
            shown = _live_address(self._app).shown
            raise BrokerUnavailable(f"Redis at {shown} does not answer: {error}", url=shown) from error
        raise ConfigurationError(
            "no number of Redis from 1 to 15 is empty: a probe needs one for its messages. Empty one of them, or point"
            " STEADYBEAT_REDIS_URL to another Redis.",
            name="redis_url",
        )

    def _taken(self, urls: Mapping[str, None], stack: ExitStack) -> bool:
        """Take a number of each Redis if it is empty in all of them."""
        clients = [*self._clients(urls, stack)]
        try:
            if any(redis.dbsize() for redis in clients):
                return False
        except ResponseError:  # this server has fewer numbers
            return False
        self._urls = [*urls]
        taken = [bool(redis.set(MARK, self.name, nx=True, ex=_MARK_SECONDS)) for redis in clients]
        if all(taken) and all(redis.dbsize() == 1 for redis in clients):
            return True
        for redis, ours in zip(clients, taken, strict=True):
            if ours:
                redis.delete(MARK)
        return False

    def _clients(self, urls: Any, stack: ExitStack) -> Iterator[Redis]:
        conf = self._app.conf
        for url in urls:
            address = Address.read(url, "steadybeat_redis_url", conf.broker_transport_options)
            tls = conf.broker_use_ssl if address.sentinels or url.startswith("rediss") else None
            kwargs = conf.broker_transport_options.get("sentinel_kwargs")
            redis = client(address, timeout_seconds=_TIMEOUT_SECONDS, sentinel_kwargs=kwargs, tls=tls)
            yield stack.enter_context(closing(redis))


def remove_left(app: Any) -> None:
    """Remove what a probe left behind that was killed before it could.

    Args:
        app: The live app.
    """
    left = {*ScratchDatabases(app.steadybeat.settings.database_url).drop_left()}
    url = _live_address(app).url
    with ExitStack() as stack:
        for number in _NUMBERS if left else ():
            address = Address.read(numbered(url, number), "steadybeat_redis_url", app.conf.broker_transport_options)
            redis = stack.enter_context(closing(client(address, timeout_seconds=_TIMEOUT_SECONDS)))
            try:
                if _text(redis.get(MARK)) in left:
                    redis.flushdb()
            except RedisError:
                return


def numbered(url: str, number: int) -> str:
    """Return a URL of Redis, or of its sentinels, with another number of its databases.

    >>> numbered("redis://:secret@cache:6379/0?protocol=3", 15)
    'redis://:secret@cache:6379/15?protocol=3'

    Raises:
        ConfigurationError: It is that of a socket, which has no place for a number.
    """
    parts = [urlsplit(part) for part in url.split(";")]
    if not all(part.hostname for part in parts):
        raise ConfigurationError(
            f"steadybeat_redis_url={url.partition(':')[0]}://…: a probe needs another number of the same Redis; write"
            " it with a host, such as redis://localhost:6379/0.",
            name="redis_url",
        )
    return ";".join(part._replace(path=f"/{number}").geturl() for part in parts)


def _live_address(app: Any) -> Address:
    return Address.read(app.conf.broker_url, "broker_url", app.conf.broker_transport_options)


def _text(value: Any) -> str | None:
    return value.decode() if isinstance(value, bytes) else value
