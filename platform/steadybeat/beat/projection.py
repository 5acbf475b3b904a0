"""Projection: the ledger's schedules in RedBeat's keys, where RedBeat's tools look for them. Nothing is decided by it.

    redbeat:<name>      hash: ``definition`` and ``meta`` as RedBeat writes them, ``steadybeat_revision`` and
                        ``steadybeat_spec`` (the exact rule, JSON); lives until the schedule is retired
    redbeat::schedule   sorted set: the keys above by their next fire, seconds since 1970

Entries without ``steadybeat_revision`` are RedBeat's own and are left alone.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from celery.schedules import schedule as interval
from redbeat import schedulers as redbeat
from redbeat.decoder import RedBeatJSONEncoder
from redbeat.schedulers import RedBeatSchedulerEntry
from redis.exceptions import RedisError

from steadybeat.address import REDBEAT_SENTINEL
from steadybeat.channel import client_of_schedules
from steadybeat.ledger.rows import ScheduleRow
from steadybeat.schedule import Rule, to_celery

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Definition:
    """A schedule of the ledger, ready to be worked with."""

    row: ScheduleRow
    rule: Rule


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
            app=app,
        )


def get_redis(app: Any) -> Any:
    """Return RedBeat's client of Redis.

    Of sentinels RedBeat would ask a new one at each call, without a limit to how long connecting may take. It uses
    the one that is there.
    """
    redbeat.ensure_conf(app)
    known = getattr(app, redbeat.REDBEAT_REDIS_KEY, None)
    if known is None and app.redbeat_conf.redis_url.startswith(REDBEAT_SENTINEL):
        setattr(app, redbeat.REDBEAT_REDIS_KEY, client_of_schedules(app, timeout_seconds=2.0, decode_responses=True))
    return redbeat.get_redis(app)


class Projection:
    """Keeps RedBeat's keys in step with the ledger. A Redis that does not answer is no reason to stop."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def lost(self) -> bool:
        """Return whether Redis has none of the keys: it was emptied."""
        try:
            return not get_redis(self._app).exists(self._app.redbeat_conf.schedule_key)
        except RedisError:
            return False

    def strangers(self) -> frozenset[str]:
        """Return the entries that RedBeat's own tools have made, which nothing executes; none if Redis is away."""
        client, conf = get_redis(self._app), self._app.redbeat_conf
        try:
            ours = self._revisions(client, conf.schedule_key)
        except RedisError:
            return frozenset()
        return frozenset(str(key).removeprefix(conf.key_prefix) for key, revision in ours.items() if not revision)

    @staticmethod
    def _revisions(client: Any, schedule_key: str) -> dict[Any, Any]:
        """Return every entry's key and the revision that we have written there, or None."""
        keys = client.zrange(schedule_key, 0, -1)
        with client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hget(key, "steadybeat_revision")
            return dict(zip(keys, pipe.execute(), strict=True))

    def write(self, definitions: Mapping[str, Definition]) -> None:
        """Write every schedule, and take away those that the ledger has no more."""
        client, key = get_redis(self._app), self._app.redbeat_conf.schedule_key
        now = datetime.now(UTC)
        try:
            ours = {each for each, revision in self._revisions(client, key).items() if revision}
            with client.pipeline(transaction=False) as pipe:
                for definition in definitions.values():
                    ours.discard(self._put(pipe, definition, now))
                for entry_key in ours:
                    pipe.zrem(key, entry_key)
                    pipe.delete(entry_key)
                pipe.execute()
        except RedisError as error:
            logger.warning("schedules not projected", extra={"error": str(error)})

    def fired(self, fires: Iterable[tuple[Definition, datetime]]) -> None:
        """Write when schedules fired last, and when they fire next."""
        key = self._app.redbeat_conf.schedule_key
        try:
            with get_redis(self._app).pipeline(transaction=False) as pipe:
                for definition, scheduled_for in fires:
                    entry_key = RedBeatSchedulerEntry.generate_key(self._app, definition.row.name)
                    pipe.hset(entry_key, "meta", json.dumps({"last_run_at": scheduled_for}, cls=RedBeatJSONEncoder))
                    pipe.zadd(key, {entry_key: _score(definition.rule, scheduled_for)})
                pipe.execute()
        except RedisError as error:
            logger.warning("schedules not projected", extra={"error": str(error)})

    def _put(self, pipe: Any, definition: Definition, now: datetime) -> str:
        entry = SteadyEntry.of(self._app, definition)
        written = {
            "name": entry.name,
            "task": entry.task,
            "args": entry.args,
            "kwargs": entry.kwargs,
            "options": entry.options,
            "schedule": entry.schedule,
            "enabled": True,
        }
        pipe.hset(
            entry.key,
            mapping={
                "definition": json.dumps(written, cls=RedBeatJSONEncoder),
                "steadybeat_revision": definition.row.revision,
                "steadybeat_spec": json.dumps(definition.row.spec),
            },
        )
        pipe.hsetnx(entry.key, "meta", json.dumps({"last_run_at": None}))
        pipe.zadd(self._app.redbeat_conf.schedule_key, {entry.key: _score(definition.rule, now)})
        return str(entry.key)


def _score(rule: Rule, after: datetime) -> float:
    following = rule.next_after(after)
    return -1.0 if following is None else following.timestamp()


def _as_celery(rule: Rule, tz: str) -> Any:
    """Return the nearest that RedBeat's encoder knows; the exact rule stands in ``steadybeat_spec``."""
    exact = to_celery(rule, tz=tz)
    if exact is not None:
        return exact
    first = rule.next_after(datetime.now(UTC))
    second = first and rule.next_after(first)
    return interval(run_every=second - first if first and second else timedelta(days=1))
