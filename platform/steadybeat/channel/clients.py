"""Clients: how Redis is opened. One server by its URL, or the master that the sentinels name at each connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from steadybeat.address import Address

_ASK_SECONDS = 1.0


class Sentinels(Sentinel):
    """redis-py's sentinels. Where there is no master they say why, in one line without options of a connection.

    Args:
        nodes: Host and port of each.
        given: How to connect to them: ``sentinel_kwargs`` of ``broker_transport_options``, such as their password.
        **connection: How to connect to the master.
    """

    def __init__(
        self, nodes: Iterable[tuple[str, int]], given: Mapping[str, Any] | None = None, **connection: Any
    ) -> None:
        patience = {"socket_timeout": _ASK_SECONDS, "socket_connect_timeout": _ASK_SECONDS}
        # redis-py would try one that is away four times, over several seconds, and a failover often takes one along.
        asking = {**patience, "retry": Retry(NoBackoff(), 0), **(given or {})}
        super().__init__(list(nodes), sentinel_kwargs=asking, **connection)  # type: ignore[no-untyped-call]

    def client(self, master_name: str, **connection: Any) -> Redis:
        """Return a client of the master, whichever that is when it connects."""
        return self.master_for(master_name, **connection)  # type: ignore[no-untyped-call]

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return host and port of the master.

        Raises:
            MasterNotFoundError: What each sentinel says. While a failover is under way none has a master.
        """
        said = []
        for number, sentinel in enumerate(self.sentinels):
            options = sentinel.connection_pool.connection_kwargs
            try:
                masters: Any = sentinel.sentinel_masters()
            except RedisError as error:
                said.append(f"{options['host']}:{options['port']} answers: {error}")
                continue
            state = masters.get(service_name)
            if state and self.check_master_state(state, service_name):  # type: ignore[no-untyped-call]
                self.sentinels[0], self.sentinels[number] = sentinel, self.sentinels[0]  # the next to be asked first
                return str(state["ip"]), int(state["port"])
            known = "has it down" if state else f"knows {', '.join(map(repr, masters)) or 'none'}"
            said.append(f"{options['host']}:{options['port']} {known}")
        raise MasterNotFoundError(f"no master {service_name!r}: {'; '.join(said)}")


def client(
    address: Address,
    *,
    timeout_seconds: float,
    sentinel_kwargs: Mapping[str, Any] | None = None,
    tls: Any = None,
    **options: Any,
) -> Redis:
    """Return a client that tries once and connects when it is first used.

    Args:
        address: Where Redis is.
        timeout_seconds: How long to connect may take, and how long an answer.
        sentinel_kwargs: How to connect to the sentinels themselves, as `Sentinels` takes it.
        tls: redis-py's options of TLS, as Celery's ``broker_use_ssl`` has them; anything else means none.
        **options: Of redis-py's connections.
    """
    options = {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "retry": Retry(NoBackoff(), 0),
        **(dict(tls) if isinstance(tls, Mapping) else {}),
        **options,
    }
    if not address.sentinels:
        return Redis.from_url(address.url, **options)
    login = {"username": address.username, "password": address.password, "db": address.db}
    asked = Sentinels(address.sentinels, sentinel_kwargs, **login, **options)
    over_tls = {"ssl": True} if isinstance(tls, Mapping) else {}
    return asked.client(address.master_name, **over_tls)


def client_of_schedules(app: Any, *, timeout_seconds: float, **options: Any) -> Redis:
    """Return a client of the Redis that has RedBeat's keys and the lock of the Beat that leads.

    Args:
        app: A Celery app on which steadybeat is installed.
        timeout_seconds: How long to connect may take, and how long an answer.
        **options: Of redis-py's connections.
    """
    conf = app.conf
    redbeat = conf.redbeat_redis_options or {}
    address = Address.of_redbeat(conf.redbeat_redis_url, redbeat)
    tls = conf.get("redbeat_redis_use_ssl") or conf.broker_use_ssl
    if not (address.sentinels or address.url.startswith("rediss")):
        tls = None
    return client(
        address, timeout_seconds=timeout_seconds, sentinel_kwargs=redbeat.get("sentinel_kwargs"), tls=tls, **options
    )


def clients_of_locks(app: Any) -> list[tuple[str, Redis]]:
    """Return a client of each Redis that keeps the locks of tasks, beside its URL without a password.

    Those that ``steadybeat_lock_urls`` lists, or else the one that has RedBeat's keys.

    Args:
        app: A Celery app on which steadybeat is installed.
    """
    settings = app.steadybeat.settings
    addresses = [Address.read(url, "steadybeat_lock_urls") for url in settings.lock_urls]
    if addresses:
        return [(each.shown, client(each, timeout_seconds=settings.lock_timeout_seconds)) for each in addresses]
    shown = Address.of_redbeat(app.conf.redbeat_redis_url, app.conf.redbeat_redis_options or {}).shown
    return [(shown, client_of_schedules(app, timeout_seconds=settings.lock_timeout_seconds))]
