"""What the watchdog sees in a ledger that a test has written by hand, and time that has gone by."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import Finding, TaskRow
from steadybeat.settings import Settings
from steadybeat.watchdog.looking import Look
from steadybeat.watchdog.remembering import Memory
from steadybeat.watchdog.seeing import SEEN_BY

LONG = timedelta(hours=1)
TASK = TaskRow(name="t", service="orders", owner="packers", severity="critical")


@dataclass
class Taken:
    """Alerts that keep what they are given."""

    passes: list[tuple[list[Finding], set[str]]] = field(default_factory=list)
    emergencies: list[Finding | None] = field(default_factory=list)
    work_count: int = 0

    def take(self, findings: Any, judged: Any) -> None:
        self.passes.append(([*findings], {*judged}))

    def work(self) -> None:
        self.work_count += 1

    def emergency(self, finding: Finding | None) -> None:
        self.emergencies.append(finding)


@dataclass
class Eyes:
    """A watchdog's, over one ledger."""

    ledger: Ledger
    memory: Memory
    redis_error: str | None = None
    redis_away_at: datetime | None = None

    def look(self, answering: timedelta = LONG) -> Look:
        seen = self.memory.deserted_at
        redis: Any = {"redis_error": self.redis_error, "redis_away_at": self.redis_away_at}
        since = self.memory.deserted_since
        look = Look(self.ledger, self.ledger.settings, answering, deserted_at=seen, deserted_since=since, **redis)
        self.memory.note_queues(look)
        return look

    def see(self, rule: str, answering: timedelta = LONG) -> list[Finding]:
        """Make a pass, and return what one rule finds."""
        look = self.look(answering)
        self.memory.catch_up(look.now, LONG)
        return SEEN_BY[rule](look, self.memory)

    def one(self, rule: str) -> Finding:
        """Make a pass, and return the only thing that one rule finds."""
        (found,) = self.see(rule)
        assert found.rule == rule
        return found

    def all(self) -> dict[str, list[Finding]]:
        """Return what every rule finds, by its name."""
        look = self.look()
        self.memory.catch_up(look.now, LONG)
        found = {name: rule(look, self.memory) for name, rule in SEEN_BY.items()}
        return {name: each for name, each in found.items() if each}


def eyes_of(ledger: Ledger) -> Eyes:
    """Return the eyes of a watchdog that has looked at queues for an hour."""
    ledger.tasks.describe([TASK], ["orders"])
    memory = Memory(ledger)
    memory.note_queues(Look(ledger, ledger.settings, timedelta()))
    later(memory, LONG.total_seconds())
    return Eyes(ledger, memory)


def later(memory: Memory, seconds: float) -> None:
    """Let a watchdog have looked at queues for so many seconds longer."""
    by = timedelta(seconds=seconds)
    assert memory.looks_since is not None
    memory.looks_since = memory.looks_since - by
    memory.consumed_at = {queue: at - by for queue, at in memory.consumed_at.items()}


def with_settings(ledger: Ledger, **settings: Any) -> Ledger:
    """Return the same ledger under other settings."""
    ledger.settings = Settings(database_url=ledger.settings.database_url, **settings)
    return ledger


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def change(ledger: Ledger, statement: str, **values: Any) -> None:
    """Change the ledger by hand: ``UPDATE steadybeat.…`` is left out."""
    ledger.database.execute(sa.text(f"UPDATE steadybeat.{statement}"), values)


def older(ledger: Ledger, table: str, column: str, seconds: float, where: str = "true") -> None:
    """Let an instant be so many seconds longer ago."""
    change(ledger, f"{table} SET {column} = {column} - make_interval(secs => :seconds) WHERE {where}", seconds=seconds)


def worker(ledger: Ledger, *queues: str, node: str | None = None, release: str = "1", since: float = 0) -> str:
    """A worker that lives and has consumed from queues for so many seconds."""
    instance = str(uuid.uuid4())
    ledger.instances.sign_of_life(
        instance,
        role="worker",
        host="here",
        pid=7,
        release=release,
        node=node,
        queues=list(queues),
        schema_version="1",
    )
    older(ledger, "instances", "started_at", since, f"id = '{instance}'")
    return instance


def silenced(ledger: Ledger, instance: str, seconds: float = 1) -> None:
    """Let the lease of an instance have passed so long ago."""
    lease = ledger.settings.lease_seconds
    set_to = "expires_at = clock_timestamp() - make_interval(secs => :seconds),"
    started = "started_at = started_at - make_interval(secs => :lease)"
    change(
        ledger,
        f"instances SET {set_to} {started} WHERE id = CAST(:id AS uuid)",
        seconds=seconds,
        id=instance,
        lease=lease + seconds + 60,
    )


def leads(ledger: Ledger, seconds_ago: float = 0) -> int:
    """A Beat leads, and was heard of so long ago."""
    term = ledger.fires.next_term()
    ledger.leaderships.renew(term, instance=str(uuid.uuid4()), host="here")
    older(ledger, "leaderships", "renewed_at", seconds_ago, f"term = {term}")
    return term


_ENDED = """
    INSERT INTO steadybeat.runs (id, task, service, queue, idempotency_key, schedule, scheduled_for, state, message,
                                 body, attempt_count, items_done, enqueued_at, started_at, finished_at, reason, fence)
    SELECT gen_random_uuid(), :task, 'orders', 'orders', 'k' || gen_random_uuid(), CAST(:schedule AS text),
           CASE WHEN CAST(:schedule AS text) IS NOT NULL THEN ended - make_interval(secs => :took) END, :state, '{}',
           '[]', 1, CAST(:items AS bigint), ended - make_interval(secs => :took),
           ended - make_interval(secs => :took), ended, CASE WHEN :state = 'dead' THEN 'it failed' END, 1
      FROM (SELECT clock_timestamp() - make_interval(secs => :ago) - n * interval '1 minute' AS ended
              FROM generate_series(0, :count - 1) n) each
"""


def ended(ledger: Ledger, count: int = 1, *, schedule: str | None = "s", took: float = 1, **given: Any) -> None:
    """So many runs have ended, a minute after each other, the last of them `ago` seconds ago."""
    values = {"task": "t", "state": "succeeded", "items": None, "ago": 0.0, **given}
    ledger.database.execute(sa.text(_ENDED), {**values, "count": count, "schedule": schedule, "took": float(took)})


_RUNNING = """
    INSERT INTO steadybeat.runs (id, task, service, queue, idempotency_key, schedule, scheduled_for, state, message,
                                 body, attempt_count, items_done, items_total, progressed_at, enqueued_at, started_at,
                                 instance, fence, lease_until, tenant, fan_out)
    VALUES (CAST(:id AS uuid), :task, :queue, :queue, :id, CAST(:schedule AS text),
            CASE WHEN CAST(:schedule AS text) IS NOT NULL THEN clock_timestamp() - make_interval(secs => :for_s) END,
            'running', '{"headers": {"timelimit": [null, null]}}', '[]', 1, CAST(:items AS bigint), NULL,
            clock_timestamp() - make_interval(secs => CAST(:stands AS double precision)),
            clock_timestamp() - make_interval(secs => :for_s), clock_timestamp() - make_interval(secs => :for_s),
            CAST(:instance AS uuid), 1, clock_timestamp() + interval '1 hour', CAST(:tenant AS text),
            CAST(:fan_out AS uuid))
"""


def running(ledger: Ledger, seconds: float, **given: Any) -> str:
    """A run has been going on for so long; it has stood still for `stands` seconds."""
    run = str(uuid.uuid4())
    values = {"task": "t", "queue": "orders", "schedule": None, "items": None, "stands": None, "instance": run}
    values |= {"tenant": None, "fan_out": None, **given}
    ledger.database.execute(sa.text(_RUNNING), {**values, "id": run, "for_s": float(seconds)})
    return run


def end(ledger: Ledger, run: str, state: str = "succeeded") -> None:
    """A run ends."""
    change(
        ledger,
        "runs SET state = :state, finished_at = clock_timestamp(), reason = 'so' WHERE id = CAST(:run AS uuid)",
        state=state,
        run=run,
    )
