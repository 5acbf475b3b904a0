"""Asking: reads the running system, within seconds, and changes nothing. What does not answer is `Silent`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError, ResponseError

from steadybeat.address import Address
from steadybeat.audit.live.readings import (
    CanaryRead,
    Configured,
    Difference,
    InstanceRead,
    LedgerRead,
    PostgresRead,
    Readings,
    RedisRead,
    SchemaRead,
    Silent,
    TaskRead,
    TermRead,
    WorkerRead,
)
from steadybeat.beat import definitions
from steadybeat.channel import client, client_of_schedules, clients_of_locks
from steadybeat.errors import ConfigurationError, LedgerError, UnknownQueue
from steadybeat.ledger import Ledger
from steadybeat.task.retrying import max_retries

REDIS_SECONDS = 2.0
"""How long a Redis may take to answer."""

INSPECT_SECONDS = 1.0
"""How long workers may take to answer by remote control."""

_TERMS = 5
_WRITES = ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")
_SETTINGS = (
    "max_connections", "superuser_reserved_connections", "reserved_connections", "fsync", "full_page_writes",
    "synchronous_commit", "statement_timeout", "idle_in_transaction_session_timeout",
)  # fmt: skip

_T = TypeVar("_T")


def readings(app: Any, *, workers: bool = True, schedules: bool = True) -> Readings:
    """Return everything that can be read of the running system.

    Args:
        app: A Celery app on which steadybeat is installed, with its tasks imported.
        workers: Whether workers are asked by remote control, which takes a second or two.
        schedules: Whether schedules of code and ledger are compared, which takes longer the more there are.
    """
    schema = _unless_away("Postgres", lambda: _schema(app))
    is_ready = not isinstance(schema, Silent) and not schema.pending
    behind = schema if isinstance(schema, Silent) else _behind(schema)
    return Readings(
        settings=app.steadybeat.settings,
        configured=configured(app),
        tasks=tasks(app),
        servers=_servers(app),
        postgres=_unless_away("Postgres", lambda: _postgres(app)),
        schema=schema,
        ledger=_unless_away("Postgres", lambda: _ledger(app)) if is_ready else behind,
        workers=_workers(app) if workers else _not_asked("workers"),
        differences=_not_asked("schedules") if not schedules else _differences(app) if is_ready else behind,
    )


def _not_asked(part: str) -> Silent:
    return Silent(part, "were not asked", "run `celery -A … audit --live`", answers=True)


def _behind(schema: SchemaRead) -> Silent:
    why = f"the ledger's schema is at {schema.applied or 'nothing'}, this release needs {schema.needed}"
    return Silent("ledger", why, "run `celery -A … ledger upgrade`, then this again")


def _unless_away(part: str, ask: Callable[[], _T]) -> _T | Silent:
    try:
        return ask()
    except LedgerError as error:
        return Silent(part, str(error), "start Postgres, or set STEADYBEAT_DATABASE_URL, then run this again")


# What the code and the configuration say


def configured(app: Any) -> Configured:
    """Return what Celery's configuration says."""
    conf = app.conf
    return Configured(
        visibility_seconds=float(conf.broker_transport_options["visibility_timeout"]),
        prefetch_count=int(conf.worker_prefetch_multiplier),
        soft_shutdown_seconds=float(conf.worker_soft_shutdown_timeout or 0),
        pool_count=conf.broker_pool_limit,
        queues=frozenset({*app.amqp.queues, *app.steadybeat.own_services(), *app.steadybeat.settings.services}),
    )


def tasks(app: Any) -> list[TaskRead]:
    """Return the tasks of an app, without Celery's own, by name."""
    return [_task(app, name, task) for name, task in sorted(app.tasks.items()) if not name.startswith("celery.")]


def _task(app: Any, name: str, task: Any) -> TaskRead:
    queue, why = _queue(app, name, task)
    settings, recorded = app.steadybeat.settings, bool(getattr(task, "recorded", False))
    hard = float(task.time_limit or settings.time_limit_seconds)
    key_ttl = getattr(task, "key_ttl", None)
    return TaskRead(
        name=name,
        service=app.steadybeat.service(name),
        queue=queue,
        unroutable=why,
        soft_seconds=float(task.soft_time_limit or settings.soft_time_limit_seconds),
        hard_seconds=hard,
        recorded=recorded,
        has_turns=bool(getattr(task, "lock", None)) or getattr(task, "concurrency", None) is not None,
        retry_seconds=_retry_seconds(task, settings, hard),
        key_ttl_seconds=key_ttl and key_ttl.total_seconds(),
    )


def _queue(app: Any, name: str, task: Any) -> tuple[str | None, str]:
    try:
        route = app.amqp.router.route({}, name, (), {}, task)
    except (UnknownQueue, ConfigurationError, KeyError) as error:
        return None, str(error)
    queue = route.get("queue")
    if queue is None:
        return app.conf.task_default_queue, ""
    return str(getattr(queue, "name", queue)), ""


def _retry_seconds(task: Any, settings: Any, hard: float) -> float:
    """Return how long the retries of a task may take: each pause at its longest, each attempt to its limit."""
    if task.retry_for is not None:
        return float(task.retry_for.total_seconds())
    count = max_retries(task)
    if count is None:  # bounded by expires=, which is a number of seconds or an instant
        return float(task.expires) if isinstance(task.expires, int | float) else 0.0
    longest = float(getattr(task, "retry_backoff_max", 0) or settings.retry_backoff_max_seconds)
    return count * (longest + hard)


# Redis


def _servers(app: Any) -> list[RedisRead | Silent]:
    """Return each Redis that is used, once, with what it is used for."""
    found: dict[str, tuple[list[str], Redis]] = {}
    for holds, shown, server in _clients(app):
        if shown in found:
            found[shown][0].append(holds)
            server.close()
        else:
            found[shown] = [holds], server
    return [_redis(shown, tuple(holds), server) for shown, (holds, server) in found.items()]


def _clients(app: Any) -> list[tuple[str, str, Redis]]:
    conf = app.conf
    options = conf.broker_transport_options
    broker = Address.read(conf.broker_url, "broker_url", options)
    tls = conf.broker_use_ssl if broker.sentinels or broker.url.startswith("rediss") else None
    given = options.get("sentinel_kwargs")
    schedules = Address.of_redbeat(conf.redbeat_redis_url, conf.redbeat_redis_options or {})
    return [
        ("messages", _shown(broker), client(broker, timeout_seconds=REDIS_SECONDS, sentinel_kwargs=given, tls=tls)),
        ("schedules", _shown(schedules), client_of_schedules(app, timeout_seconds=REDIS_SECONDS)),
        *(("locks", shown, server) for shown, server in clients_of_locks(app)),
    ]


def _shown(address: Address) -> str:
    return address.shown


def _redis(shown: str, holds: tuple[str, ...], server: Redis) -> RedisRead | Silent:
    try:
        with server:
            return _asked(shown, holds, server)
    except ResponseError as error:
        way_out = "let the user of its URL run INFO, TIME and CONFIG GET (ACL SETUSER)"
        return Silent(f"redis {shown}", f"refuses: {error}", way_out, answers=True)
    except RedisError as error:
        why = f"does not answer: {str(error).rstrip('.')}"
        return Silent(f"redis {shown}", why, "start it, or set STEADYBEAT_REDIS_URL, then run this again")


def _asked(shown: str, holds: tuple[str, ...], server: Redis) -> RedisRead:
    said: dict[str, Any] = server.info()
    before = datetime.now(UTC)
    whole, micro = server.time()
    after = datetime.now(UTC)
    return RedisRead(
        shown=shown,
        holds=holds,
        policy=said.get("maxmemory_policy", "noeviction"),
        used_bytes=int(said.get("used_memory", 0)),
        limit_bytes=int(said.get("maxmemory", 0)),
        machine_bytes=int(said.get("total_system_memory", 0)),
        appends=bool(said.get("aof_enabled")),
        fsync=_configured(server, "appendfsync"),
        save=_configured(server, "save"),
        writes={name: str(said[name]) for name in _WRITES if name in said},
        client_count=int(said.get("connected_clients", 0)),
        client_limit=int(said.get("maxclients") or _configured(server, "maxclients") or 10_000),
        clock_offset_seconds=_offset(datetime.fromtimestamp(whole + micro / 1e6, UTC), before, after),
    )


def _configured(server: Redis, name: str) -> str | None:
    """Return what CONFIG GET says, or None where it is refused, as managed services do."""
    try:
        found: Any = server.config_get(name)
    except ResponseError:
        return None
    return None if name not in found else str(found[name])


def _offset(there: datetime, before: datetime, after: datetime) -> float:
    """Return how far a clock is ahead of this machine's at least, as far as the way there and back can tell."""
    half = (after - before).total_seconds() / 2
    off = (there - before).total_seconds() - half
    return max(0.0, abs(off) - half) * (1 if off > 0 else -1)


# Postgres


def _postgres(app: Any) -> PostgresRead:
    ledger = Ledger.of(app)
    ledger.ping()
    before = datetime.now(UTC)
    state = ledger.server.state()
    after = datetime.now(UTC)
    return PostgresRead(
        shown=f"postgres {ledger.database.shown_url}",
        settings=ledger.server.settings(_SETTINGS),
        open_count=state.open_count,
        is_standby=state.is_standby,
        clock_offset_seconds=_offset(state.now, before, after),
    )


def _schema(app: Any) -> SchemaRead:
    found = Ledger.of(app).status()
    return SchemaRead(found.applied, found.needed, found.pending)


def _ledger(app: Any) -> LedgerRead:
    ledger = Ledger.of(app)
    leading = ledger.watched_platform.leading()
    return LedgerRead(
        now=leading.now,
        has_schedules=bool(leading.schedule_count),
        instances=[
            InstanceRead(
                id=row.id,
                role=row.role,
                called=row.node or f"{row.role}@{row.host}:{row.pid}",
                release=row.release,
                schema=row.schema_version,
                queues=frozenset(row.queues or ()),
                clock_offset_seconds=row.clock_offset_seconds,
            )
            for row in ledger.watched_platform.instances(timedelta(0))
        ],
        terms=[
            TermRead(
                term=each.term,
                instance=each.instance,
                host=each.host,
                heard_at=each.ended_at or each.renewed_at,
                has_ended=each.ended_at is not None,
            )
            for each in ledger.leaderships.latest(_TERMS)
        ],
        canaries=[
            CanaryRead(queue=row.queue, answered_at=row.answered_at, unanswered_since=row.unanswered_since)
            for row in ledger.canaries.standing()
        ],
    )


def _differences(app: Any) -> Sequence[Difference] | Silent:
    try:
        wanted, stored = definitions(app), Ledger.of(app).schedules
        changes = stored.difference(wanted, app.steadybeat.own_services())
        services = {row.name: row.service for row in [*(stored.all() if changes else ()), *wanted]}
    except ConfigurationError as error:
        return Silent("schedules", str(error), "run `celery -A … schedules check`")
    except LedgerError as error:
        return Silent("schedules", str(error), "start Postgres, then run `celery -A … schedules apply --dry-run`")
    return [
        Difference(schedule=each.name, service=services.get(each.name, ""), verb=each.verb, fields=tuple(each.fields))
        for each in changes
    ]


# Workers


def _workers(app: Any) -> Sequence[WorkerRead] | Silent:
    """Return the workers that answer; a Beat answers to nothing of this."""
    once = {"socket_timeout": REDIS_SECONDS, "socket_connect_timeout": REDIS_SECONDS, "max_retries": 0}
    try:
        with app.connection_for_write(transport_options=once) as connection:
            connection.ensure_connection(max_retries=1, timeout=REDIS_SECONDS)

            def ask(what: str, nodes: Sequence[str] | None = None) -> dict[str, Any]:
                inspect = app.control.inspect(nodes, timeout=INSPECT_SECONDS, connection=connection)
                return getattr(inspect, what)() or {}

            queues = ask("active_queues")
            nodes = sorted(queues)
            stats, registered = (ask("stats", nodes), ask("registered", nodes)) if nodes else ({}, {})
    except (OperationalError, RedisError, OSError) as error:
        return Silent("workers", f"cannot be asked: {str(error).rstrip('.')}", "start Redis, then run this again")
    return [
        _worker(node, queues[node], stats[node], registered[node])
        for node in nodes
        if node in stats and node in registered
    ]


def _worker(node: str, queues: Sequence[Any], stats: Any, registered: Sequence[str]) -> WorkerRead:
    pool = stats.get("pool") or {}
    options = (stats.get("broker") or {}).get("transport_options") or {}
    visibility = options.get("visibility_timeout")
    return WorkerRead(
        called=node,
        queues=frozenset(each["name"] for each in queues),
        tasks=frozenset(name.partition(" [")[0] for name in registered),
        process_count=int(pool.get("max-concurrency") or 1),
        pool=str(pool.get("implementation", "")).partition(":")[0].rpartition(".")[2],
        visibility_seconds=None if visibility is None else float(visibility),
    )
