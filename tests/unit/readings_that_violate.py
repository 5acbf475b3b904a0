"""Of each inequality of the running system, readings that violate it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from steadybeat.audit.live import Readings
from steadybeat.audit.live.readings import (
    CanaryRead,
    Difference,
    PostgresRead,
    SchemaRead,
    Silent,
)
from tests.unit.readings_of_a_shop import (
    ANSWERED,
    BEAT,
    LOCKED,
    MAIL,
    NOW,
    PAY,
    POSTGRES,
    STANDBY,
    TERM,
    WATCHDOG,
    WELL,
    WORKER,
    WRITES,
    configured,
    ledger,
    postgres,
    redis,
    settings,
    task,
    without,
)

# Of each inequality readings that violate it: the subject that is named, what its evidence and its remedy must say, and
# whether work could be lost or doubled.
VIOLATED: Mapping[str, list[tuple[Readings, str, str, str, bool]]] = {
    "visibility_outlives_attempts": [
        (
            task(PAY, hard_seconds=3595.0),
            PAY.name,
            "visibility_timeout=3600 s, worker_prefetch_multiplier=1; time_limit=3595 s, margin 5 s",
            "set broker_transport_options['visibility_timeout'] to more than 3600",
            False,
        ),
        (task(MAIL, hard_seconds=4000.0), MAIL.name, "time_limit=4000 s, margin 5 s, recorded=False", "4005", True),
        (configured(prefetch_count=6), PAY.name, "worker_prefetch_multiplier=6", "to more than 3630", False),
        (
            configured(prefetch_count=0),
            PAY.name,
            "worker_prefetch_multiplier=0",
            "worker_prefetch_multiplier to 1",
            False,
        ),
    ],
    "soft_limits_leave_time": [
        (task(PAY, soft_seconds=600.0), PAY.name, "soft_time_limit=600 s, time_limit=600 s", "to less than 600", False)
    ],
    "lease_margin_outlives_kills": [
        (settings(lease_margin_seconds=0.9), "platform", "lease_margin_seconds=0.9", "to at least 1", True)
    ],
    "leases_outlive_signs_of_life": [
        (
            settings(lease_seconds=9.0),
            "platform",
            "lease_seconds=9",
            "set steadybeat_lease_seconds to more than 9",
            True,
        ),
        (settings(ledger_timeout_seconds=11.0), "platform", "ledger_timeout_seconds=11", "to more than 15", True),
    ],
    "locks_outlive_extensions": [
        (
            settings(lock_timeout_seconds=4.43),
            "1 tasks with locks",
            "lock_timeout_seconds=4.43",
            "to less than 4.42",
            True,
        ),
        (
            settings(lock_timeout_seconds=1.5, lock_urls=("redis://a", "redis://b", "redis://c")),
            "1 tasks with locks",
            "3 lock servers",
            "to less than 1.47",
            True,
        ),
    ],
    "leader_lock_outlives_polls": [
        (settings(leader_poll_seconds=1.0), "platform", "leader_poll_seconds=1", "to more than 3", False)
    ],
    "alarms_outlast_failovers": [
        (
            settings(leaderless_seconds=5.5),
            "steadybeat_leaderless_seconds",
            "a failover 5.5 s",
            "steadybeat_leaderless_seconds to more than 5.5",
            False,
        ),
        (settings(missed_seconds=5.0), "steadybeat_missed_seconds", "missed_seconds=5", "to more than 5.5", False),
    ],
    "shutdowns_let_work_finish": [
        (configured(soft_shutdown_seconds=0.0), "platform", "soft_shutdown_timeout=0", "to some seconds", False)
    ],
    "shutdowns_fit_their_grace": [
        (settings(stop_grace_seconds=18.0), "platform", "stop_grace_seconds=18", "wait for more than 18 s", False)
    ],
    "keys_outlive_messages": [
        (
            settings(retention_seconds=20405.0),
            PAY.name,
            "steadybeat_retention_seconds=20405; a message may come back after 20405 s",
            "set steadybeat_retention_seconds to more than 20405",
            True,
        ),
        (task(PAY, retry_seconds=30 * 86400.0), PAY.name, "2610605 s", "to more than 2610605", True),
    ],
    "key_ttls_outlive_messages": [
        (task(LOCKED, key_ttl_seconds=3600.0), LOCKED.name, "key_ttl=3600 s", "to more than 20405 s", True)
    ],
    "redis_keeps_all": [
        (redis(policy="allkeys-lru"), "redis redis://one/0", "maxmemory_policy=allkeys-lru", "noeviction", True)
    ],
    "redis_persists": [
        (
            redis(appends=False, save="3600 1"),
            "redis redis://one/0",
            'aof_enabled=0 (INFO persistence), appendfsync=everysec, save="3600 1"',
            "appendonly yes",
            True,
        ),
        (redis(fsync="no"), "redis redis://one/0", "appendfsync=no", "appendfsync everysec", True),
        (replace(redis(appends=False), tasks=(PAY,)), "redis redis://one/0", "aof_enabled=0", "appendonly yes", False),
        (redis(appends=False, holds=("schedules",)), "redis redis://one/0", "aof_enabled=0", "appendonly yes", False),
    ],
    "redis_writes_reach_disk": [
        (
            redis(writes={**WRITES, "aof_last_write_status": "err"}),
            "redis redis://one/0",
            "aof_last_write_status=err",
            "room on its disk",
            True,
        )
    ],
    "redis_has_memory_left": [
        (
            redis(used_bytes=81 << 20, limit_bytes=100 << 20),
            "redis redis://one/0",
            "used_memory=81.0 MB, maxmemory=100.0 MB",
            "at least 101mb",
            False,
        ),
        (redis(used_bytes=900, limit_bytes=0), "redis redis://one/0", "total_system_memory", "set maxmemory", False),
    ],
    "redis_has_clients_left": [
        (
            redis(client_limit=125),
            "redis redis://one/0",
            "9 processes, 2 of them in pools",
            "maxclients to at least 126",
            False,
        ),
        (
            redis(client_limit=1000, client_count=801),
            "redis redis://one/0",
            "connected_clients=801",
            "at least 1001",
            False,
        ),
        (
            configured(pool_count=None),
            "redis redis://one/0",
            "broker_pool_limit=None",
            "broker_pool_limit to a count",
            False,
        ),
    ],
    "redis_clock_agrees": [
        (redis(clock_offset_seconds=-1.1), "redis redis://one/0", "= -1.100 s", "NTP", False),
        (
            replace(WELL, postgres=PostgresRead(shown="p", settings=POSTGRES, clock_offset_seconds=2.0)),
            "redis redis://one/0",
            "= -2.000 s",
            "NTP",
            False,
        ),
    ],
    "postgres_has_connections": [
        (
            postgres(max_connections="47"),
            "postgres one",
            "max_connections=47, 3 reserved, 1 open; 9 processes, 2 of them in pools, steadybeat_ledger_pool_count=5",
            "set max_connections to at least 48, or steadybeat_ledger_pool_count to 4",
            False,
        ),
        (postgres(reserved_connections="53"), "postgres one", "56 reserved", "at least 101", False),
        (postgres(max_connections="5"), "postgres one", "max_connections=5", "ledger_pool_count to 1", False),
    ],
    "postgres_keeps_commits": [
        (postgres(**{name: "off"}), "postgres one", f"{name}=off", f"ALTER SYSTEM SET {name} = on", True)
        for name in ("fsync", "full_page_writes", "synchronous_commit")
    ],
    "postgres_takes_changes": [
        (
            replace(WELL, postgres=PostgresRead(shown="p", settings=POSTGRES, is_standby=True)),
            "p",
            "pg_is_in_recovery()=true",
            "to the primary",
            False,
        )
    ],
    "statements_end": [
        (postgres(statement_timeout="0"), "postgres one", "statement_timeout=0 s", "statement_timeout = '5s'", False),
        (postgres(statement_timeout="5001"), "postgres one", "statement_timeout=5.001 s", "ALTER ROLE", False),
    ],
    "idle_transactions_end": [
        (postgres(idle_in_transaction_session_timeout="0"), "postgres one", "timeout=0 s", "timeout = '15s'", False),
        (postgres(idle_in_transaction_session_timeout="15001"), "postgres one", "15.001 s", "ALTER ROLE", False),
    ],
    "schema_is_new_enough": [
        (
            replace(WELL, schema=SchemaRead("0004", "0005", ("0005",))),
            "platform",
            "applied=0004",
            "it lacks 0005",
            False,
        ),
        (
            ledger(instances=(replace(WORKER, schema="0006", release="2.0"),)),
            "money@a",
            "money@a of release 2.0 needs 0006",
            "with that release",
            False,
        ),
    ],
    "servers_answer": [
        (
            replace(WELL, servers=(Silent("redis redis://one/0", "does not answer: refused", "start it"),)),
            "redis redis://one/0",
            "does not answer: refused",
            "start it; run `celery -A … audit --live` again",
            False,
        ),
        (replace(WELL, postgres=Silent("Postgres", "is away", "start it")), "Postgres", "is away", "start it", False),
    ],
    "clocks_agree": [
        (
            ledger(instances=(replace(WORKER, clock_offset_seconds=-1.5),)),
            "money@a",
            "clock_offset_seconds=-1.5",
            "NTP",
            False,
        )
    ],
    "beats_are_two": [
        (without(STANDBY), "platform", "1 alive (instances): beat@a:1", "start `celery -A … beat`", False)
    ],
    "a_watchdog_watches": [
        (without(WATCHDOG), "platform", "0 alive (instances): none", "start `celery -A … watchdog`", False)
    ],
    "one_beat_leads": [
        (ledger(terms=()), "platform", "no Beat has ever led", "start `celery -A … beat`", False),
        (
            ledger(terms=(replace(TERM, has_ended=True),)),
            "platform",
            "last: term 7 of a",
            "start `celery -A … beat`",
            False,
        ),
        (
            ledger(terms=(replace(TERM, heard_at=NOW - timedelta(seconds=11)),)),
            "platform",
            "heard of 11 s ago",
            "start",
            False,
        ),
        (without(BEAT), "platform", "last: term 7 of a", "start", False),
        (
            ledger(terms=(replace(TERM, term=8, instance="c", host="b"), TERM)),
            "platform",
            "term 8 of b heard of 1.0 s ago; term 7 of a heard of",
            "see the logs of both",
            False,
        ),
    ],
    "canaries_are_answered": [
        (
            ledger(canaries=(CanaryRead(queue="money", unanswered_since=NOW - timedelta(seconds=121)),)),
            "money",
            "unanswered for 2 min (canaries)",
            "celery -A … inspect active",
            False,
        )
    ],
    "workers_answer": [
        (replace(WELL, workers=()), "money@a", "alive (instances), and no answer", "celery -A … health worker", False),
        (without(WORKER), "money@a", "answers (inspect), and is not alive", "STEADYBEAT_DATABASE_URL", False),
    ],
    "queues_have_consumers": [
        (
            ledger(instances=(replace(WORKER, queues=frozenset({"money"})),)),
            "mail",
            "1 task (shop.mail.send); consumed are money (instances)",
            "start `celery -A … worker -Q mail`",
            False,
        )
    ],
    "services_have_workers": [
        (without(WORKER), "mail", "no worker that lives consumes mail", "start `celery -A … worker -Q mail`", False)
    ],
    "routes_are_declared": [
        (
            task(PAY, queue=None, unroutable="queue='mony': there is no such queue."),
            PAY.name,
            "queue='mony'",
            "name a queue in task_routes",
            False,
        )
    ],
    "consumers_know_their_tasks": [
        (
            replace(WELL, workers=(replace(ANSWERED, tasks=frozenset({PAY.name, LOCKED.name})),)),
            "money@a",
            "consumes mail, has no shop.mail.send (inspect registered)",
            "start it with this release",
            True,
        )
    ],
    "workers_agree_on_visibility": [
        (
            replace(WELL, workers=(replace(ANSWERED, visibility_seconds=5.0),)),
            "money@a",
            "visibility_timeout=5 s (inspect stats), here 3600 s",
            "['visibility_timeout']=3600",
            True,
        ),
        (
            replace(WELL, workers=(replace(ANSWERED, visibility_seconds=7200.0),)),
            "money@a",
            "visibility_timeout=7200 s",
            "or run this with its settings",
            False,
        ),
    ],
    "pools_enforce_limits": [
        (replace(WELL, workers=(replace(ANSWERED, pool="thread"),)), "money@a", "pool thread", "-P prefork", True)
    ],
    "schedules_are_applied": [
        (
            replace(
                WELL, differences=(Difference(schedule="nightly", service="money", verb="changed", fields=("spec",)),)
            ),
            "schedules of money",
            "would change 1 schedule: nightly changed spec",
            "run `celery -A … schedules apply`",
            False,
        )
    ],
    "guarded_queues_are_declared": [
        (
            settings(guarded_queues=("mony",)),
            "steadybeat_guarded_queues='mony'",
            "declared are mail, money",
            "Did you mean 'money'?",
            False,
        )
    ],
}
