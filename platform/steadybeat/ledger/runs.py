"""Runs: recorded, claimed, finished. One statement each, so that nothing is ever half done."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from steadybeat.ledger.claim import CLAIM, CLAIM_AT_ONCE, granted, judge
from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.failing import AFTERMATH, FAILED, PART
from steadybeat.ledger.prepared import Prepared
from steadybeat.ledger.recording import RECORD, RECORDING, recorded
from steadybeat.ledger.rows import Claim, NewRun
from steadybeat.settings import Settings

# Who may end an attempt: the holder of its fence, or the instance whose child it was, for the delivery it had.
MINE = """
    id = :run AND state = 'running'
    AND fence = coalesce(CAST(:fence AS bigint), fence)
    AND instance = coalesce(CAST(:instance AS uuid), instance)
    AND delivery_no <= coalesce(CAST(:delivery_no AS integer), delivery_no)"""

_END = f"""
    run AS (
        UPDATE steadybeat.runs
           SET state = :state, reason = :reason, result = CAST(:result AS jsonb), error = :error,
               finished_at = clock_timestamp(), lease_until = NULL, instance = NULL
         WHERE {MINE}
        RETURNING id, task, idempotency_key, attempt_count, schedule, state, reason, group_id, fan_out
    ),
    attempt AS (
        UPDATE steadybeat.attempts a
           SET finished_at = clock_timestamp(), outcome = :outcome, reason = :reason, error = :error,
               peak_memory_bytes = :peak_memory_bytes
          FROM run WHERE a.run = run.id AND a.number = run.attempt_count
    )"""

SUCCEED = f"""
    WITH {_END},
    key AS (
        UPDATE steadybeat.processed_keys k
           SET state = 'done', changed_at = clock_timestamp(),
               expires_at = clock_timestamp() + make_interval(secs => CAST(:key_ttl_seconds AS double precision))
          FROM run WHERE k.task = run.task AND k.key = run.idempotency_key AND k.step = '' AND k.run = run.id
    ),
    calm AS (
        UPDATE steadybeat.schedules s SET consecutive_failures = 0
          FROM run WHERE s.name = run.schedule AND s.consecutive_failures > 0
    )
"""
FINISH = Prepared(sql(f"{SUCCEED} SELECT id FROM run"))
FINISH_WITH_NEXT = sql(
    f"{SUCCEED}, {PART}, {RECORDING.format(condition='EXISTS (SELECT FROM run)')} SELECT id FROM run"
)
GIVE_UP = sql(f"""
    WITH {_END},
    key AS (
        DELETE FROM steadybeat.processed_keys k USING run
         WHERE k.task = run.task AND k.key = run.idempotency_key AND k.step = '' AND k.run = run.id
           AND k.state = 'held'
    ),
    {FAILED}
    SELECT id FROM run
""")
TRY_AGAIN = sql(f"""
    WITH run AS (
        UPDATE steadybeat.runs
           SET state = CASE WHEN cancel_requested_at IS NULL THEN 'waiting' ELSE 'cancelled' END,
               reason = CASE WHEN cancel_requested_at IS NULL THEN :reason ELSE cancel_reason END,
               finished_at = CASE WHEN cancel_requested_at IS NOT NULL THEN clock_timestamp() END, error = :error,
               not_before = coalesce(CAST(:not_before AS timestamptz),
                                     clock_timestamp() + make_interval(secs => :delay_seconds)),
               delivery_no = delivery_no + 1, retry_count = :retry_count, lease_until = NULL, instance = NULL,
               crash_count = crash_count + :crashes,
               in_line = fan_out IS NOT NULL,
               queue = coalesce(:queue, queue), message = coalesce(
                   jsonb_set(coalesce(CAST(:message AS jsonb), message), '{{headers,steadybeat_former_attempt}}',
                             to_jsonb(CAST(:former AS text))), CAST(:message AS jsonb), message),
               body = coalesce(:body, body)
         WHERE {MINE}
        RETURNING id, task, idempotency_key, attempt_count, delivery_no, not_before, state, in_line
    ),
    attempt AS (
        UPDATE steadybeat.attempts a
           SET finished_at = clock_timestamp(), outcome = :outcome, reason = :reason, error = :error,
               peak_memory_bytes = :peak_memory_bytes
          FROM run WHERE a.run = run.id AND a.number = run.attempt_count
    ),
    later AS (
        INSERT INTO steadybeat.outbox (publish_at, run, delivery_no, reason)
        SELECT not_before, id, delivery_no, 'retry' FROM run WHERE state = 'waiting' AND NOT in_line
    ),
    key AS (
        DELETE FROM steadybeat.processed_keys k USING run
         WHERE run.state = 'cancelled' AND k.task = run.task AND k.key = run.idempotency_key AND k.step = ''
           AND k.run = run.id AND k.state = 'held'
    ),
    {AFTERMATH}
    SELECT id FROM run
""")
END_UNSTARTED = sql(f"""
    WITH run AS (
        UPDATE steadybeat.runs
           SET state = :state, reason = :reason, finished_at = clock_timestamp(), instance = NULL, lease_until = NULL
         WHERE id = :run AND finished_at IS NULL AND delivery_no <= :delivery_no
        RETURNING id, task, idempotency_key, schedule, scheduled_for, state, reason
    ),
    fire AS (
        UPDATE steadybeat.fires f SET state = :fire_state, cause = :cause, reason = run.reason
          FROM run
         WHERE CAST(:fire_state AS text) IS NOT NULL AND f.schedule = run.schedule
           AND f.scheduled_for = run.scheduled_for AND f.state IN ('expected', 'waiting', 'dispatched')
    ),
    attempt AS (
        UPDATE steadybeat.attempts a SET outcome = 'lost', finished_at = clock_timestamp()
          FROM run WHERE a.run = run.id AND a.finished_at IS NULL
    ),
    waiting AS (DELETE FROM steadybeat.outbox o USING run WHERE o.run = run.id),
    key AS (
        DELETE FROM steadybeat.processed_keys k USING run
         WHERE k.task = run.task AND k.key = run.idempotency_key AND k.step = '' AND k.run = run.id
           AND k.state = 'held'
    ),
    {FAILED}
    SELECT id FROM run
""")
LEFT_BY = sql("SELECT id FROM steadybeat.runs WHERE id = :run AND fence = :fence AND state <> 'running'")
SEND_THROUGH_OUTBOX = sql("""
    INSERT INTO steadybeat.outbox (publish_at, run, delivery_no, reason)
    SELECT clock_timestamp(), id, delivery_no, :reason FROM steadybeat.runs
     WHERE id = ANY(CAST(:run_ids AS uuid[])) AND state = 'enqueued'
       AND (started_at IS NULL OR fan_out IS NOT NULL)
    ON CONFLICT (run, delivery_no) DO NOTHING
""")


class Runs:
    """What happens to runs."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    def record(self, run: NewRun, *, outbox_reason: str | None = None, connection: Connection | None = None) -> bool:
        """Write a run before its message is sent.

        Args:
            run: The run and its message.
            outbox_reason: The relay sends it, at `not_before` or at once, for this reason; None: the caller sends it.
            connection: Of the caller's transaction, if it is to be part of one.

        Returns:
            Whether it is new; False where a run of this id is on record, which is left as it is.
        """
        values = recorded([run], outbox_reason)
        if connection is not None:
            return connection.execute(RECORD.clause, values).first() is not None
        return bool(self._database.execute(RECORD, values))

    def record_all(self, runs: Sequence[NewRun]) -> None:
        """Write many runs, in one statement, before their messages are sent; those on record are left as they are."""
        if runs:
            self._database.execute(RECORD, recorded(runs, None))

    def follow(self, connection: Connection, runs: Sequence[NewRun]) -> None:
        """Write runs that follow another inside a transaction; the relay sends them."""
        if runs:
            connection.execute(RECORD.clause, recorded(runs, "callback"))

    def claim(
        self,
        run: str,
        *,
        delivery_no: int,
        instance: str,
        time_limit_seconds: float,
        crash_limit: int,
        claim_id: str | None = None,
        retry_for_seconds: float | None = None,
    ) -> Claim:
        """Take the right to work on a run, or learn why not. Nothing but ``claimed`` changes anything.

        Args:
            run: Its id.
            delivery_no: Which delivery brought it here.
            instance: The process that will work on it.
            time_limit_seconds: After this the process is killed.
            crash_limit: That many deaths of a worker under this run make it poisonous.
            claim_id: The same each time that one attempt asks: where the answer was lost on its way, it is given again.
            retry_for_seconds: No attempt begins later than this after the first one; None: whenever.
        """
        values = {
            "run": run,
            "delivery_no": delivery_no,
            "instance": instance,
            "lease_seconds": time_limit_seconds + self._settings.lease_margin_seconds,
            "crash_limit": crash_limit,
            "claim_id": claim_id,
            "retry_for_seconds": retry_for_seconds,
        }
        rows = self._database.execute(CLAIM_AT_ONCE, values)
        if rows:
            return granted(rows[0])
        rows = self._database.execute(CLAIM, values)
        return judge(rows[0]) if rows else Claim(verdict="unknown", detail="no such run is recorded")

    def finish(
        self,
        run: str,
        fence: int,
        *,
        result: str | None,
        next_runs: Sequence[NewRun] = (),
        key_ttl_seconds: float | None = None,
        peak_memory_bytes: int | None = None,
        part: bool = False,
    ) -> bool:
        """Record success: outcome, processed key and the runs that follow. Return whether the fence still matched.

        Args:
            run: Its id.
            fence: Of the attempt.
            result: JSON, or None.
            next_runs: Callbacks and the rest of a chain; the relay sends them.
            key_ttl_seconds: How long the processed key is kept; None: as long as the retention says.
            part: It is a part of a chord, which then waits for one less.
            peak_memory_bytes: Of the attempt.
        """
        values: dict[str, Any] = ending(run, "succeeded", fence=fence, outcome="succeeded", result=result)
        values |= {"key_ttl_seconds": key_ttl_seconds, "peak_memory_bytes": peak_memory_bytes}
        if not next_runs and not part:
            return bool(self._database.execute(FINISH, values))
        return bool(self._database.execute(FINISH_WITH_NEXT, values | recorded(next_runs, "callback")))

    def give_up(
        self,
        run: str,
        *,
        fence: int | None = None,
        instance: str | None = None,
        reason: str,
        error: str,
        outcome: str = "failed",
        state: str = "dead",
        peak_memory_bytes: int | None = None,
        delivery_no: int | None = None,
    ) -> bool:
        """Make a dead letter of a running run and free its key. Return whether it was still ours.

        Either `fence` (inside the attempt) or `instance` with `delivery_no` (its parent process) says who asks.
        """
        values = ending(run, state, fence=fence, instance=instance, outcome=outcome, reason=reason, error=error)
        values["peak_memory_bytes"] = peak_memory_bytes
        values["delivery_no"] = delivery_no
        return bool(self._database.execute(GIVE_UP, values))

    def try_again(  # noqa: PLR0913 - each says another thing of an attempt that ends
        self,
        run: str,
        *,
        fence: int | None = None,
        instance: str | None = None,
        reason: str,
        error: str | None,
        retry_count: int,
        outcome: str = "retried",
        delay_seconds: float = 0.0,
        crashes: int = 0,
        changed: NewRun | None = None,
        peak_memory_bytes: int | None = None,
        delivery_no: int | None = None,
        former: str | None = None,
    ) -> bool:
        """End an attempt and put the run into the outbox for another. Return whether it was still ours.

        Args:
            run: Its id.
            fence: Of the attempt, where the attempt itself asks.
            instance: Of the parent process, where that asks.
            reason: Why it is tried again.
            error: The exception with its stack.
            retry_count: Retries so far, this one included.
            outcome: Of the attempt that ends.
            delay_seconds: When, where `changed` says no other time.
            crashes: Deaths of a worker to add.
            changed: The message that replaces the run's own.
            peak_memory_bytes: Of the attempt.
            delivery_no: Where the parent asks: the delivery that brought the attempt; a later one is not its own.
            former: Where in its trace the attempt that ends is, for the message of the next.
        """
        values = {
            "former": former,
            "run": run,
            "delivery_no": delivery_no,
            "fence": fence,
            "instance": instance,
            "reason": reason,
            "error": error,
            "outcome": outcome,
            "not_before": changed and changed.not_before,
            "delay_seconds": delay_seconds,
            "retry_count": retry_count,
            "crashes": crashes,
            "peak_memory_bytes": peak_memory_bytes,
            "queue": changed and changed.queue,
            "message": json.dumps(changed.message) if changed else None,
            "body": changed and changed.body,
        }
        return bool(self._database.execute(TRY_AGAIN, values))

    def end_unstarted(
        self,
        run: str,
        *,
        delivery_no: int,
        state: str,
        reason: str,
        fire_state: str | None = None,
        cause: str | None = None,
    ) -> bool:
        """End a run of which no attempt works: cancelled, past its deadline, poisonous, unknown, a duplicate.

        Args:
            run: Its id.
            delivery_no: The delivery that brought it here.
            state: ``cancelled`` or ``dead``.
            reason: Why.
            fire_state: What becomes of its fire, where that changes; in ``waiting`` it gets another turn.
            cause: The reason as one word, for the fire.
        """
        values = {"run": run, "delivery_no": delivery_no, "state": state, "reason": reason}
        return bool(self._database.execute(END_UNSTARTED, values | {"fire_state": fire_state, "cause": cause}))

    def left_by(self, run: str, fence: int) -> bool:
        """Return whether the attempt with this fence has ended, as far as the ledger knows: its outcome had landed."""
        return bool(self._database.execute(LEFT_BY, {"run": run, "fence": fence}))

    def send_through_outbox(self, runs: Sequence[str], reason: str) -> None:
        """Leave recorded runs that could not be sent to the relay."""
        self._database.execute(SEND_THROUGH_OUTBOX, {"run_ids": list(runs), "reason": reason})


def ending(run: str, state: str, **values: Any) -> dict[str, Any]:
    """Return the values of a statement by which an attempt ends its run."""
    unsaid = dict.fromkeys(("fence", "instance", "delivery_no", "reason", "result", "error", "peak_memory_bytes"))
    return {"run": run, "state": state, **unsaid, **values}
