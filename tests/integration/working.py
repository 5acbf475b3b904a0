"""A worker that a test plays by hand: it takes real messages off a real queue, and runs them as Celery does."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import redis as redis_client
import sqlalchemy as sa
from celery import Celery
from celery.app.trace import build_tracer

import steadybeat
from steadybeat.ledger import Ledger
from tests.integration.records import alive


@dataclass
class Message:
    """What lay on a queue."""

    headers: dict[str, Any]
    args: list[Any]
    kwargs: dict[str, Any]
    embed: dict[str, Any]

    @property
    def run(self) -> str:
        return str(self.headers["id"])

    @property
    def tenant(self) -> str | None:
        return self.headers.get("steadybeat_tenant")


@dataclass
class Work:
    """An app on real servers, and its worker.

    Attributes:
        app: The Celery app.
        redis: A client of its broker.
        done: Tenants for whom something was done, in that order.
    """

    app: Any
    redis: Any
    done: list[str] = field(default_factory=list)

    @property
    def ledger(self) -> Ledger:
        return Ledger.of(self.app)

    def take(self, queue: str) -> Message | None:
        """Take the first message off a queue."""
        raw = self.redis.rpop(queue)
        if raw is None:
            return None
        message = json.loads(raw)
        args, kwargs, embed = json.loads(base64.b64decode(message["body"]))
        return Message(message["headers"], args, kwargs, embed)

    def on(self, queue: str) -> int:
        """Return how many messages lie on a queue."""
        return int(self.redis.llen(queue))

    def perform(self, message: Message) -> None:
        """Do what a message asks for, as a pool process does."""
        task = self.app.tasks[message.headers["task"]]
        request = {**message.headers, **message.embed, "args": message.args, "kwargs": message.kwargs}
        request |= {"delivery_info": {}, "is_eager": False}
        build_tracer(task.name, task, app=self.app)(message.run, message.args, message.kwargs, request)

    def work(self, queue: str, most: int = 10_000) -> list[str | None]:
        """Do what lies on a queue, and what comes to it meanwhile; return the tenants, in their order."""
        tenants: list[str | None] = []
        while len(tenants) < most and (message := self.take(queue)) is not None:
            self.perform(message)
            tenants.append(message.tenant)
        return tenants

    def run(self, run: str) -> Any:
        """Return a run as the ledger has it."""
        return self.ledger.story.run(run)

    def tenants(self, fan_out: str) -> dict[str, str]:
        """Return the state of each tenant's run."""
        return {row.tenant: row.state for row in self.rows(fan_out)}

    def rows(self, fan_out: str) -> list[Any]:
        """Return the runs of a fan-out, in the order of their turn."""
        return self.ledger.database.execute(_ROWS, {"run": fan_out})

    def skipped(self, fan_out: str) -> dict[str, tuple[str, str]]:
        """Return why tenants were left out."""
        rows = self.ledger.database.execute(_SKIPPED, {"run": fan_out})
        return {row.tenant: (row.cause, row.reason) for row in rows}

    def at_work(self, fan_out: str) -> int:
        """Return how many runs were let in and have not ended."""
        return sum(row.finished_at is None and not row.in_line for row in self.rows(fan_out))

    def forward(self, by: timedelta) -> None:
        """Let time pass for whatever waits for it."""
        for statement in _FORWARD:
            self.ledger.database.execute(sa.text(statement), {"seconds": by.total_seconds()})


_ROWS = sa.text("SELECT * FROM steadybeat.runs WHERE fan_out = CAST(:run AS uuid) ORDER BY id")
_FOR_LONG = sa.text("UPDATE steadybeat.instances SET expires_at = expires_at + interval '1 day'")
_SKIPPED = sa.text("SELECT * FROM steadybeat.skipped_tenants WHERE run = CAST(:run AS uuid)")
_FORWARD = (
    "UPDATE steadybeat.runs SET not_before = not_before - make_interval(secs => :seconds) WHERE not_before IS NOT NULL",
    "UPDATE steadybeat.outbox SET publish_at = publish_at - make_interval(secs => :seconds)",
)


@contextmanager
def working(database_url: str, redis_url: str, **told: Any) -> Iterator[Work]:
    """Yield an app with a worker that lives."""
    app: Any = Celery("shop", set_as_current=False)
    app.conf.update(steadybeat_database_url=database_url, steadybeat_redis_url=redis_url)
    steadybeat.install(app, **told)
    with redis_client.Redis.from_url(redis_url) as client:
        work = Work(app, client)
        app.steadybeat.instance = alive(work.ledger)
        work.ledger.database.execute(_FOR_LONG)
        yield work
        work.ledger.database.close()
        app.close()
