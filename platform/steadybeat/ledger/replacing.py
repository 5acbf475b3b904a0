"""Replacing: a run that goes on as the last step of a canvas."""

from __future__ import annotations

from collections.abc import Sequence

from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.recording import RECORDING, recorded
from steadybeat.ledger.rows import NewRun
from steadybeat.ledger.runs import MINE

_REPLACE = sql(f"""
    WITH run AS (
        UPDATE steadybeat.runs
           SET state = 'waiting', reason = :reason, error = NULL, replaced_at = clock_timestamp(),
               lease_until = NULL, instance = NULL
         WHERE {MINE}
        RETURNING id, attempt_count
    ),
    attempt AS (
        UPDATE steadybeat.attempts a SET finished_at = clock_timestamp(), outcome = 'succeeded'
          FROM run WHERE a.run = run.id AND a.number = run.attempt_count
    ),
    {RECORDING.format(condition="EXISTS (SELECT FROM run)")}
    SELECT id FROM run
""")


class Replacing:
    """Lets canvases take the place of runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def replace(self, run: str, fence: int, *, reason: str, runs: Sequence[NewRun]) -> bool:
        """End an attempt, and write the first steps of the canvas that takes the run's place.

        The run keeps its id and its processed key, and waits. The last step of the canvas has its id, and goes on
        as this run.

        Args:
            run: Its id.
            fence: Of the attempt.
            reason: What takes its place, in words.
            runs: The first steps.

        Returns:
            Whether the fence still matched.
        """
        values = {
            "run": run,
            "fence": fence,
            "instance": None,
            "delivery_no": None,
            "reason": reason,
            **recorded(runs, "callback"),
        }
        return bool(self._database.execute(_REPLACE, values))
