"""Admitting: which runs of a fan-out may begin, and when it is over.

A run of a fan-out is in line until it is let in. From then on it is at work, until it ends or goes back in line for
another attempt. No more are at work than the fan-out's `concurrency`: whoever lets some in holds the fan-out's row, and
a run that succeeds hands its own place to the next in line, in the statement that ends it. Nothing is counted beside
the runs themselves, so that no crash can put a count out of step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from steadybeat.ledger.cancelling import GIVEN_UP
from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.failing import FAILED, PART
from steadybeat.ledger.fan_outs import COUNTS, WHOLE, Counts
from steadybeat.ledger.prepared import Prepared
from steadybeat.ledger.recording import RECORD, RECORDING, recorded
from steadybeat.ledger.rows import Envelope, NewRun
from steadybeat.ledger.runs import SUCCEED, ending

WIND_DOWN_COUNT = 1_000
"""Runs in line that are cancelled in one statement at the most."""

_ENVELOPE = """
    0 AS outbox_id, CAST(r.id AS text) AS run, r.delivery_no, 'fan_out' AS reason, r.task, r.queue, r.priority,
    CAST(r.message AS text) AS message, r.body, r.retry_count"""
_LET_IN = """
    UPDATE steadybeat.runs r
       SET state = 'enqueued', in_line = false, reason = NULL, not_before = NULL, enqueued_at = clock_timestamp()"""

# A place goes on to the run that comes next; not where another attempt is due, which would wait for ever.
_FINISH = Prepared(
    sql(f"""
    {SUCCEED},
    next AS MATERIALIZED (
        SELECT following.id
          FROM run
          JOIN steadybeat.fan_outs f ON f.run = run.fan_out AND f.aborted_at IS NULL AND f.ended_at IS NULL
          JOIN steadybeat.runs whole ON whole.id = f.run AND whole.finished_at IS NULL
         CROSS JOIN LATERAL (
               SELECT n.id, n.not_before FROM steadybeat.runs n
                WHERE n.fan_out = run.fan_out AND n.in_line AND n.finished_at IS NULL AND n.attempt_count = 0
                  AND n.id > run.id
                ORDER BY n.id LIMIT 1 FOR UPDATE SKIP LOCKED) following
         WHERE (following.not_before IS NULL OR following.not_before <= statement_timestamp())
           AND NOT EXISTS (
               SELECT FROM steadybeat.runs again
                WHERE again.fan_out = run.fan_out AND again.in_line AND again.finished_at IS NULL
                  AND again.attempt_count > 0 AND again.not_before <= statement_timestamp())
    ),
    let_in AS ({_LET_IN} FROM next WHERE r.id = next.id RETURNING {_ENVELOPE})
    SELECT run.id AS finished, let_in.* FROM run LEFT JOIN let_in ON true
""")
)
_LOCK = """
    SELECT run FROM steadybeat.fan_outs
     WHERE run = :run AND ended_at IS NULL
       FOR UPDATE {how}"""
_LOCK_OPEN = sql(_LOCK.format(how=""))
_LOCK_IF_FREE = sql(_LOCK.format(how="SKIP LOCKED"))
_STANDING = """
    SELECT CAST(f.run AS text) AS run, f.concurrency, f.total_count, f.abort_count, f.abort_share, f.abort_reason,
           f.written_at IS NOT NULL AS is_released,
           whole.id IS NOT NULL AND whole.finished_at IS NULL AS is_wanted, whole.reason AS whole_reason,
           (SELECT count(*) FROM steadybeat.runs r
             WHERE r.fan_out = f.run AND r.finished_at IS NULL AND NOT r.in_line) AS at_work_count,
           CASE WHEN coalesce(f.abort_count, f.abort_share) IS NOT NULL
                THEN (SELECT count(*) FROM steadybeat.runs r WHERE r.fan_out = f.run AND r.state = 'dead')
                     - f.forgiven_count ELSE 0 END AS dead_count,
           EXISTS (SELECT FROM steadybeat.runs u
                    WHERE u.fan_out = f.run AND u.finished_at IS NULL AND NOT u.in_line
                      AND u.cancel_requested_at IS NULL) AS has_unasked,
           (SELECT n.not_before IS NULL OR n.not_before <= statement_timestamp() FROM steadybeat.runs n
             WHERE n.fan_out = f.run AND n.in_line AND n.finished_at IS NULL AND n.attempt_count = 0
             ORDER BY n.id LIMIT 1) AS first_is_due,
           (SELECT a.not_before IS NULL OR a.not_before <= statement_timestamp() FROM steadybeat.runs a
             WHERE a.fan_out = f.run AND a.in_line AND a.finished_at IS NULL AND a.attempt_count > 0
             ORDER BY a.not_before LIMIT 1) AS again_is_due
      FROM steadybeat.fan_outs f LEFT JOIN steadybeat.runs whole ON whole.id = f.run"""
_OF_ONE = Prepared(sql(f"{_STANDING} WHERE f.run = :run AND f.ended_at IS NULL"))
_OPEN = sql(f"""
    {_STANDING}
     WHERE f.ended_at IS NULL AND (f.written_at IS NOT NULL OR whole.id IS NULL OR whole.finished_at IS NOT NULL)
     ORDER BY f.begun_at LIMIT CAST(:row_count AS integer)
""")
# Other attempts come first: those who wait for them have waited before.
_LET_SOME_IN = sql(f"""
    WITH again AS MATERIALIZED (
        SELECT id FROM steadybeat.runs
         WHERE fan_out = :run AND in_line AND finished_at IS NULL AND attempt_count > 0
           AND coalesce(not_before, '-infinity') <= statement_timestamp()
         ORDER BY not_before LIMIT CAST(:row_count AS integer) FOR UPDATE SKIP LOCKED
    ),
    first AS MATERIALIZED (
        SELECT id, not_before FROM steadybeat.runs
         WHERE fan_out = :run AND in_line AND finished_at IS NULL AND attempt_count = 0
         ORDER BY id LIMIT CAST(:row_count AS integer) - (SELECT count(*) FROM again) FOR UPDATE SKIP LOCKED
    ),
    next AS (
        SELECT id FROM again
        UNION ALL
        SELECT id FROM first WHERE not_before IS NULL OR not_before <= statement_timestamp()
    )
    {_LET_IN} FROM next WHERE r.id = next.id RETURNING {_ENVELOPE}
""")
_ABORT = sql("""
    UPDATE steadybeat.fan_outs SET aborted_at = clock_timestamp(), abort_reason = :reason
     WHERE run = :run AND aborted_at IS NULL
""")
_WIND_DOWN = sql("""
    WITH gone AS MATERIALIZED (
        SELECT id FROM steadybeat.runs
         WHERE fan_out = :run AND state = 'waiting' AND in_line AND finished_at IS NULL
         LIMIT CAST(:row_count AS integer) FOR UPDATE SKIP LOCKED
    ),
    run AS (
        UPDATE steadybeat.runs r
           SET state = 'cancelled', reason = :reason, given_up = true, finished_at = clock_timestamp()
          FROM gone WHERE r.id = gone.id
        RETURNING r.id, r.task, r.idempotency_key
    ),
    key AS (
        DELETE FROM steadybeat.processed_keys k USING run
         WHERE k.task = run.task AND k.key = run.idempotency_key AND k.step = '' AND k.run = run.id
           AND k.state = 'held'
    )
    SELECT id FROM run
""")
_END = sql(f"""
    WITH run AS (
        UPDATE steadybeat.runs
           SET state = :state, reason = :reason, result = CAST(:result AS jsonb), error = :error,
               finished_at = clock_timestamp()
         WHERE id = :run AND finished_at IS NULL
        RETURNING id, task, idempotency_key, fence, schedule, state, reason,
                  CASE WHEN NOT :is_told THEN group_id END AS group_id
    ),
    done AS (
        INSERT INTO steadybeat.processed_keys AS k (task, key, run, fence, state, expires_at)
        SELECT task, idempotency_key, id, fence, 'done',
               clock_timestamp() + make_interval(secs => CAST(:key_ttl_seconds AS double precision))
          FROM run WHERE state = 'succeeded'
        ON CONFLICT (task, key, step) DO UPDATE
           SET state = 'done', changed_at = clock_timestamp(), expires_at = excluded.expires_at
         WHERE k.run = excluded.run
    ),
    freed AS (
        DELETE FROM steadybeat.processed_keys k USING run
         WHERE run.state <> 'succeeded' AND k.task = run.task AND k.key = run.idempotency_key AND k.step = ''
           AND k.run = run.id AND k.state = 'held'
    ),
    calm AS (
        UPDATE steadybeat.schedules s SET consecutive_failures = 0
          FROM run WHERE run.state = 'succeeded' AND s.name = run.schedule AND s.consecutive_failures > 0
    ),
    {FAILED},
    {PART},
    {RECORDING.format(condition="EXISTS (SELECT FROM run)")}
    SELECT id FROM run
""")
_ENDED = sql("UPDATE steadybeat.fan_outs SET ended_at = clock_timestamp() WHERE run = :run")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a fan-out stands.

    Attributes:
        run: Its id.
        concurrency: So many of its runs are at work at a time.
        total_count: How many runs it has, once they may begin.
        abort_count: So many dead runs end it.
        abort_share: So many dead runs, as a share of all, end it.
        abort_reason: Why it was ended, where it was.
        is_released: Whether its runs may begin.
        is_wanted: Whether its own run has not ended otherwise: been cancelled, that is.
        whole_reason: Why, where it has.
        has_unasked: Whether runs are at work that nobody has asked to end.
        at_work_count: How many runs are at work.
        dead_count: How many are dead, since somebody had it go on; 0 where that ends nothing.
        first_is_due: Whether the next in line may begin; None where none is in line.
        again_is_due: The same of those that wait for another attempt.
    """

    run: str
    concurrency: int
    total_count: int | None
    abort_count: int | None
    abort_share: float | None
    abort_reason: str | None
    is_released: bool
    is_wanted: bool
    whole_reason: str | None
    at_work_count: int
    dead_count: int
    has_unasked: bool
    first_is_due: bool | None
    again_is_due: bool | None

    @property
    def room(self) -> int:
        """How many may be let in."""
        return max(0, self.concurrency - self.at_work_count)

    @property
    def is_over(self) -> bool:
        """Whether none of its runs is open."""
        return self.at_work_count == 0 and self.first_is_due is None and self.again_is_due is None

    @property
    def has_line(self) -> bool:
        """Whether some are in line."""
        return self.first_is_due is not None or self.again_is_due is not None


class Held:
    """A fan-out that nobody else changes meanwhile: what happens to it here happens together.

    Whoever holds one asks for no other connection: those who wait for it may have all that there are.

    Attributes:
        standing: How it stands.
    """

    def __init__(self, database: Database, connection: Connection, run: str) -> None:
        self._database = database
        self._connection = connection
        self._run = run
        self.look()

    def look(self) -> None:
        """Learn how it stands now."""
        # A statement of its own: only one that begins after the lock sees what its last holder has done.
        self.standing = Standing(**self._connection.execute(_OF_ONE.clause, {"run": self._run}).one()._mapping)

    def whole(self) -> Any:
        """Return the fan-out with its run."""
        return self._connection.execute(WHOLE, {"run": self._run}).one()

    def counts(self) -> Counts:
        """Return how many tenants are how far."""
        return Counts(**self._database.count(COUNTS, {"run": self._run}, self._connection)._mapping)

    def let_in(self, count: int) -> list[Envelope]:
        """Let runs in that are due; return their messages, which are to be sent once this is committed."""
        rows = self._connection.execute(_LET_SOME_IN, {"run": self._run, "row_count": count})
        return [Envelope(*row) for row in rows]

    def abort(self, reason: str) -> None:
        """Write that no more are let in."""
        self._connection.execute(_ABORT, {"run": self._run, "reason": reason})

    def wind_down(self, reason: str) -> int:
        """Cancel some of those in line, because the fan-out has ended for a reason; return how many."""
        values = {"run": self._run, "reason": f"{GIVEN_UP}: {reason}", "row_count": WIND_DOWN_COUNT}
        return len(self._connection.execute(_WIND_DOWN, values).all())

    def end(
        self,
        *,
        state: str,
        reason: str | None,
        result: str,
        key_ttl_seconds: float | None,
        is_told: bool,
        runs: Sequence[NewRun],
        told: Sequence[NewRun],
    ) -> bool:
        """Write that all have ended; return whether its own run was still open.

        Args:
            state: Of its own run: ``succeeded``, ``dead`` or ``cancelled``.
            reason: Why, where it has not succeeded.
            result: The counts, as JSON.
            key_ttl_seconds: How long its key is kept; None: as long as the retention says.
            is_told: Whether it had succeeded before, so that nothing follows it a second time.
            runs: What follows its own run where that is still open.
            told: What is told the counts in any case.
        """
        values: dict[str, Any] = {"run": self._run, "state": state, "reason": reason, "result": result, "error": reason}
        values |= {"key_ttl_seconds": key_ttl_seconds, "is_told": is_told, **recorded(runs, "callback")}
        ended = self._connection.execute(_END, values).first() is not None
        if told:
            self._connection.execute(RECORD.clause, recorded(told, "callback"))
        self._connection.execute(_ENDED, {"run": self._run})
        return ended


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of a run that succeeded: whether its outcome `landed`, and whose turn it is `next`."""

    landed: bool
    next: Envelope | None = None


class Admitting:
    """Lets the runs of fan-outs in."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def finish(
        self,
        run: str,
        fence: int,
        *,
        result: str | None,
        key_ttl_seconds: float | None = None,
        peak_memory_bytes: int | None = None,
    ) -> Finished:
        """Record success, as `Runs.finish` does, and hand the run's place to the next in line.

        Args:
            run: A run of a fan-out.
            fence: Of the attempt.
            result: JSON, or None.
            key_ttl_seconds: How long the processed key is kept; None: as long as the retention says.
            peak_memory_bytes: Of the attempt.
        """
        values = ending(run, "succeeded", fence=fence, outcome="succeeded", result=result)
        values |= {"key_ttl_seconds": key_ttl_seconds, "peak_memory_bytes": peak_memory_bytes}
        rows = self._database.execute(_FINISH, values)
        if not rows:
            return Finished(landed=False)
        return Finished(landed=True, next=None if rows[0].run is None else Envelope(*rows[0][1:]))

    def open(self, limit: int) -> list[Standing]:
        """Return how the fan-outs stand that are not over, the oldest first."""
        return [Standing(**row._mapping) for row in self._database.execute(_OPEN, {"row_count": limit})]

    def standing(self, run: str) -> Standing | None:
        """Return how a fan-out stands; None where it is over."""
        rows = self._database.execute(_OF_ONE, {"run": run})
        return Standing(**rows[0]._asdict()) if rows else None

    @contextmanager
    def held(self, run: str, *, waiting: bool) -> Iterator[Held | None]:
        """Hold a fan-out in a transaction; None where it is over.

        Args:
            run: Its id.
            waiting: Whether to wait for whoever else holds it; else that is None too.
        """
        with self._database.transaction() as connection:
            lock = _LOCK_OPEN if waiting else _LOCK_IF_FREE
            row = connection.execute(lock, {"run": run}).first()
            yield None if row is None else Held(self._database, connection, run)
