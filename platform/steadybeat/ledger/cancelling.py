"""Cancelling: a run that is not to go on. What no attempt works on ends at once; the others are told."""

from __future__ import annotations

from collections.abc import Sequence

from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.failing import AFTERMATH

_REQUEST = sql(f"""
    WITH run AS (
        UPDATE steadybeat.runs
           SET cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp()),
               state = CASE WHEN state = 'running' THEN state ELSE 'cancelled' END,
               reason = CASE WHEN state = 'running' THEN reason ELSE :reason END,
               finished_at = CASE WHEN state = 'running' THEN NULL ELSE clock_timestamp() END
         WHERE id = ANY(CAST(:run_ids AS uuid[])) AND finished_at IS NULL
        RETURNING id, task, idempotency_key, state
    ),
    key AS (
        DELETE FROM steadybeat.processed_keys k USING run
         WHERE run.state = 'cancelled' AND k.task = run.task AND k.key = run.idempotency_key AND k.step = ''
           AND k.run = run.id AND k.state = 'held'
    ),
    {AFTERMATH}
    SELECT id FROM run WHERE state = 'running'
""")


class Cancelling:
    """Ends runs before their time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def request(self, runs: Sequence[str], reason: str) -> list[str]:
        """Ask for the end of runs; those that no attempt works on have ended then.

        Args:
            runs: Their ids.
            reason: Why.

        Returns:
            Those that are being worked on: their workers are to be told.
        """
        rows = self._database.execute(_REQUEST, {"run_ids": list(runs), "reason": reason})
        return [str(row.id) for row in rows]
