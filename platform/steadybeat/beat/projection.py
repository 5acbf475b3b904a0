"""Projection: the ledger's schedules in RedBeat's keys, where RedBeat's tools look for them. Nothing is decided by it.

    redbeat:<name>        hash: ``definition`` and ``meta`` as RedBeat writes them; ``steadybeat_revision``;
                          ``steadybeat_digest`` (of the definition that we wrote, to see whether a tool has edited it);
                          ``steadybeat_spec`` (the exact rule, JSON); lives until the schedule is retired
    redbeat::schedule     sorted set: the keys above by their next fire, seconds since 1970
    redbeat::steadybeat   the newest revision that is written here; lives for ever

Entries without ``steadybeat_revision`` are RedBeat's own and are left alone. What Redis has lost, or has in an older
revision after a restore or a failover, is written again.
"""

from __future__ import annotations

import json
import logging
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Any

from celery.schedules import schedule as interval
from redbeat import schedulers as redbeat
from redbeat.decoder import RedBeatJSONEncoder
from redbeat.schedulers import RedBeatSchedulerEntry, ensure_conf
from redis.exceptions import RedisError

from steadybeat.address import REDBEAT_SENTINEL
from steadybeat.channel import client_of_schedules
from steadybeat.ledger.rows import ScheduleRow
from steadybeat.schedule import Rule, from_json, to_celery
from steadybeat.schedule.policies import Policies, policies_from_json

logger = logging.getLogger(__name__)

_BATCH = 50
LOOK_COUNT = 200


@dataclass(frozen=True, slots=True)
class Definition:
    """A schedule of the ledger, ready to be worked with."""

    row: ScheduleRow
    rule: Rule
    policies: Policies

    @classmethod
    def of(cls, row: ScheduleRow) -> Definition:
        """Return a row of the ledger with its rule and its policies read."""
        return cls(row, from_json(row.spec), policies_from_json(row.policies))


class SteadyEntry(RedBeatSchedulerEntry):
    """RedBeat's entry for a schedule of the ledger."""

    @classmethod
    def of(cls, app: Any, definition: Definition, **options: Any) -> SteadyEntry:
        """Return the entry of a schedule.

        Args:
            app: The Celery app.
            definition: The schedule.
            **options: Options of ``apply_async`` beside the schedule's own.
        """
        row = definition.row
        return cls(
            name=row.name,
            task=row.task,
            schedule=_as_celery(definition.rule, str(app.timezone)),
            args=tuple(row.args),
            kwargs=dict(row.kwargs),
            options={**row.options, **options},
            enabled=row.paused_at is None,
            app=app,
        )


def get_redis(app: Any) -> Any:
    """Return RedBeat's client of Redis.

    Of sentinels RedBeat would ask a new one at each call, without a limit to how long connecting may take. It uses
    the one that is there.
    """
    ensure_conf(app)
    known = getattr(app, redbeat.REDBEAT_REDIS_KEY, None)
    if known is None and app.redbeat_conf.redis_url.startswith(REDBEAT_SENTINEL):
        setattr(app, redbeat.REDBEAT_REDIS_KEY, client_of_schedules(app, timeout_seconds=2.0, decode_responses=True))
    return redbeat.get_redis(app)


@dataclass(frozen=True, slots=True)
class Edited:
    """An entry that one of RedBeat's tools has changed since we wrote it."""

    name: str
    definition: str


class Projection:
    """Keeps RedBeat's keys in step with the ledger, a little at each tick.

    A Redis that does not answer is no reason to stop: what could not be written is written later.

    Args:
        app: The Celery app.
        known: The schedules by name, which the caller keeps up to date.
        clock: The wall clock.
    """

    def __init__(
        self, app: Any, known: Mapping[str, Definition], clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        conf = ensure_conf(app)
        self._app = app
        self._known = known
        self._clock = clock
        self._schedule_key = conf.schedule_key
        self._revision_key = f"{conf.key_prefix}:steadybeat"
        self._unwritten: dict[str, Definition | None] = {}
        self._fired: dict[str, datetime] = {}
        self._revision = 0
        self._sweep: Iterator[str] = iter(())
        self._first = True
        self._away = False

    @property
    def pending(self) -> bool:
        """Whether there is something to write."""
        return bool(self._unwritten or self._fired)

    def change(self, definition: Definition) -> None:
        """Have a schedule written that is new or has changed."""
        self._unwritten[definition.row.name] = definition
        self._revision = max(self._revision, definition.row.revision)

    def remove(self, row: ScheduleRow) -> None:
        """Have a schedule taken away that was retired."""
        self._unwritten[row.name] = None
        self._revision = max(self._revision, row.revision)

    def fired(self, fires: Iterable[tuple[str, datetime]]) -> None:
        """Have it written when schedules fired last, and when they fire next."""
        self._fired.update(fires)

    def write(self, budget: timedelta = timedelta(days=1)) -> None:
        """Write what is pending, as far as the time suffices."""
        until = time.monotonic() + budget.total_seconds()
        try:
            if self._first:
                self._take_away_what_nobody_has()
            while self.pending and time.monotonic() < until:
                self._write_some()
        except RedisError as error:
            if not self._away:
                logger.warning("schedules not projected", extra={"error": str(error)})
            self._away = True
        else:
            self._away = False

    def restore(self) -> bool:
        """Have everything written again if Redis has lost it, or has an older state; return whether that is so."""
        if self._unwritten or not self._known:
            return False
        try:
            stored = get_redis(self._app).get(self._revision_key)
        except RedisError:
            return False
        if stored is not None and int(stored) >= self._revision:
            return False
        self._unwritten.update(self._known)
        return True

    def edited(self) -> list[Edited]:
        """Look at some of the entries, the next ones at each call; return those that one of RedBeat's tools edited.

        What is lost or older there is written again.
        """
        names = list(islice(self._sweep, LOOK_COUNT))
        if not names:
            self._sweep = iter([*self._known])
            names = list(islice(self._sweep, LOOK_COUNT))
        try:
            found = self._stored(names)
        except RedisError:
            return []
        edited = []
        for name, (text, digest, revision) in zip(names, found, strict=True):
            known = self._known.get(name)
            if known is None or name in self._unwritten:
                continue
            current = revision is not None and int(revision) == known.row.revision
            if text and current and digest != _digest(text):
                edited.append(Edited(name, text))
            elif not (text and current):
                self._unwritten[name] = known
        return edited

    def forget_edit(self, name: str) -> None:
        """Have an entry written as the ledger has it, whatever a tool made of it."""
        if name in self._known:
            self._unwritten[name] = self._known[name]

    def strangers(self) -> frozenset[str] | None:
        """Return the entries that RedBeat's own tools have made, which nothing executes; None if Redis is away."""
        client = get_redis(self._app)
        prefix = self._app.redbeat_conf.key_prefix
        try:
            if client.zcard(self._schedule_key) <= len(self._known):
                return frozenset()
            names = [str(key).removeprefix(prefix) for key, _ in client.zscan_iter(self._schedule_key, count=1000)]
            unknown = [name for name in names if name not in self._known]
            found = self._stored(unknown)
        except RedisError:
            return None
        return frozenset(name for name, (_, _, revision) in zip(unknown, found, strict=True) if revision is None)

    def _stored(self, names: Sequence[str]) -> list[tuple[str | None, str | None, str | None]]:
        """Return the definition, its digest and the revision that Redis has of each name."""
        with get_redis(self._app).pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hmget(self._key(name), "definition", "steadybeat_digest", "steadybeat_revision")
            return [tuple(answer) for answer in pipe.execute()] if names else []

    def _take_away_what_nobody_has(self) -> None:
        """Find entries of ours whose schedules were retired while no Beat led."""
        prefix = self._app.redbeat_conf.key_prefix
        keys = [str(key) for key, _ in get_redis(self._app).zscan_iter(self._schedule_key, count=1000)]
        unknown = [name for key in keys if (name := key.removeprefix(prefix)) not in self._known]
        for start in range(0, len(unknown), _BATCH):
            names = unknown[start : start + _BATCH]
            for name, (_, _, revision) in zip(names, self._stored(names), strict=True):
                if revision is not None:
                    self._unwritten.setdefault(name, None)
        self._first = False

    def _write_some(self) -> None:
        changed = list(islice(self._unwritten.items(), _BATCH))
        fired = list(islice(self._fired.items(), _BATCH)) if not changed else []
        now = self._clock()
        with get_redis(self._app).pipeline(transaction=False) as pipe:
            for name, definition in changed:
                if definition is None:
                    pipe.zrem(self._schedule_key, self._key(name))
                    pipe.delete(self._key(name))
                else:
                    self._put(pipe, definition, now)
            for name, scheduled_for in fired:
                self._note_fire(pipe, name, scheduled_for)
            if changed and len(changed) == len(self._unwritten):
                pipe.set(self._revision_key, self._revision)
            pipe.execute()
        _drop(self._unwritten, changed)
        _drop(self._fired, fired)

    def _put(self, pipe: Any, definition: Definition, now: datetime) -> None:
        entry = SteadyEntry.of(self._app, definition)
        text = definition_text(entry)
        pipe.hset(
            entry.key,
            mapping={
                "definition": text,
                "steadybeat_digest": _digest(text),
                "steadybeat_revision": definition.row.revision,
                "steadybeat_spec": json.dumps(definition.row.spec),
            },
        )
        pipe.hsetnx(entry.key, "meta", json.dumps({"last_run_at": None}))
        pipe.zadd(self._schedule_key, {entry.key: _score(definition, now)})

    def _note_fire(self, pipe: Any, name: str, scheduled_for: datetime) -> None:
        definition = self._known.get(name)
        if definition is not None:
            pipe.hset(self._key(name), "meta", json.dumps({"last_run_at": scheduled_for}, cls=RedBeatJSONEncoder))
            pipe.zadd(self._schedule_key, {self._key(name): _score(definition, scheduled_for)})

    def _key(self, name: str) -> str:
        return str(RedBeatSchedulerEntry.generate_key(self._app, name))


def _drop(pending: dict[str, Any], written: Iterable[tuple[str, Any]]) -> None:
    """Take out what was written, unless it has changed since."""
    for name, value in written:
        if pending.get(name) is value:
            pending.pop(name, None)


def project(app: Any, definitions: Mapping[str, Definition]) -> None:
    """Write schedules into RedBeat's keys, all at once; for programs that are no Beat."""
    projection = Projection(app, definitions)
    for definition in definitions.values():
        projection.change(definition)
    projection.write()


def definition_text(entry: SteadyEntry) -> str:
    """Return an entry as RedBeat stores it."""
    names = ("name", "task", "args", "kwargs", "options", "schedule", "enabled")
    return json.dumps({name: getattr(entry, name) for name in names}, cls=RedBeatJSONEncoder)


def _digest(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


def _score(definition: Definition, after: datetime) -> float:
    following = definition.rule.next_after(after) if definition.row.paused_at is None else None
    return -1.0 if following is None else following.timestamp()


@lru_cache(maxsize=4096)
def _as_celery(rule: Rule, tz: str) -> Any:
    """Return the nearest that RedBeat's encoder knows; the exact rule stands in ``steadybeat_spec``."""
    exact = to_celery(rule, tz=tz)
    if exact is not None:
        return exact
    first = rule.next_after(datetime.now(UTC))
    second = first and rule.next_after(first)
    return interval(run_every=second - first if first and second else timedelta(days=1))
