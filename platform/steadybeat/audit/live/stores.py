"""Stores: whether Redis and Postgres keep what they are given, and have room for all who ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from steadybeat.audit.live.inequality import (
    PLATFORM,
    Answer,
    cannot_be_asked,
    holds,
    inequality,
    silent,
    unknown,
    violated,
)
from steadybeat.audit.live.readings import LedgerRead, PostgresRead, Readings, RedisRead, Silent, WorkerRead, read

KEPT_SHARE = 0.8
"""So much of a limit may be taken."""

OTHER_CLIENTS = 4
"""Connections of one process to Redis beside its pool: what it consumes by, remote control, events, and locks."""

OTHER_PROCESSES = 3
"""Programs that come and go, or that are no instances: the deploy step, a command, Flower."""

_MEGABYTE = 1 << 20
_WHEN_IT_ANSWERS = "run `celery -A … audit --live` again when it answers"


def _of_each_redis(seen: Readings, ask: Callable[[RedisRead], Answer]) -> Iterable[Answer]:
    for server in seen.servers:
        yield silent(server) if isinstance(server, Silent) else ask(server)


def _called(server: RedisRead) -> str:
    return f"redis {server.shown}"


def _queues_at_risk(seen: Readings, server: RedisRead) -> set[str]:
    """Return the queues whose work a Redis takes along when it loses what it holds: the ledger does not have it."""
    unrecorded = {task.queue for task in seen.tasks if task.queue and not task.recorded and "messages" in server.holds}
    locked = {task.queue for task in seen.tasks if task.queue and task.has_turns and "locks" in server.holds}
    return unrecorded | locked


@inequality("maxmemory-policy = noeviction, of each Redis", change="maxmemory-policy in redis.conf", risk="lost")
def redis_keeps_all(seen: Readings) -> Iterable[Answer]:
    """When memory is short it deletes queues, schedules and locks; no process starts on it again."""

    def ask(server: RedisRead) -> Answer:
        evidence = f"maxmemory_policy={server.policy} (INFO memory)"
        if server.policy == "noeviction":
            return holds(_called(server), evidence)
        way_out = "run `redis-cli CONFIG SET maxmemory-policy noeviction`, and write it into redis.conf"
        return violated(_called(server), evidence, way_out, risks=True)

    return _of_each_redis(seen, ask)


@inequality(
    "appendonly = yes and appendfsync ≠ no, of each Redis",
    change="appendonly and appendfsync in redis.conf",
    risk="lost",
)
def redis_persists(seen: Readings) -> Iterable[Answer]:
    """A restart takes every message and lock along: what is recorded is rescued, late; what has recorded=False is lost,
    and a lock may have two holders until the first is told.
    """

    def ask(server: RedisRead) -> Answer:
        saves = "" if server.save is None else f', save="{server.save}"'
        evidence = f"aof_enabled={int(server.appends)} (INFO persistence), appendfsync={server.fsync or '?'}{saves}"
        if server.appends and server.fsync is None:
            way_out = "it refuses CONFIG GET: look into the parameters of the managed service for appendfsync"
            return unknown(_called(server), evidence, way_out)
        if server.appends and server.fsync != "no":
            return holds(_called(server), evidence)
        way_out = (
            "run `redis-cli CONFIG SET appendonly yes` and `… appendfsync everysec`, and write both into redis.conf"
        )
        queues = _queues_at_risk(seen, server)
        return violated(_called(server), evidence, way_out, risks=bool(queues), queues=queues or None)

    return _of_each_redis(seen, ask)


@inequality("the last writes to disk ended with ok, of each Redis", change="the disk of Redis", risk="lost")
def redis_writes_reach_disk(seen: Readings) -> Iterable[Answer]:
    """What it holds is on no disk, and it may refuse to take more."""

    def ask(server: RedisRead) -> Answer:
        evidence = ", ".join(f"{name}={how}" for name, how in sorted(server.writes.items())) + " (INFO persistence)"
        if all(how == "ok" for how in server.writes.values()):
            return holds(_called(server), evidence)
        way_out = "make room on its disk, and let the host lend memory (sysctl vm.overcommit_memory=1): see its log"
        queues = _queues_at_risk(seen, server)
        return violated(_called(server), evidence, way_out, risks=bool(queues), queues=queues or None)

    return _of_each_redis(seen, ask)


@inequality(
    f"used memory ≤ {KEPT_SHARE:.0%} of maxmemory, or of the machine's where there is none, of each Redis",
    change="maxmemory in redis.conf",
)
def redis_has_memory_left(seen: Readings) -> Iterable[Answer]:
    """It refuses to take more: messages go into the outbox, and are late."""

    def ask(server: RedisRead) -> Answer:
        limit = server.limit_bytes or server.machine_bytes
        whose = "maxmemory" if server.limit_bytes else "total_system_memory"
        used = f"used_memory={server.used_bytes / _MEGABYTE:.1f} MB"
        if not limit:
            return unknown(_called(server), f"{used}, maxmemory=0", "set maxmemory: it does not say what it may use")
        evidence = f"{used}, {whose}={limit / _MEGABYTE:.1f} MB (INFO memory)"
        if server.used_bytes <= KEPT_SHARE * limit:
            return holds(_called(server), evidence)
        needed = server.used_bytes / KEPT_SHARE / _MEGABYTE
        return violated(_called(server), evidence, f"set maxmemory to at least {needed:.0f}mb, or see what fills it")

    return _of_each_redis(seen, ask)


def _processes(ledger: LedgerRead, workers: Iterable[WorkerRead]) -> tuple[int, int]:
    """Return how many processes there are, and how many of them belong to pools."""
    forked = sum(worker.process_count for worker in workers if worker.forks)
    return len(ledger.instances) + forked + OTHER_PROCESSES, forked


@inequality(
    "maxclients ≥ processes × (broker_pool_limit + what each has besides), of each Redis",
    change="maxclients in redis.conf, broker_pool_limit",
)
def redis_has_clients_left(seen: Readings) -> Iterable[Answer]:
    """Whoever comes last is refused: a worker that cannot connect, a message that cannot be sent."""
    count, forked = _processes(read(seen.ledger), read(seen.workers))
    pool = seen.configured.pool_count

    def ask(server: RedisRead) -> Answer:
        each = (pool or 0) + OTHER_CLIENTS
        evidence = (
            f"maxclients={server.client_limit}, connected_clients={server.client_count} (INFO clients); {count}"
            f" processes, {forked} of them in pools, broker_pool_limit={pool}"
        )
        if pool is None:
            return violated(_called(server), evidence, "set broker_pool_limit to a count, such as 10")
        if count * each <= server.client_limit and server.client_count <= KEPT_SHARE * server.client_limit:
            return holds(_called(server), evidence)
        needed = max(count * each, round(server.client_count / KEPT_SHARE))
        return violated(_called(server), evidence, f"set maxclients to at least {needed}")

    return _of_each_redis(seen, ask)


@inequality(
    "clock is off Postgres' by no more than steadybeat_clock_skew_seconds, of each Redis", change="NTP on the machine"
)
def redis_clock_agrees(seen: Readings) -> Iterable[Answer]:
    """Times that RedBeat's tools show are not those of the ledger, and its machine cannot be believed in a search for
    what came first.
    """
    postgres, allowed = read(seen.postgres), seen.settings.clock_skew_seconds

    def ask(server: RedisRead) -> Answer:
        off = server.clock_offset_seconds - postgres.clock_offset_seconds
        evidence = f"TIME − clock_timestamp() = {off:+.3f} s, steadybeat_clock_skew_seconds={allowed:g}"
        if abs(off) <= allowed:
            return holds(_called(server), evidence)
        return violated(_called(server), evidence, "set its machine's clock by NTP (chronyc tracking)")

    return _of_each_redis(seen, ask)


@inequality(
    "max_connections − reserved ≥ processes × steadybeat_ledger_pool_count",
    change="max_connections of Postgres, steadybeat_ledger_pool_count",
)
def postgres_has_connections(seen: Readings) -> Iterable[Answer]:
    """Whoever comes last is refused, and pauses: with many workers at work, none of those that come starts anything."""
    postgres, pool = read(seen.postgres), seen.settings.ledger_pool_count
    count, forked = _processes(read(seen.ledger), read(seen.workers))
    reserved = postgres.number("superuser_reserved_connections") + int(
        postgres.settings.get("reserved_connections", "0")
    )
    limit = postgres.number("max_connections")
    evidence = (
        f"max_connections={limit}, {reserved} reserved, {postgres.open_count} open; {count} processes, {forked} of them"
        f" in pools, steadybeat_ledger_pool_count={pool}"
    )
    if count * pool <= limit - reserved:
        return [holds(postgres.shown, evidence)]
    least = max(1, (limit - reserved) // count)
    way_out = f"set max_connections to at least {count * pool + reserved}"
    way_out += f", or steadybeat_ledger_pool_count to {least}" if least < pool else ", or put a pooler before it"
    return [violated(postgres.shown, evidence, way_out)]


@inequality(
    "fsync = on, full_page_writes = on, synchronous_commit ≠ off",
    change="fsync, full_page_writes, synchronous_commit of Postgres",
    risk="doubled",
)
def postgres_keeps_commits(seen: Readings) -> Iterable[Answer]:
    """A crash of Postgres takes along what it said to have committed: an effect whose key is gone happens again, a run
    that was recorded is lost.
    """
    postgres = read(seen.postgres)
    wanted = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
    wrong = [name for name in wanted if postgres.settings[name] == "off"]
    evidence = ", ".join(f"{name}={postgres.settings[name]}" for name in wanted)
    if not wrong:
        return [holds(postgres.shown, evidence)]
    way_out = "; ".join(f"run `ALTER SYSTEM SET {name} = on`" for name in wrong) + "; then `SELECT pg_reload_conf()`"
    return [violated(postgres.shown, evidence, way_out, risks=True)]


@inequality("Postgres takes changes: it follows no other", change="steadybeat_database_url")
def postgres_takes_changes(seen: Readings) -> Iterable[Answer]:
    """Nothing can be recorded there, so nothing starts."""
    postgres = read(seen.postgres)
    evidence = f"pg_is_in_recovery()={str(postgres.is_standby).lower()}"
    if not postgres.is_standby:
        return [holds(postgres.shown, evidence)]
    return [violated(postgres.shown, evidence, "point steadybeat_database_url to the primary")]


@inequality(
    "0 < statement_timeout ≤ time-out of the ledger, in our sessions",
    change="a pooler that drops options of a connection; steadybeat_ledger_timeout_seconds",
)
def statements_end(seen: Readings) -> Iterable[Answer]:
    """A statement that waits holds its process up for as long: a keeper that waits gives no sign of life."""
    return _session_limit(seen, "statement_timeout", seen.settings.ledger_timeout_seconds, "ledger_timeout_seconds")


@inequality(
    "0 < idle_in_transaction_session_timeout ≤ lease, in our sessions",
    change="a pooler that drops options of a connection; idle_in_transaction_session_timeout of Postgres",
)
def idle_transactions_end(seen: Readings) -> Iterable[Answer]:
    """A process that is stopped in a transaction keeps its rows locked: whoever takes its run over waits for it."""
    return _session_limit(seen, "idle_in_transaction_session_timeout", seen.settings.lease_seconds, "lease_seconds")


def _session_limit(seen: Readings, name: str, most: float, setting: str) -> Iterable[Answer]:
    postgres = read(seen.postgres)
    found = postgres.number(name) / 1000
    evidence = f"{name}={found:g} s (of this session), steadybeat_{setting}={most:g}"
    if 0 < found <= most:
        return [holds(postgres.shown, evidence)]
    way_out = (
        f"run `ALTER ROLE … SET {name} = '{most:g}s'`: our connections ask for it themselves, and a pooler between"
        " drops that"
    )
    return [violated(postgres.shown, evidence, way_out)]


@inequality("schema of the ledger ≥ what each release that is alive needs", change="`celery -A … ledger upgrade`")
def schema_is_new_enough(seen: Readings) -> Iterable[Answer]:
    """A release meets tables or columns that are not there: it does not start, and what has started fails."""
    schema = read(seen.schema)
    evidence = f"applied={schema.applied or 'nothing'}, this release needs {schema.needed}"
    if schema.pending:
        way_out = f"run `celery -A … ledger upgrade`: it lacks {', '.join(schema.pending)}"
        return [violated(PLATFORM, evidence, way_out)]
    needs = [each for each in read(seen.ledger).instances if each.schema is not None]
    newer = [each for each in needs if schema.applied is not None and str(each.schema) > schema.applied]
    if newer:
        return [
            violated(
                each.called,
                f"applied={schema.applied}; {each.called} of release {each.release} needs {each.schema}",
                "run `celery -A … ledger upgrade` with that release",
            )
            for each in newer
        ]
    kinds = sorted({f"{each.release} needs {each.schema}" for each in needs})
    return [holds(PLATFORM, "; ".join([evidence, *kinds]))]


@inequality("each server answers", change="steadybeat_redis_url, steadybeat_database_url")
def servers_answer(seen: Readings) -> Iterable[Answer]:
    """Without Postgres nothing starts; without Redis nothing is delivered."""
    parts: list[RedisRead | PostgresRead | Silent] = [*seen.servers, seen.postgres]
    away = [each for each in parts if isinstance(each, Silent) and not each.answers]
    if away:
        return [violated(each.part, each.why, f"{each.ask}; {_WHEN_IT_ANSWERS}") for each in away]
    shown = [each.part if isinstance(each, Silent) else each.shown for each in parts]
    if not shown:
        return [cannot_be_asked(PLATFORM, "no server is configured")]
    return [holds(PLATFORM, ", ".join(shown))]
