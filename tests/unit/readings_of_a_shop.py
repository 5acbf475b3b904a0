"""Readings of a running system in which all is well, and what makes others of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from steadybeat.audit.live import Readings
from steadybeat.audit.live.readings import (
    CanaryRead,
    Configured,
    InstanceRead,
    LedgerRead,
    PostgresRead,
    RedisRead,
    SchemaRead,
    TaskRead,
    TermRead,
    WorkerRead,
)
from steadybeat.settings import Settings

NOW = datetime(2026, 3, 1, 6, tzinfo=UTC)
WRITES = {"aof_last_write_status": "ok", "rdb_last_bgsave_status": "ok"}
POSTGRES = {
    "max_connections": "100",
    "superuser_reserved_connections": "3",
    "reserved_connections": "0",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "statement_timeout": "5000",
    "idle_in_transaction_session_timeout": "5000",
}

PAY = TaskRead(
    name="shop.money.pay", service="money", queue="money", soft_seconds=540.0, hard_seconds=600.0, retry_seconds=1800.0
)
LOCKED = replace(PAY, name="shop.money.refund", has_turns=True, key_ttl_seconds=7 * 86400.0)
MAIL = replace(PAY, name="shop.mail.send", service="mail", queue="mail", recorded=False)

WORKER = InstanceRead(
    id="w",
    role="worker",
    called="money@a",
    schema="0005",
    queues=frozenset({"money", "mail"}),
    clock_offset_seconds=0.1,
)
BEAT = InstanceRead(id="b", role="beat", called="beat@a:1", schema="0005", clock_offset_seconds=-0.2)
STANDBY = replace(BEAT, id="c", called="beat@b:1", clock_offset_seconds=None)
WATCHDOG = replace(BEAT, id="d", role="watchdog", called="watchdog@a:2")
TERM = TermRead(term=7, instance="b", host="a", heard_at=NOW - timedelta(seconds=1))
LEDGER = LedgerRead(
    now=NOW,
    instances=(WORKER, BEAT, STANDBY, WATCHDOG),
    terms=(TERM,),
    canaries=(CanaryRead(queue="money", answered_at=NOW), CanaryRead(queue="mail", answered_at=NOW)),
)
ANSWERED = WorkerRead(
    called="money@a",
    queues=WORKER.queues,
    tasks=frozenset({PAY.name, LOCKED.name, MAIL.name}),
    process_count=2,
    visibility_seconds=3600.0,
)
REDIS = RedisRead(
    shown="redis://one/0",
    holds=("messages", "schedules", "locks"),
    used_bytes=10,
    limit_bytes=100,
    machine_bytes=1000,
    writes=WRITES,
)
CONFIGURED = Configured(
    visibility_seconds=3600.0,
    prefetch_count=1,
    soft_shutdown_seconds=8.0,
    pool_count=10,
    queues=frozenset({"money", "mail"}),
)
WELL = Readings(
    settings=Settings(stop_grace_seconds=30.0, guarded_queues=("money",)),
    configured=CONFIGURED,
    tasks=(PAY, LOCKED, MAIL),
    servers=(REDIS,),
    postgres=PostgresRead(shown="postgres one", settings=POSTGRES),
    schema=SchemaRead("0005", "0005"),
    ledger=LEDGER,
    workers=(ANSWERED,),
    differences=(),
)


def settings(**changes: Any) -> Readings:
    return replace(WELL, settings=replace(WELL.settings, **changes))


def configured(**changes: Any) -> Readings:
    return replace(WELL, configured=replace(CONFIGURED, **changes))


def task(one: TaskRead, **changes: Any) -> Readings:
    return replace(WELL, tasks=tuple(replace(each, **changes) if each == one else each for each in WELL.tasks))


def redis(**changes: Any) -> Readings:
    return replace(WELL, servers=(replace(REDIS, **changes),))


def postgres(**changes: str) -> Readings:
    return replace(WELL, postgres=PostgresRead(shown="postgres one", settings={**POSTGRES, **changes}))


def ledger(**changes: Any) -> Readings:
    return replace(WELL, ledger=replace(LEDGER, **changes))


def without(*gone: InstanceRead) -> Readings:
    return ledger(instances=tuple(each for each in LEDGER.instances if each not in gone))
