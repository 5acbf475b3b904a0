"""Readings: what was read of the running system, before anything is said of it. Plain values; nothing here asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from steadybeat.settings import Settings

_Part = TypeVar("_Part")


@dataclass(frozen=True, slots=True)
class Silent:
    """A part that could not be read.

    Attributes:
        part: What it is called.
        why: What it said instead, in one line.
        ask: What to run, or to set, to know it.
        answers: Whether it is there, and only does not tell.
    """

    part: str
    why: str
    ask: str
    answers: bool = False


class NotRead(Exception):
    """What is asked cannot be known, since a part could not be read."""

    def __init__(self, silent: Silent) -> None:
        self.silent = silent
        super().__init__(silent.why)


def read(part: _Part | Silent) -> _Part:
    """Return a part that was read.

    Raises:
        NotRead: It was not.
    """
    if isinstance(part, Silent):
        raise NotRead(part)
    return part


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRead:
    """A task, as the code and the configuration say it.

    Attributes:
        queue: Where it is sent; None where no route leads anywhere.
        unroutable: Why, there.
        soft_seconds: Its soft time limit.
        hard_seconds: Its hard time limit.
        recorded: Whether the ledger stands between a second delivery and its code.
        has_turns: Whether it takes a lock, or a place of ``concurrency=``.
        retry_seconds: How long its retries may take, pauses and attempts together.
        key_ttl_seconds: How long its processed keys hold; None: as long as all.
    """

    name: str
    service: str
    queue: str | None
    unroutable: str = ""
    soft_seconds: float
    hard_seconds: float
    recorded: bool = True
    has_turns: bool = False
    retry_seconds: float = 0.0
    key_ttl_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """What Celery's configuration says.

    Attributes:
        visibility_seconds: After so long Redis' transport delivers again what was not acknowledged.
        prefetch_count: Messages that a process of a pool takes at a time; 0: as many as there are.
        soft_shutdown_seconds: How long work may go on in a worker that was told to end.
        pool_count: Connections to Redis that a process may hold for sending; None: without a bound.
        queues: Those that the app declares.
    """

    visibility_seconds: float
    prefetch_count: int
    soft_shutdown_seconds: float
    pool_count: int | None
    queues: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisRead:
    """One Redis, as INFO and CONFIG say it.

    Attributes:
        shown: Its URL without a password.
        holds: What it is for: ``messages``, ``schedules``, ``locks``.
        policy: ``maxmemory-policy``.
        used_bytes: Memory that its data take.
        limit_bytes: ``maxmemory``; 0: none.
        machine_bytes: Memory of its machine; 0: not known.
        appends: Whether it keeps an append-only file.
        fsync: ``appendfsync``; None where it refuses to say.
        save: When it writes snapshots; None where it refuses to say.
        writes: How its writes to disk ended last, by the name that INFO has for each.
        client_count: Connections that are open.
        client_limit: How many it accepts.
        clock_offset_seconds: Its clock less that of this machine, as far as the way there and back can tell.
    """

    shown: str
    holds: tuple[str, ...]
    policy: str = "noeviction"
    used_bytes: int = 0
    limit_bytes: int = 0
    machine_bytes: int = 0
    appends: bool = True
    fsync: str | None = "everysec"
    save: str | None = ""
    writes: Mapping[str, str]
    client_count: int = 1
    client_limit: int = 10_000
    clock_offset_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresRead:
    """The Postgres of the ledger.

    Attributes:
        shown: Its URL without a password.
        settings: By name, as ``pg_settings`` has them.
        open_count: Connections that are open, of whomever.
        is_standby: Whether it takes no change.
        clock_offset_seconds: Its clock less that of this machine, as far as the way there and back can tell.
    """

    shown: str
    settings: Mapping[str, str]
    open_count: int = 1
    is_standby: bool = False
    clock_offset_seconds: float = 0.0

    def number(self, name: str) -> int:
        """Return a setting that is a number."""
        return int(self.settings[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRead:
    """A process that is alive.

    Attributes:
        called: A worker as Celery calls it.
        schema: The newest migration that its release needs.
        queues: What a worker consumes from.
        clock_offset_seconds: Its clock less Postgres'; None where it has not measured that yet.
    """

    id: str
    role: str
    called: str
    release: str = ""
    schema: str | None = None
    queues: frozenset[str] = frozenset()
    clock_offset_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TermRead:
    """A leadership: which Beat it is of, when it was last heard of, and whether it has ended."""

    term: int
    instance: str
    host: str
    heard_at: datetime
    has_ended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryRead:
    """A queue that is asked whether somebody consumes: since when it has not answered, if it has not."""

    queue: str
    answered_at: datetime | None = None
    unanswered_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRead:
    """What the ledger says of who is there.

    Attributes:
        now: By Postgres' clock.
        terms: The latest leaderships, the newest first.
        has_schedules: Whether there is any that is not paused.
    """

    now: datetime
    instances: Sequence[InstanceRead] = ()
    terms: Sequence[TermRead] = ()
    canaries: Sequence[CanaryRead] = ()
    has_schedules: bool = True

    def alive(self, role: str) -> list[InstanceRead]:
        """Return the processes of a role that live."""
        return [each for each in self.instances if each.role == role]


@dataclass(frozen=True, slots=True)
class SchemaRead:
    """The ledger's schema: the migration that it has, the one that this code needs, and those that lack."""

    applied: str | None
    needed: str
    pending: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRead:
    """A worker that has answered by remote control.

    Attributes:
        called: As Celery calls it.
        queues: What it consumes from.
        tasks: What it has the code of.
        process_count: Processes, or threads, of its pool.
        pool: What its attempts run in: ``prefork``, ``thread``, ``solo``.
        visibility_seconds: After so long it delivers again what nobody acknowledged; None where it does not say.
    """

    called: str
    queues: frozenset[str]
    tasks: frozenset[str]
    process_count: int = 1
    pool: str = "prefork"
    visibility_seconds: float | None = None

    @property
    def forks(self) -> bool:
        """Whether its attempts run in processes, which can be ended, and have connections of their own."""
        return self.pool == "prefork"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A schedule that the ledger has otherwise than the code: what an apply would do to it, and where it differs."""

    schedule: str
    service: str
    verb: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """Everything that was read, or what kept it from being read.

    Attributes:
        settings: Of this program.
        configured: Celery's.
        tasks: Those of this program's code, without Celery's own.
        servers: Each Redis that is used.
        postgres: That of the ledger.
        schema: Of the ledger.
        ledger: What it says.
        workers: Those that have answered.
        differences: Schedules that the ledger has otherwise than the code.
    """

    settings: Settings
    configured: Configured
    tasks: Sequence[TaskRead]
    servers: Sequence[RedisRead | Silent]
    postgres: PostgresRead | Silent
    schema: SchemaRead | Silent
    ledger: LedgerRead | Silent
    workers: Sequence[WorkerRead] | Silent
    differences: Sequence[Difference] | Silent

    def queues_wanted(self) -> dict[str, list[TaskRead]]:
        """Return the queues that tasks are sent to, each with those tasks."""
        found: dict[str, list[TaskRead]] = {}
        for task in self.tasks:
            if task.queue is not None:
                found.setdefault(task.queue, []).append(task)
        return found
