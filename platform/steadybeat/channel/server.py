"""Server: whether a Redis may be used at all. It is asked with INFO, which managed services allow, not CONFIG."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from redis.exceptions import RedisError, ResponseError

from steadybeat.address import NO_CLUSTER, Address
from steadybeat.channel.clients import client_of_schedules, clients_of_locks
from steadybeat.errors import ConfigurationError

logger = logging.getLogger(__name__)

_KEEPS_ALL = "noeviction"


def refuse_unfit(client: Any, shown: str) -> None:
    """Refuse a Redis that deletes what it holds when memory is short, or that is a cluster.

    Sources: Redis' documentation of INFO (``maxmemory_policy``, ``cluster_enabled``); RedBeat's issues 291 (an
    evicted schedule is gone for ever) and 296 (commands that cross slots).

    Args:
        client: Of this Redis.
        shown: Its URL without a password.

    Raises:
        ConfigurationError: Names the URL, what is wrong with the server, and the command that mends it.
        RedisError: It does not answer.
    """
    try:
        said = {**client.info("cluster"), **client.info("memory")}
    except ResponseError as error:
        logger.warning("redis not checked: it refuses INFO", extra={"url": shown, "error": str(error)})
        return
    if said.get("cluster_enabled"):
        raise ConfigurationError(
            f"Redis at {shown} runs with cluster-enabled yes. {NO_CLUSTER} Point STEADYBEAT_REDIS_URL to a server"
            " without it, or to sentinels.",
            url=shown,
        )
    policy = said.get("maxmemory_policy", _KEEPS_ALL)
    if policy != _KEEPS_ALL:
        raise ConfigurationError(
            f"Redis at {shown} has maxmemory-policy {policy}: when memory is short it deletes queues, schedules and"
            f" the lock. Run `redis-cli CONFIG SET maxmemory-policy {_KEEPS_ALL}`, and write it into redis.conf or"
            " into the parameters of the managed service.",
            url=shown,
            policy=policy,
        )


def refuse_unfit_others(app: Any) -> None:
    """Refuse an unfit Redis of RedBeat's keys or of the locks, where that is not the broker's.

    One that does not answer is no reason: nothing is lost while it is away.

    Raises:
        ConfigurationError: As `refuse_unfit`.
    """
    _refuse_unfit_schedules(app)
    if app.steadybeat.settings.lock_urls:
        for shown, server in clients_of_locks(app):
            with server as client, contextlib.suppress(RedisError):
                refuse_unfit(client, shown)


def _refuse_unfit_schedules(app: Any) -> None:
    conf = app.conf
    address = Address.of_redbeat(conf.redbeat_redis_url, conf.redbeat_redis_options)
    broker = Address.read(conf.broker_url, "broker_url", conf.broker_transport_options)
    if (address.sentinels or address.url) == (broker.sentinels or broker.url):
        return
    with client_of_schedules(app, timeout_seconds=2.0) as client, contextlib.suppress(RedisError):
        refuse_unfit(client, address.shown)
