"""A big ledger for the pages: schedules of 23 services, with the runs, fires and alerts of four weeks.

The same counts make the same content, but for the instants, which end now. One schedule in a hundred is due each
minute and has many of the runs, as it is in reality; the others are due once a day. Of the runs
one in sixty is dead, one in two hundred cancelled, a third are no fires. `fill` is what `bench/pages.py` and the
end-to-end tests of the pages use.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg

from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import TaskRow
from steadybeat.schedule import cron, every
from steadybeat.settings import Settings

SERVICES = [
    *("accounts", "analytics", "billing", "cards", "catalog", "contracts", "emails", "exports", "fraud", "identity"),
    *("imports", "invoices", "ledger", "media", "minting", "notifications", "orders", "payouts", "pricing"),
    *("royalties", "search", "sync", "webhooks"),
]
KINDS = [
    *("settle", "sync", "expire", "remind", "index", "export", "import", "retry", "clean", "reconcile", "notify"),
    "snapshot",
]
OWNERS = ("payments-team", "growth-team", "platform-team", "data-team", None)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo")
DENSE_EVERY = 100
"""Of so many schedules one is due each minute."""

_RUN = """
    INSERT INTO steadybeat.runs (id, task, service, queue, idempotency_key, schedule, scheduled_for, tenant, state,
                                 reason, message, body, attempt_count, retry_count, items_done, items_total, error,
                                 correlation_id, enqueued_at, started_at, finished_at, fence)
    SELECT uuidv7(at - clock_timestamp()), task, service, service, key, schedule, scheduled_for, tenant, state,
           CASE state WHEN 'dead' THEN 'failed for good: ' || wrong WHEN 'cancelled' THEN 'cancelled by ann: not needed'
           END, %(message)s, '[[' || n || '], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]',
           CASE state WHEN 'cancelled' THEN 0 WHEN 'dead' THEN 4 ELSE 1 END, CASE state WHEN 'dead' THEN 3 ELSE 0 END,
           CASE WHEN luck %% 3 = 0 THEN 100 END, CASE WHEN luck %% 3 = 0 THEN 100 END,
           CASE state WHEN 'dead' THEN %(stack)s || wrong END, replace(gen_random_uuid()::text, '-', ''), at,
           CASE WHEN state <> 'cancelled' THEN at + interval '80 ms' END,
           at + interval '1 ms' * (100 + luck %% 4000), n
      FROM (SELECT *, CASE WHEN luck %% 60 = 0 THEN 'dead' WHEN luck %% 200 = 1 THEN 'cancelled' ELSE 'succeeded'
                      END AS state,
                   (ARRAY['ConnectionError: bank answered 502', 'TimeoutError: no answer within 30 s',
                          'KeyError: ''iban''', 'ValueError: amount must be positive',
                          'OperationalError: deadlock detected'])[1 + luck / 60 %% 5] AS wrong
              FROM ({of}) lucky) those
"""
_OF_SCHEDULES = """
    SELECT n, s.task, s.service, s.name || '@' || at AS key, s.name AS schedule, at AS scheduled_for,
           NULL::text AS tenant, at, hashint8(n::bigint * 1000003 + hashtext(s.name)) & 2147483647 AS luck
      FROM steadybeat.schedules s
     CROSS JOIN LATERAL generate_series(1, CASE WHEN s.name ~ '-minutely-' THEN %(dense)s ELSE %(sparse)s END) n
     CROSS JOIN LATERAL (SELECT CASE
            WHEN s.name ~ '-minutely-' THEN date_trunc('minute', statement_timestamp()) - n * interval '1 minute'
            ELSE date_trunc('hour', statement_timestamp()) - n * (interval '28 days' / (%(sparse)s + 1)) END AS at) t
     WHERE s.retired_at IS NULL
"""
_OF_OTHERS = """
    SELECT n, 'tasks.' || service || '.' || kind AS task, service, 'sale:' || n AS key, NULL::text AS schedule,
           NULL::timestamptz AS scheduled_for, 'tenant-' || luck %% 5000 AS tenant,
           clock_timestamp() - n * (interval '28 days' / %(others)s) AS at, luck
      FROM (SELECT n, hashint8(n) & 2147483647 AS luck,
                   (CAST(%(services)s AS text[]))[1 + (hashint8(n::bigint * 7) & 2147483647) %% 23] AS service,
                   (CAST(%(kinds)s AS text[]))[1 + (hashint8(n::bigint * 13) & 2147483647) %% 12] AS kind
              FROM generate_series(1, %(others)s) n) others
"""
_FIRES = """
    INSERT INTO steadybeat.fires (schedule, scheduled_for, state, cause, reason, run_id, revision, due_at,
                                  dispatched_at, term)
    SELECT schedule, scheduled_for, CASE WHEN luck = 1 THEN 'missed' WHEN luck = 2 THEN 'skipped' ELSE 'dispatched' END,
           CASE luck WHEN 1 THEN 'outage' WHEN 2 THEN 'overlap' END,
           CASE luck WHEN 1 THEN 'no Beat led when it was due' WHEN 2 THEN 'the run before it was still at work' END,
           CASE WHEN luck NOT IN (1, 2) THEN id END, 1, scheduled_for, scheduled_for, 1
      FROM (SELECT *, (hashtext(idempotency_key) & 2147483647) %% 90 AS luck FROM steadybeat.runs
             WHERE schedule IS NOT NULL) fired
"""
# What was missed or skipped has no run.
_UNRUN = """
    DELETE FROM steadybeat.runs r USING steadybeat.fires f
     WHERE f.schedule = r.schedule AND f.scheduled_for = r.scheduled_for AND f.state IN ('missed', 'skipped')
"""
_AHEAD = """
    INSERT INTO steadybeat.fires (schedule, scheduled_for, revision, due_at)
    SELECT name, at, revision, at
      FROM (SELECT name, revision, date_trunc('minute', clock_timestamp()) + interval '1 hour' AS at
              FROM steadybeat.schedules WHERE retired_at IS NULL) coming
"""
_ATTEMPTS = """
    INSERT INTO steadybeat.attempts (run, number, instance, fence, started_at, finished_at, outcome, error)
    SELECT r.id, n, %(instance)s, r.fence + n, r.started_at + (n - 1) * interval '5 ms',
           r.started_at + (n - 1) * interval '5 ms' + interval '4 ms',
           CASE WHEN n = r.attempt_count THEN 'failed' ELSE 'retried' END, r.error
      FROM steadybeat.runs r CROSS JOIN LATERAL generate_series(1, r.attempt_count) n WHERE r.state = 'dead'
"""
_ALERTS = """
    INSERT INTO steadybeat.alerts (rule, subject, state, severity, owner, service, schedule, summary, opened_at,
                                   resolved_at, resolved_by, acknowledged_at, acknowledged_by, acknowledged_reason)
    SELECT CASE n %% 3 WHEN 0 THEN 'missed' WHEN 1 THEN 'failed' ELSE 'slower' END, name || ' ' || n, state,
           (ARRAY['critical', 'error', 'warning', 'info'])[1 + n %% 4], 'payments-team', service, name,
           'It was not so before: ' || name, at, CASE state WHEN 'resolved' THEN at + interval '1 h' END,
           CASE state WHEN 'resolved' THEN 'the watchdog' END,
           CASE state WHEN 'acknowledged' THEN at + interval '1 min' END,
           CASE state WHEN 'acknowledged' THEN 'ann' END, CASE state WHEN 'acknowledged' THEN 'looking' END
      FROM (SELECT row_number() OVER (ORDER BY name) AS n, name, service FROM steadybeat.schedules
             ORDER BY name LIMIT 400) s
     CROSS JOIN LATERAL (SELECT clock_timestamp() - n * interval '1 hour' AS at,
            CASE WHEN n <= 8 THEN 'open' WHEN n <= 12 THEN 'acknowledged' ELSE 'resolved' END AS state) t
"""
_OPERATIONS = """
    INSERT INTO steadybeat.operations (at, who, what, target, reason, details)
    SELECT clock_timestamp() - n * interval '20 minutes', (ARRAY['ann', 'bob', 'eve'])[1 + n %% 3],
           (ARRAY['schedules pause', 'schedules resume', 'runs rerun'])[1 + n %% 3], name, 'the bank asked for it', '{}'
      FROM (SELECT row_number() OVER (ORDER BY name) AS n, name FROM steadybeat.schedules ORDER BY name LIMIT 2000) s
"""
_FAN_OUT = """
    INSERT INTO steadybeat.runs (id, task, service, queue, idempotency_key, tenant, fan_out, state, reason, message,
                                 body, attempt_count, error, enqueued_at, started_at, finished_at, fence)
    SELECT uuidv7(at - clock_timestamp()), 'tasks.emails.remind', 'emails', 'emails', 'tenant-' || n || ':' || %(run)s,
           'tenant-' || n, CAST(%(run)s AS uuid), CASE WHEN n %% 50 = 0 THEN 'dead' ELSE 'succeeded' END,
           CASE WHEN n %% 50 = 0 THEN 'failed for good: mailbox is full' END, %(message)s, '[[], {}, {}]', 1,
           CASE WHEN n %% 50 = 0 THEN %(stack)s || 'SMTPError: mailbox is full' END, at, at, at + interval '1 s', n
      FROM generate_series(1, %(tenants)s) n
     CROSS JOIN (SELECT clock_timestamp() - interval '3 hours' AS at) t
"""
_WHOLE = """
    INSERT INTO steadybeat.runs (id, task, service, queue, idempotency_key, state, message, body, fence, attempt_count,
                                 enqueued_at, started_at, finished_at)
    SELECT uuidv7(), 'tasks.emails.notify', 'emails', 'emails', uuidv7()::text, 'succeeded', %(message)s,
           '[[], {}, {}]', 1, 1, at, at, at + interval '1 min'
      FROM (SELECT clock_timestamp() - (%(n)s + 1) * interval '3 hours' AS at) t
    RETURNING id
"""


@dataclass(frozen=True, slots=True)
class Filled:
    """What is in a filled ledger, for whoever wants to look at one of each.

    Attributes:
        dense: A schedule that is due each minute.
        sparse: One that is due once in hours.
        succeeded: A run.
        dead: One that has given up.
        fan_out: One that has fanned out.
        alert: An open alert.
    """

    dense: str
    sparse: str
    succeeded: str
    dead: str
    fan_out: str
    alert: int


def fill(database_url: str, *, schedules: int, runs: int) -> Filled:
    """Fill a ledger that has its schema and nothing else.

    Args:
        database_url: Where it is.
        schedules: How many; from 100 on.
        runs: About how many.
    """
    ledger = Ledger(Settings(database_url=database_url))
    instance = str(uuid.uuid4())
    dense = -(-schedules // DENSE_EVERY)
    values: dict[str, Any] = {
        "dense": min(40_000, max(10, runs * 4 // 10 // dense)),
        "sparse": max(3, runs * 3 // 10 // schedules),
        "others": max(100, runs * 3 // 10),
        "services": SERVICES,
        "kinds": KINDS,
        "instance": instance,
        "message": json.dumps({"headers": {"argsrepr": "(17,)", "timelimit": [600, 540]}, "properties": {}}),
        "stack": 'Traceback (most recent call last):\n  File "tasks/jobs.py", line 17, in work\n    pay()\n',
    }
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        _describe(ledger)
        _schedules(connection, schedules)
        with _without_indexes(connection):
            connection.execute(_RUN.replace("{of}", _OF_SCHEDULES), values)
            connection.execute(_RUN.replace("{of}", _OF_OTHERS), values)
            fan_out = _fan_outs(connection, values)
            connection.execute(_FIRES, values)
        for statement in (_UNRUN, _AHEAD, _ATTEMPTS, _ALERTS, _OPERATIONS):
            connection.execute(statement, values)
        _instances(ledger, connection, instance)
        connection.execute("VACUUM ANALYZE")
        found = _one_of_each(connection, fan_out)
    ledger.database.close()
    return found


def _describe(ledger: Ledger) -> None:
    tasks = [
        TaskRow(
            name=f"tasks.{service}.{kind}",
            service=service,
            owner=OWNERS[n % len(OWNERS)],
            severity=("critical", "error", "warning")[n % 3],
            purpose=f"{kind.capitalize()} what {service} has.",
            soft_time_limit_seconds=540.0,
            time_limit_seconds=600.0,
            depends_on=["postgres"],
        )
        for n, service in enumerate(SERVICES)
        for kind in KINDS
    ]
    ledger.tasks.describe(tasks, SERVICES)


def _schedules(connection: psycopg.Connection[Any], count: int) -> None:
    policies = {"overlap": "skip", "catch_up": "latest", "jitter_seconds": 0.0, "catch_up_window_seconds": 3600.0}
    with connection.cursor().copy(
        "COPY steadybeat.schedules (name, task, service, spec, policies, source, revision, generation, expected_until,"
        " paused_at, paused_by, paused_reason, retired_at, consecutive_failures) FROM STDIN"
    ) as rows:
        for n in range(count):
            service, kind = SERVICES[n % len(SERVICES)], KINDS[n // len(SERVICES) % len(KINDS)]
            dense = n % DENSE_EVERY == 0
            rule: Any = (
                every(timedelta(minutes=1)) if dense else cron(f"{n % 60} {n % 24} * * *", tz=ZONES[n % 4], dst="once")
            )
            paused, retired = n % 97 == 5, n % 211 == 7
            rows.write_row((
                f"{service}-{kind}-{'minutely' if dense else 'daily'}-{n:05}",
                f"tasks.{service}.{kind}",
                service,
                json.dumps(rule.to_json()),
                json.dumps(policies),
                "operator" if n % 50 == 3 else "code",
                n + 1,
                1,
                "2100-01-01T00:00:00Z",
                "2026-01-01T00:00:00Z" if paused else None,
                "ann" if paused else None,
                "the bank is down" if paused else None,
                "2026-01-01T00:00:00Z" if retired else None,
                3 if n % 301 == 9 else 0,
            ))  # fmt: skip
    connection.execute("SELECT setval('steadybeat.revisions', %s)", (count + 1,))


def _fan_outs(connection: psycopg.Connection[Any], values: dict[str, Any]) -> str:
    run = ""
    for n in range(20):
        row = connection.execute(_WHOLE, values | {"n": n}).fetchone()
        assert row is not None
        run = str(row[0])
        connection.execute(_FAN_OUT, values | {"run": run, "tenants": 500})
        connection.execute(
            "INSERT INTO steadybeat.fan_outs (run, task, policy, seed, concurrency, begun_at, written_at, total_count,"
            " ended_at) VALUES (%s, 'tasks.emails.remind', 'digest', '7', 50, clock_timestamp(), clock_timestamp(),"
            " 500, clock_timestamp())",
            (run,),
        )
    return run


def _instances(ledger: Ledger, connection: psycopg.Connection[Any], instance: str) -> None:
    for n, service in enumerate(SERVICES):
        ledger.instances.sign_of_life(
            instance if not n else str(uuid.uuid4()),
            role="worker",
            host="host-1",
            pid=100 + n,
            release="1.0",
            node=f"{service}@host-1",
            queues=[service],
        )
    beat = str(uuid.uuid4())
    ledger.instances.sign_of_life(beat, role="beat", host="host-1", pid=90, release="1.0")
    ledger.leaderships.renew(1, instance=beat, host="host-1")
    connection.execute("UPDATE steadybeat.instances SET expires_at = clock_timestamp() + interval '1 day'")
    connection.execute("UPDATE steadybeat.leaderships SET renewed_at = clock_timestamp() + interval '1 day'")


def _one_of_each(connection: psycopg.Connection[Any], fan_out: str) -> Filled:
    def one(statement: str) -> Any:
        row = connection.execute(statement).fetchone()
        assert row is not None, statement
        return row[0]

    schedule = "SELECT name FROM steadybeat.schedules WHERE name ~ '{}' AND retired_at IS NULL ORDER BY name LIMIT 1"
    run = "SELECT id FROM steadybeat.runs WHERE state = '{}' AND schedule IS NOT NULL ORDER BY id DESC LIMIT 1"
    return Filled(
        dense=one(schedule.format("-minutely-")),
        sparse=one(schedule.format("-daily-")),
        succeeded=str(one(run.format("succeeded"))),
        dead=str(one(run.format("dead"))),
        fan_out=fan_out,
        alert=one("SELECT id FROM steadybeat.alerts WHERE state = 'open' ORDER BY id LIMIT 1"),
    )


@contextmanager
def _without_indexes(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Make the indexes of runs and fires afterwards, at once, which is quicker than row by row."""
    rows = connection.execute(
        "SELECT i.indexname, i.indexdef FROM pg_indexes i WHERE schemaname = 'steadybeat'"
        " AND tablename IN ('runs', 'fires') AND indexname NOT LIKE '%%_pkey'"
        " AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conname = i.indexname)"
    ).fetchall()
    for name, _ in rows:
        connection.execute(f"DROP INDEX steadybeat.{name}")
    yield
    connection.execute("SET maintenance_work_mem = '256MB'")
    for _, definition in rows:
        connection.execute(definition)
