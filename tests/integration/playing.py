"""A Beat, a clock and a worker that a test plays by hand, on real servers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import redis as redis_client
from celery import Celery

import steadybeat
from steadybeat.beat import SteadyScheduler, definitions
from steadybeat.beat.leading import Leader
from steadybeat.ledger import Ledger
from steadybeat.ledger.connection import sql
from steadybeat.ledger.rows import Claim
from steadybeat.task.verdicts import ending
from tests.integration.records import alive

POLL = timedelta(seconds=0.5)
_ROUNDS = 1000


@dataclass
class Clock:
    """A wall clock that a test moves."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now


class Leads:
    """A lock that nobody else takes."""

    held = fresh = True

    def hold(self) -> bool:
        return True


@dataclass
class Play:
    """One Beat that leads, and what it sends.

    Attributes:
        app: The Celery app.
        clock: By which the leader goes.
        passed: Is told of the leader's named points.
    """

    app: Any
    scheduler: SteadyScheduler
    redis: Any
    clock: Clock
    passed: Callable[[str], None] = lambda point: None
    leader: Any = None
    worker: str = ""
    held: dict[str, Claim] = field(default_factory=dict)

    @property
    def ledger(self) -> Ledger:
        return Ledger.of(self.app)

    def lead(self) -> None:
        """Begin a new term, as a Beat does that takes the lock."""
        hooks = replace(self.scheduler._hooks, clock=self.clock, passed=self._pass)
        leads: Any = Leads()
        self.leader = Leader(self.app, self.ledger.fires.next_term(), leads, hooks)

    def _pass(self, point: str) -> None:
        self.passed(point)

    def tick(self, at: datetime | timedelta | None = None) -> None:
        """Move the clock, and tick until there is nothing to do at this instant.

        Args:
            at: An instant, or how far; the clock stands still unless given.
        """
        if at is not None:
            self.clock.now = at if isinstance(at, datetime) else self.clock.now + at
        if self.leader is None:
            self.lead()
        for _ in range(_ROUNDS):
            if self.leader.tick(POLL):
                return
        raise AssertionError("the leader does not come to rest")

    def apply(self) -> None:
        """Bring the schedules of the app's code into the ledger; they are due from the clock's time on."""
        self.ledger.schedules.apply(definitions(self.app), self.app.steadybeat.own_services())
        self.ledger.database.execute(_FROM_NOW_ON, {"until": self.clock.now})

    def on(self, queue: str) -> int:
        """Return how many messages lie on a queue, whatever their priority."""
        return len(self._messages(queue))

    def take(self, queue: str) -> list[dict[str, Any]]:
        """Take the messages off a queue as workers do, the first one first; return their headers."""
        found = self._messages(queue)
        for key in self._keys(queue):
            self.redis.delete(key)
        return [json.loads(message)["headers"] for message in found]

    def _keys(self, queue: str) -> list[str]:
        return [queue, *(f"{queue}\x06\x16{priority}" for priority in (3, 6, 9))]

    def _messages(self, queue: str) -> list[bytes]:
        return [message for key in self._keys(queue) for message in reversed(self.redis.lrange(key, 0, -1))]

    def start(self, message: dict[str, Any]) -> str:
        """Have the worker claim a run; return the verdict, by which a refused one has ended."""
        run, delivery_no = message["id"], message["steadybeat_delivery"]
        found = self.ledger.runs.claim(
            run, delivery_no=delivery_no, instance=self.worker, time_limit_seconds=60, crash_limit=3
        )
        end = ending(found)
        if end is not None:
            self.ledger.runs.end_unstarted(run, delivery_no=delivery_no, **end)
        if found.verdict == "claimed":
            self.held[run] = found
        return found.verdict

    def finish(self, message: dict[str, Any]) -> None:
        """Have a run succeed that was started."""
        run = message["id"]
        assert self.ledger.runs.finish(run, self.held.pop(run).fence, result=None)

    def fires(self, name: str) -> dict[datetime, str]:
        """Return what became of the fires of a schedule, but for those that are to come."""
        rows = self.ledger.database.execute(_FIRES, {"name": name})
        return {row.scheduled_for: row.state for row in rows}


_FROM_NOW_ON = sql("UPDATE steadybeat.schedules SET expected_until = :until WHERE expected_until < :until")
_FIRES = sql(
    "SELECT scheduled_for, state FROM steadybeat.fires WHERE schedule = :name AND state <> 'expected' ORDER BY 1"
)


def app_of(name: str, database_url: str, redis_url: str, folder: Path, **settings: Any) -> Any:
    app: Any = Celery(name, set_as_current=False)
    app.conf.update(
        steadybeat_database_url=database_url, steadybeat_redis_url=redis_url, steadybeat_health_folder=str(folder)
    )
    app.conf.update(settings)
    steadybeat.install(app)
    return app


def declare(app: Any, name: str, **options: Any) -> Any:
    """Give an app a task that does nothing."""

    def nothing(*_: Any, **__: Any) -> None: ...

    return app.task(name=name, shared=False, **options)(nothing)


@contextmanager
def played(app: Any, redis_url: str) -> Iterator[Play]:
    """Yield a Beat that leads at its first tick. Its clock begins soon, 20 seconds after a full minute."""
    start = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1, seconds=20)
    scheduler = SteadyScheduler(app, lazy=True)
    with redis_client.Redis.from_url(redis_url) as client:
        try:
            play = Play(app, scheduler, client, Clock(start))
            play.worker = alive(play.ledger)
            yield play
        finally:
            scheduler.close()
            app.steadybeat.ledger.database.close()
            app.close()
