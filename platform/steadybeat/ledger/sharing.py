"""Sharing: runs whose key another run has, and that get its result instead of an effect of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.failing import PART
from steadybeat.ledger.recording import RECORDING, recorded
from steadybeat.ledger.rows import NewRun

_LOST = """
    attempt AS (
        UPDATE steadybeat.attempts a SET outcome = 'lost', finished_at = clock_timestamp()
          FROM run WHERE a.run = run.id AND a.finished_at IS NULL
    )"""
_STANDING = sql("SELECT state, result, finished_at FROM steadybeat.runs WHERE id = :run")
_ANSWER = sql(f"""
    WITH run AS (
        UPDATE steadybeat.runs
           SET state = 'succeeded', reason = :reason, result = CAST(:result AS jsonb), finished_at = clock_timestamp(),
               instance = NULL, lease_until = NULL
         WHERE id = :run AND finished_at IS NULL AND delivery_no <= :delivery_no
        RETURNING id, state, group_id
    ),
    {_LOST},
    {PART},
    waiting AS (DELETE FROM steadybeat.outbox o USING run WHERE o.run = run.id),
    {RECORDING.format(condition="EXISTS (SELECT FROM run)")}
    SELECT id FROM run
""")
_POSTPONE = sql(f"""
    WITH run AS (
        UPDATE steadybeat.runs
           SET state = 'waiting', reason = :reason, delivery_no = delivery_no + 1, instance = NULL, lease_until = NULL,
               not_before = clock_timestamp() + make_interval(secs => :delay_seconds)
         WHERE id = :run AND finished_at IS NULL AND delivery_no = :delivery_no
        RETURNING id, delivery_no, not_before
    ),
    {_LOST},
    later AS (
        INSERT INTO steadybeat.outbox (publish_at, run, delivery_no, reason)
        SELECT not_before, id, delivery_no, 'delayed' FROM run
    )
    SELECT id FROM run
""")


class Sharing:
    """What becomes of a run whose task says ``on_conflict="return_result"``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def standing(self, run: str) -> Any:
        """Return a row with ``state``, ``result`` and ``finished_at`` of a run, or None where it is forgotten."""
        rows = self._database.execute(_STANDING, {"run": run})
        return rows[0] if rows else None

    def answer(self, run: str, *, delivery_no: int, reason: str, result: Any, next_runs: Sequence[NewRun] = ()) -> bool:
        """End a run with the result of another, together with the runs that follow it; return whether it had not ended.

        Args:
            run: Its id.
            delivery_no: The delivery that brought it here.
            reason: Whose result it is.
            result: As the ledger has it.
            next_runs: Its callbacks and the rest of its chain.
        """
        values = {"run": run, "delivery_no": delivery_no, "reason": reason, "result": json.dumps(result)}
        return bool(self._database.execute(_ANSWER, values | recorded(next_runs, "callback")))

    def postpone(self, run: str, *, delivery_no: int, reason: str, delay_seconds: float) -> bool:
        """Have a run delivered again later; return whether it still depended on this delivery.

        Args:
            run: Its id.
            delivery_no: The delivery that brought it here.
            reason: What it waits for.
            delay_seconds: How long.
        """
        values = {"run": run, "delivery_no": delivery_no, "reason": reason, "delay_seconds": delay_seconds}
        return bool(self._database.execute(_POSTPONE, values))
