"""What is set in Celery's and RedBeat's configuration, where that does not say it itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steadybeat.address import Address
from steadybeat.settings import Settings

_REDBEAT = frozenset(f"{module}RedBeatScheduler" for module in (
    "redbeat.", "redbeat:", "redbeat.schedulers.", "redbeat.schedulers:",
))  # fmt: skip


def set_defaults(app: Any, settings: Settings) -> Address:
    """Set what the configuration does not say, and return where the broker is."""
    conf = app.conf
    name = "broker_url" if _is_given(conf, "broker_url") else "steadybeat_redis_url"
    url = conf.broker_url if name == "broker_url" else settings.redis_url
    address = Address.read(url, name, conf.broker_transport_options)
    defaults: dict[str, Any] = {
        "broker_url": url,
        "broker_transport": "steadybeat.channel:Transport",
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_pool_acquire_timeout": 5.0,
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "result_backend": "steadybeat.canvas:LedgerBackend",
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_create_missing_queues": False,
        "task_publish_retry_policy": {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5},
        "worker_prefetch_multiplier": 1,
        "worker_soft_shutdown_timeout": 8.0,
        "worker_send_task_events": True,
        "worker_detect_quorum_queues": False,
        "worker_consumer": "steadybeat.task:SteadyConsumer",
        "beat_scheduler": "steadybeat.beat:SteadyScheduler",
        "beat_max_loop_interval": settings.leader_poll_seconds,
        "beat_enable_remote_control": True,
        "beat_remote_control_max_tick_age": 5 * settings.health_seconds,
        "redbeat_lock_timeout": settings.leader_lock_seconds,
    }
    if conf.result_backend:  # also by `celery --result-backend`
        del defaults["result_backend"]
    for key, value in defaults.items():
        if not _is_given(conf, key) or (key == "beat_scheduler" and conf[key] in _REDBEAT):
            conf[key] = value
    # A server that hangs is left when it has answered no ping for so long: the sentinels have another by then.
    behind_sentinels = {"master_name": address.master_name, "health_check_interval": 5} if address.sentinels else {}
    conf.broker_transport_options = {
        "visibility_timeout": 3600,
        "socket_timeout": 5.0,
        "socket_connect_timeout": 3.0,
        "socket_keepalive": True,
        **behind_sentinels,
        **conf.broker_transport_options,
    }
    return address


def set_redbeat(app: Any, address: Address) -> None:
    """Point RedBeat to where the broker is, unless the configuration points it elsewhere."""
    conf = app.conf
    options = {"socket_timeout": 2.0, "socket_connect_timeout": 2.0}
    if _is_given(conf, "redbeat_redis_options"):
        options = conf.redbeat_redis_options
    url = conf.redbeat_redis_url if _is_given(conf, "redbeat_redis_url") else None
    own = Address.of_redbeat(url or "redis://", options)
    conf.redbeat_redis_url, needed = (own if url else address).redbeat(
        conf.broker_transport_options.get("sentinel_kwargs")
    )
    conf.redbeat_redis_options = {**needed, **options}


def _is_given(conf: Any, key: str) -> bool:
    """Return whether the configuration says `key` itself, under its new or its old name."""
    names: set[str] = {key, key.upper(), f"CELERY_{key.upper()}"}
    *given, _ = conf.maps
    return any(name in mapping for mapping in given if isinstance(mapping, Mapping) for name in names)
