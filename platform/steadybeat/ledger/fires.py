"""Fires: written ahead, due, marked. A scheduler that dies leaves rows past their time: absence becomes data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime

from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.rows import FireRow

_EXPECT = sql("""
    WITH watermark AS (
        UPDATE steadybeat.schedules SET expected_until = :until
         WHERE name = :name AND revision = :revision AND expected_until < :until
           AND (retired_at IS NULL OR retired_at >= :until)
        RETURNING name, revision
    )
    INSERT INTO steadybeat.fires AS f (schedule, scheduled_for, due_at, state, reason, revision)
    SELECT watermark.name, given.scheduled_for, given.due_at, given.state, given.reason, watermark.revision
      FROM watermark,
           jsonb_to_recordset(CAST(:fires AS jsonb))
           AS given (scheduled_for timestamptz, due_at timestamptz, state text, reason text)
    ON CONFLICT (schedule, scheduled_for) DO UPDATE
       SET state = 'expected', reason = NULL, due_at = excluded.due_at, revision = excluded.revision
     WHERE f.state = 'superseded' AND f.revision < excluded.revision
""")
_DUE = sql("""
    SELECT f.schedule, f.scheduled_for, f.due_at, f.revision, f.state, f.reason
      FROM steadybeat.fires f
     WHERE f.state IN ('expected', 'waiting') AND f.due_at <= :until
     ORDER BY f.due_at, f.schedule
     LIMIT CAST(:row_count AS integer)
""")
_UNDER_WAY = sql("""
    SELECT schedule, scheduled_for FROM steadybeat.runs
     WHERE schedule = ANY(:names) AND finished_at IS NULL
""")
_MARK = sql("""
    UPDATE steadybeat.fires f
       SET state = given.state, reason = given.reason, run_id = given.run_id, term = :term,
           dispatched_at = CASE WHEN given.state = 'dispatched' THEN clock_timestamp() END
      FROM jsonb_to_recordset(CAST(:fires AS jsonb))
           AS given (schedule text, scheduled_for timestamptz, state text, reason text, run_id uuid)
     WHERE f.schedule = given.schedule AND f.scheduled_for = given.scheduled_for
       AND f.state IN ('expected', 'waiting')
""")
_TERM = sql("SELECT nextval('steadybeat.terms') AS term")


class Fires:
    """What is due, and what became of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def expect(self, schedule: str, revision: int, until: datetime, fires: Iterable[FireRow]) -> None:
        """Write fires ahead and move the schedule's watermark, together, unless its revision has moved on.

        Args:
            schedule: Its name.
            revision: The definition that the fires were computed from.
            until: Every fire up to and including this instant is in `fires`, or was written before.
            fires: The fires after the former watermark.
        """
        rows = [
            {
                "scheduled_for": fire.scheduled_for.isoformat(),
                "due_at": fire.due_at.isoformat(),
                "state": fire.state,
                "reason": fire.reason,
            }
            for fire in fires
        ]
        values = {"name": schedule, "revision": revision, "until": until, "fires": json.dumps(rows)}
        self._database.execute(_EXPECT, values)

    def due(self, until: datetime, limit: int) -> list[FireRow]:
        """Return the fires due by `until` that nothing has become of yet, earliest first."""
        return [FireRow(**row._mapping) for row in self._database.execute(_DUE, {"until": until, "row_count": limit})]

    def under_way(self, schedules: Iterable[str]) -> set[tuple[str, datetime]]:
        """Return the fires of some schedules whose runs have not ended, as (schedule, scheduled_for)."""
        rows = self._database.execute(_UNDER_WAY, {"names": sorted(set(schedules))})
        return {(row.schedule, row.scheduled_for) for row in rows}

    def mark(self, term: int, marks: Sequence[tuple[FireRow, str | None]]) -> None:
        """Write what became of fires, all in one statement; fires that were claimed meanwhile keep their state.

        Args:
            term: The leadership that decided.
            marks: Each fire, in the state and with the reason it is to have, and its run.
        """
        rows = [
            {
                "schedule": fire.schedule,
                "scheduled_for": fire.scheduled_for.isoformat(),
                "state": fire.state,
                "reason": fire.reason,
                "run_id": run,
            }
            for fire, run in marks
        ]
        self._database.execute(_MARK, {"term": term, "fires": json.dumps(rows)})

    def next_term(self) -> int:
        """Return the number of a new leadership."""
        return int(self._database.execute(_TERM)[0].term)
