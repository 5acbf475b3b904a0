"""Fan-outs: runs that became one run per tenant.

They are written in batches, in line, and released together when all are there: an attempt that dies before has begun
nothing, and the next one writes what is missing. Who is let in then, `admitting` says. The ids of a fan-out's runs are
in the order in which they begin.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.failing import AFTERMATH
from steadybeat.ledger.prepared import Prepared
from steadybeat.ledger.rows import NewRun
from steadybeat.ledger.runs import MINE
from steadybeat.ledger.tenants import JUDGED

# No other attempt gets the run while it writes: one that has been taken over, and goes on, writes nothing.
_HELD = """
    held AS MATERIALIZED (
        SELECT id FROM steadybeat.runs WHERE id = :run AND state = 'running' AND fence = :fence FOR SHARE
    )"""
_BEGIN = sql(f"""
    WITH {_HELD},
    forgotten AS (DELETE FROM steadybeat.skipped_tenants s USING held WHERE s.run = held.id)
    INSERT INTO steadybeat.fan_outs AS f
           (run, task, policy, seed, concurrency, spread_seconds, abort_count, abort_share, on_complete)
    SELECT id, :task, :policy, :seed, :places, :spread_seconds, :abort_count, :abort_share,
           CAST(:on_complete AS jsonb)
      FROM held
    ON CONFLICT (run) DO UPDATE
       SET task = excluded.task, policy = excluded.policy, concurrency = excluded.concurrency,
           spread_seconds = excluded.spread_seconds, abort_count = excluded.abort_count,
           abort_share = excluded.abort_share, on_complete = excluded.on_complete, written_at = NULL,
           aborted_at = NULL, abort_reason = NULL, ended_at = NULL,
           forgiven_count = (SELECT count(*) FROM steadybeat.runs r WHERE r.fan_out = f.run AND r.state = 'dead')
    RETURNING seed, begun_at
""")

# What an earlier attempt has written stays; what was given up before it began is in line again.
_WRITE = Prepared(
    sql(f"""
    WITH {_HELD},
    given AS MATERIALIZED (
        SELECT given.* FROM held, unnest(CAST(:run_ids AS uuid[]), CAST(:names AS text[]), CAST(:bodies AS text[]),
                             CAST(:shown AS text[]), CAST(:delays AS double precision[]))
                   AS given (id, tenant, body, shown, delay_seconds)
    ),
    judged AS MATERIALIZED ({JUDGED}),
    skipped AS (
        INSERT INTO steadybeat.skipped_tenants (run, tenant, cause, reason)
        SELECT :run, tenant, cause, reason FROM judged
         WHERE cause IS NOT NULL AND NOT EXISTS (SELECT FROM steadybeat.runs r WHERE r.id = judged.id)
        ON CONFLICT DO NOTHING
        RETURNING tenant
    ),
    new AS (
        INSERT INTO steadybeat.runs AS r
               (id, task, service, queue, priority, idempotency_key, fan_out, tenant, in_line, state, message, body,
                not_before, deadline, correlation_id)
        SELECT id, :task, :service, :queue, :priority, CAST(:key AS text) || ':' || tenant, :run, tenant, true,
               'waiting',
               jsonb_build_object(
                   'headers', CAST(:headers AS jsonb) || jsonb_build_object(
                       'id', id, 'argsrepr', shown, 'steadybeat_tenant', tenant),
                   'properties', CAST(:properties AS jsonb) || jsonb_build_object('correlation_id', id)),
               body,
               CASE WHEN delay_seconds IS NULL THEN :not_before
                    ELSE coalesce(:not_before, :instant) + make_interval(secs => delay_seconds) END,
               :deadline, :correlation_id
          FROM judged WHERE cause IS NULL ORDER BY id
        ON CONFLICT (id) DO UPDATE
           SET state = 'waiting', in_line = true, reason = NULL, finished_at = NULL, given_up = false,
               cancel_requested_at = NULL, cancel_reason = NULL, delivery_no = r.delivery_no + 1,
               message = excluded.message,
               body = excluded.body, queue = excluded.queue, priority = excluded.priority,
               not_before = excluded.not_before, deadline = excluded.deadline
         WHERE r.state = 'cancelled' AND r.given_up AND r.attempt_count = 0
        RETURNING id
    )
    SELECT (SELECT count(*) FROM new) AS written_count, (SELECT count(*) FROM skipped) AS skipped_count FROM held
""")
)
_COUNT = sql("SELECT count(*) AS total_count FROM steadybeat.runs WHERE fan_out = :run")
_RELEASE = sql(f"""
    WITH run AS (
        UPDATE steadybeat.runs
           SET state = CASE WHEN cancel_requested_at IS NULL THEN 'waiting' ELSE 'cancelled' END,
               reason = CASE WHEN cancel_requested_at IS NULL THEN :reason ELSE cancel_reason END,
               finished_at = CASE WHEN cancel_requested_at IS NOT NULL THEN clock_timestamp() END,
               error = NULL, lease_until = NULL, instance = NULL, delivery_no = delivery_no + 1
         WHERE {MINE}
        RETURNING id, task, idempotency_key, attempt_count, state
    ),
    attempt AS (
        UPDATE steadybeat.attempts a
           SET finished_at = clock_timestamp(), outcome = 'succeeded', peak_memory_bytes = :peak_memory_bytes
          FROM run WHERE a.run = run.id AND a.number = run.attempt_count
    ),
    key AS (
        DELETE FROM steadybeat.processed_keys k USING run
         WHERE run.state = 'cancelled' AND k.task = run.task AND k.key = run.idempotency_key AND k.step = ''
           AND k.run = run.id AND k.state = 'held'
    ),
    released AS (
        UPDATE steadybeat.fan_outs f SET written_at = clock_timestamp(), total_count = :total_count
          FROM run WHERE f.run = run.id AND run.state = 'waiting'
    ),
    {AFTERMATH}
    SELECT state FROM run
""")

COUNTS = sql("""
    SELECT count(*) FILTER (WHERE state = 'succeeded') AS succeeded,
           count(*) FILTER (WHERE state = 'dead') AS failed,
           count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
           count(*) FILTER (WHERE state = 'cancelled' AND given_up) AS given_up,
           count(*) FILTER (WHERE state = 'running') AS running,
           count(*) FILTER (WHERE state IN ('enqueued', 'waiting')) AS waiting,
           (SELECT count(*) FROM steadybeat.skipped_tenants s WHERE s.run = :run) AS skipped
      FROM steadybeat.runs WHERE fan_out = :run
""")
WHOLE = sql("""
    SELECT r.task, r.schedule, r.state, r.result, r.body, r.group_id, r.correlation_id,
           CAST(r.message AS text) AS message, r.cancel_requested_at, r.cancel_reason, f.seed, f.policy,
           f.concurrency, f.total_count, f.on_complete, f.abort_reason, f.begun_at, f.written_at, f.ended_at,
           EXISTS (SELECT FROM steadybeat.processed_keys k
                    WHERE k.task = r.task AND k.key = r.idempotency_key AND k.step = '' AND k.run = r.id
                      AND k.state = 'done') AS has_succeeded
      FROM steadybeat.fan_outs f LEFT JOIN steadybeat.runs r ON r.id = f.run
     WHERE f.run = :run
""")
_LEFT = sql("""
    SELECT CAST(f.run AS text) AS run, f.task, f.begun_at, count(r.id) AS count
      FROM steadybeat.fan_outs f
      JOIN steadybeat.runs r ON r.fan_out = f.run AND r.finished_at IS NULL AND r.queue = ANY(:queues)
     WHERE f.ended_at IS NULL AND f.written_at IS NOT NULL
     GROUP BY f.run ORDER BY f.run
""")
_TENANTS_LEFT = sql("""
    SELECT CAST(id AS text) AS run, tenant FROM steadybeat.runs
     WHERE fan_out = :run AND finished_at IS NULL AND id >= CAST(:low AS uuid) AND id < CAST(:high AS uuid)
       AND (CAST(:after AS uuid) IS NULL OR id > :after)
     ORDER BY id LIMIT CAST(:row_count AS integer)
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFanOut:
    """What a fan-out is told.

    Attributes:
        task: What runs for each tenant.
        policy: Whose tenants are in; None: all are.
        seed: The order of tenants follows from it.
        concurrency: So many of its runs are at work at a time.
        spread_seconds: Their beginnings are spread over this.
        abort_count: So many dead runs end it.
        abort_share: So many dead runs, as a share of all, end it.
        on_complete: Celery's signature, as JSON, of what is told the counts.
    """

    task: str
    policy: str | None
    seed: str
    concurrency: int
    spread_seconds: float = 0.0
    abort_count: int | None = None
    abort_share: float | None = None
    on_complete: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One tenant's run, where it differs from the others'.

    Attributes:
        run: Its id.
        tenant: Whose it is.
        body: Of its message.
        shown: Its arguments, for people.
        delay_seconds: When it may begin, from the fan-out's own beginning; None: at once.
    """

    run: str
    tenant: str
    body: str
    shown: str
    delay_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many tenants of a fan-out are how far.

    Attributes:
        waiting: In line, sent, or waiting for another attempt.
        skipped: The policy says that they are out.
        cancelled: Nothing more becomes of them: somebody cancelled them, or an abort did.
        given_up: Of those, who was cancelled with the fan-out.
    """

    succeeded: int
    failed: int
    cancelled: int
    given_up: int
    running: int
    waiting: int
    skipped: int

    @property
    def ended(self) -> int:
        """How many have ended."""
        return self.succeeded + self.failed + self.cancelled

    @property
    def total(self) -> int:
        """How many have a run."""
        return self.ended + self.running + self.waiting


class FanOuts:
    """Writes fan-outs, and tells of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, run: str, fence: int, told: NewFanOut) -> tuple[str, datetime] | None:
        """Write that a run fans out, or does so again.

        What an earlier attempt has written stays, and so does its seed. A fan-out that was over goes on.

        Args:
            run: Whose fan-out it is.
            fence: Of the attempt.
            told: What it is told.

        Returns:
            Its seed and when it fanned out first; None where the fence no longer matches: nothing was written.
        """
        values = {
            "run": run,
            "fence": fence,
            "task": told.task,
            "policy": told.policy,
            "seed": told.seed,
            "places": told.concurrency,
            "spread_seconds": told.spread_seconds,
            "abort_count": told.abort_count,
            "abort_share": told.abort_share,
            "on_complete": told.on_complete,
        }
        rows = self._database.execute(_BEGIN, values)
        return (rows[0].seed, rows[0].begun_at) if rows else None

    def write(
        self,
        run: str,
        fence: int,
        template: NewRun,
        shares: Sequence[Share],
        *,
        policy: str | None,
        key: str,
        begun_at: datetime,
    ) -> tuple[int, int] | None:
        """Write runs that are not there yet, in line, and who is left out; no tenant may come twice.

        Args:
            run: Whose fan-out it is.
            fence: Of the attempt.
            template: What they have in common.
            shares: What they have not.
            policy: Whose tenants are in.
            key: Of the run; with a tenant's name it makes the key of that tenant's run.
            begun_at: When the fan-out began.

        Returns:
            How many runs are new, and how many tenants are left out; None where the fence no longer matches.
        """
        values = {
            "run": run,
            "fence": fence,
            "policy": policy,
            "key": key,
            "instant": begun_at,
            "run_ids": [each.run for each in shares],
            "names": [each.tenant for each in shares],
            "bodies": [each.body for each in shares],
            "shown": [each.shown for each in shares],
            "delays": [each.delay_seconds for each in shares],
            "task": template.task,
            "service": template.service,
            "queue": template.queue,
            "priority": template.priority,
            "headers": json.dumps(template.message["headers"]),
            "properties": json.dumps(template.message["properties"]),
            "not_before": template.not_before,
            "deadline": template.deadline,
            "correlation_id": template.correlation_id,
        }
        rows = self._database.execute(_WRITE, values)
        return (rows[0].written_count, rows[0].skipped_count) if rows else None

    def release(self, run: str, fence: int, *, reason: str, peak_memory_bytes: int | None) -> str | None:
        """End the attempt that has written all runs, and let these begin; the run waits for them.

        Where somebody has asked for its end meanwhile, it is cancelled instead, and none begins.

        Args:
            run: Whose fan-out it is.
            fence: Of the attempt.
            reason: What it waits for, in words; `{count}` stands for how many there are.
            peak_memory_bytes: Of the attempt.

        Returns:
            The run's state then: ``waiting`` or ``cancelled``; None where the fence no longer matches.
        """
        total = self._database.count(_COUNT, {"run": run}).total_count
        values = {"run": run, "fence": fence, "instance": None, "delivery_no": None, "total_count": total}
        values |= {"reason": reason.format(count=total), "peak_memory_bytes": peak_memory_bytes}
        rows = self._database.execute(_RELEASE, values)
        return str(rows[0].state) if rows else None

    def counts(self, run: str) -> Counts:
        """Return how many tenants of a fan-out are how far."""
        return Counts(**self._database.count(COUNTS, {"run": run})._mapping)

    def left(self, queues: Sequence[str]) -> list[Any]:
        """Return the fan-outs whose tenants have not all ended: ``run``, ``task``, ``begun_at``, and their ``count``.

        Args:
            queues: Only runs that go to one of these count.
        """
        return self._database.execute(_LEFT, {"queues": list(queues)})

    def tenants_left(self, run: str, ids: tuple[str, str], *, after: str | None, limit: int) -> list[Any]:
        """Return some of the tenants that have not ended, in the order of their turn: ``run`` and ``tenant``.

        Args:
            run: Whose fan-out it is.
            ids: From where to where its runs' ids lie.
            after: They come after this run.
            limit: So many at the most.
        """
        values = {"run": run, "low": ids[0], "high": ids[1], "after": after, "row_count": limit}
        return self._database.execute(_TENANTS_LEFT, values)

    def whole(self, run: str) -> Any:
        """Return a fan-out with its run, or None where there is none."""
        rows = self._database.execute(WHOLE, {"run": run})
        return rows[0] if rows else None
