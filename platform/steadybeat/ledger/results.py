"""Results: what somebody who waits for a task asks, and what is kept for that beside the runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from steadybeat.ledger.connection import Database, sql

# What a task says of itself counts while it is worked on; what the end of another decided, until it has a run.
_STANDING = sql("""
    SELECT wanted.id, r.task, r.state, r.reason, r.error, CAST(r.result AS text) AS result, r.attempt_count,
           r.retry_count, r.queue, coalesce(r.parent_id, r.fan_out) AS parent_id, r.group_id, r.finished_at,
           r.replaced_at IS NOT NULL OR r.state = 'waiting' AND EXISTS (
               SELECT FROM steadybeat.fan_outs f WHERE f.run = r.id AND f.written_at IS NOT NULL) AS goes_on,
           i.host, i.pid,
           said.state AS said, CAST(said.result AS text) AS said_result, said.traceback AS said_traceback,
           said.changed_at AS said_at,
           CASE WHEN r.state = 'dead' THEN (
               SELECT a.outcome FROM steadybeat.attempts a WHERE a.run = r.id ORDER BY a.number DESC LIMIT 1) END
               AS outcome,
           CASE WHEN r.finished_at IS NOT NULL THEN (
               SELECT array_agg(CAST(c.id AS text) ORDER BY c.id) FROM steadybeat.runs c WHERE c.parent_id = r.id) END
               AS children
      FROM unnest(CAST(:names AS text[]), CAST(:run_ids AS uuid[])) AS wanted (id, run)
      LEFT JOIN steadybeat.runs r ON r.id = wanted.run
      LEFT JOIN steadybeat.instances i ON i.id = r.instance
      LEFT JOIN steadybeat.results said
        ON said.id = wanted.id
       AND (r.id IS NULL OR r.state = 'running' AND said.changed_at > r.started_at)
       AND (said.run IS NULL
            OR EXISTS (SELECT FROM steadybeat.runs c WHERE c.id = said.run AND c.state IN ('dead', 'cancelled')))
""")
_SAY = sql("""
    INSERT INTO steadybeat.results (id, state, result, traceback)
    SELECT :id, :state, CAST(:result AS jsonb), :traceback
     WHERE CAST(:run AS uuid) IS NULL OR NOT EXISTS (SELECT FROM steadybeat.runs r WHERE r.id = :run)
    ON CONFLICT (id) DO UPDATE
       SET state = excluded.state, result = excluded.result, traceback = excluded.traceback, run = NULL,
           changed_at = clock_timestamp()
""")
_FORGET = sql("""
    WITH said AS (DELETE FROM steadybeat.results WHERE id = :id)
    UPDATE steadybeat.runs SET result = 'null'
     WHERE id = :run AND state = 'succeeded' AND result IS NOT NULL AND result <> 'null'
""")
_SAVE_GROUP = sql("""
    INSERT INTO steadybeat.groups (id, result) VALUES (:id, CAST(:result AS jsonb))
    ON CONFLICT (id) DO UPDATE SET result = excluded.result
""")
_GROUP = sql("SELECT CAST(result AS text) AS result FROM steadybeat.groups WHERE id = :id")
_DELETE_GROUP = sql("DELETE FROM steadybeat.groups WHERE id = :id")


class Results:
    """What somebody who waits for a task asks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def standing(self, ids: Sequence[str]) -> list[Any]:
        """Return what is known of some tasks, by Celery's ids; of one that nobody has heard of ``state`` is None."""
        values = {"names": list(ids), "run_ids": [_run_id(each) for each in ids]}
        return self._database.execute(_STANDING, values)

    def say(self, task_id: str, state: str, result: str | None, traceback: str | None, *, made_up: bool) -> None:
        """Keep what becomes of a task that is no run.

        Args:
            task_id: Celery's id.
            state: Celery's word, or one of the task's own.
            result: JSON.
            traceback: Of an error.
            made_up: The state is the task's own word, and may stand beside that of a run.
        """
        run = None if made_up else _run_id(task_id)
        values = {"id": task_id, "state": state, "result": result, "traceback": traceback, "run": run}
        self._database.execute(_SAY, values)

    def forget(self, task_id: str) -> None:
        """Drop what a task gave back; that it has run stays on record."""
        self._database.execute(_FORGET, {"id": task_id, "run": _run_id(task_id)})

    def save_group(self, group_id: str, result: str) -> None:
        """Keep the JSON that a group's results are known by."""
        self._database.execute(_SAVE_GROUP, {"id": group_id, "result": result})

    def group(self, group_id: str) -> str | None:
        """Return what was kept of a group, or None."""
        rows = self._database.execute(_GROUP, {"id": group_id})
        return rows[0].result if rows else None

    def delete_group(self, group_id: str) -> None:
        """Drop what was kept of a group."""
        self._database.execute(_DELETE_GROUP, {"id": group_id})


def _run_id(task_id: str) -> str | None:
    try:
        return str(UUID(task_id))
    except (ValueError, AttributeError, TypeError):
        return None
