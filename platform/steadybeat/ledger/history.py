"""History: what became of many fires of one schedule, and who did what to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from steadybeat.ledger.connection import Database, sql

# The runs of a fire are its own and the reruns of it.
_FIRES = sql("""
    WITH of_fire AS (
        SELECT scheduled_for, bool_or(finished_at IS NULL) AS is_open, bool_or(state = 'succeeded') AS succeeded,
               (array_agg(id ORDER BY enqueued_at DESC, id DESC))[1] AS run,
               (array_agg(state ORDER BY enqueued_at DESC, id DESC))[1] AS run_state,
               (array_agg(reason ORDER BY enqueued_at DESC, id DESC))[1] AS run_reason,
               (array_agg(rerun_of IS NOT NULL ORDER BY enqueued_at DESC, id DESC))[1] AS is_rerun,
               max(enqueued_at) FILTER (WHERE idempotency_key LIKE '%#again-%') AS again_at
          FROM steadybeat.runs
         WHERE schedule = :schedule AND scheduled_for BETWEEN :since AND :until
         GROUP BY scheduled_for
    )
    SELECT scheduled_for, f.state, f.reason, f.asked, f.due_at, r.run, r.run_state, r.run_reason,
           coalesce(r.is_open, false) AS is_open, coalesce(r.succeeded, false) AS succeeded,
           coalesce(r.is_rerun, false) AS is_rerun, r.again_at
      FROM (SELECT * FROM steadybeat.fires
             WHERE schedule = :schedule AND scheduled_for BETWEEN :since AND :until) f
      FULL JOIN of_fire r USING (scheduled_for)
     ORDER BY scheduled_for
""")
_LAST = sql("""
    SELECT f.scheduled_for, f.due_at, f.state, f.reason, f.asked, f.run_id AS run, r.state AS run_state,
           r.reason AS run_reason
      FROM steadybeat.fires f LEFT JOIN steadybeat.runs r ON r.id = f.run_id
     WHERE f.schedule = :schedule AND f.state <> 'superseded' AND (f.due_at <= :until OR f.state <> 'expected')
     ORDER BY f.scheduled_for DESC LIMIT CAST(:row_count AS integer)
""")
_DONE = sql("""
    SELECT key FROM steadybeat.processed_keys
     WHERE task = :task AND key = ANY(:names) AND step = '' AND state = 'done'
""")
_STATES = sql("""
    SELECT id, state, reason, finished_at FROM steadybeat.runs WHERE id = ANY(CAST(:run_ids AS uuid[]))
""")
_OPERATIONS = sql("""
    SELECT at, who, what, reason, details FROM steadybeat.operations
     WHERE target = :target AND (CAST(:what AS text) IS NULL OR what = :what)
     ORDER BY id DESC LIMIT CAST(:row_count AS integer)
""")

_RECENT_OPERATIONS = sql("""
    SELECT id, at, who, what, target, reason, details FROM steadybeat.operations
     WHERE (CAST(:before_id AS bigint) IS NULL OR id < :before_id)
       AND (CAST(:who AS text) IS NULL OR who = :who)
       AND (CAST(:target AS text) IS NULL OR target = :target)
     ORDER BY id DESC LIMIT CAST(:row_count AS integer)
""")


class History:
    """What became of fires, and who did what. Rows are plain mappings, for a table or for JSON."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def fires(self, schedule: str, since: datetime, until: datetime) -> list[dict[str, Any]]:
        """Return the fires of a schedule that are on record, both ends included, by their nominal time.

        Returns:
            Of each what became of it, and of its newest run, reruns included: ``run``, ``run_state``, whether one
            ``is_open`` and whether one ``succeeded``, whether the newest ``is_rerun``, and when it was last run with
            another key (``again_at``). ``state`` is None where only a run is on record.
        """
        return self._mappings(_FIRES, {"schedule": schedule, "since": since, "until": until})

    def last_fires(self, schedule: str, until: datetime, limit: int) -> list[dict[str, Any]]:
        """Return the newest fires of a schedule of which something has become, or that were due by `until`."""
        return self._mappings(_LAST, {"schedule": schedule, "until": until, "row_count": limit})

    def done(self, task: str, keys: Sequence[str]) -> set[str]:
        """Return those of some idempotency keys of a task whose effect has happened."""
        return {row["key"] for row in self._mappings(_DONE, {"task": task, "names": list(keys)})}

    def states(self, runs: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return the state of some runs, and why it is so, by their ids."""
        return {str(row["id"]): row for row in self._mappings(_STATES, {"run_ids": list(runs)})}

    def operations(self, target: str, *, what: str | None = None, limit: int) -> list[dict[str, Any]]:
        """Return what people did to something, the newest first.

        Args:
            target: Such as the name of a schedule.
            what: Only this, such as ``schedules pause``.
            limit: How many at the most.
        """
        return self._mappings(_OPERATIONS, {"target": target, "what": what, "row_count": limit})

    def recent_operations(
        self, *, who: str | None = None, target: str | None = None, before: int | None = None, limit: int
    ) -> list[dict[str, Any]]:
        """Return what people did, the newest first.

        Args:
            who: Only what this person did.
            target: Only what was done to this.
            before: Only those older than the one with this id.
            limit: How many at the most.
        """
        values = {"who": who, "target": target, "before_id": before, "row_count": limit}
        return self._mappings(_RECENT_OPERATIONS, values)

    def _mappings(self, statement: Any, values: dict[str, Any]) -> list[dict[str, Any]]:
        return [dict(row._mapping) for row in self._database.execute(statement, values)]
