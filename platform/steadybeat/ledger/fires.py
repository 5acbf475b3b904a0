"""Fires: written ahead, due, marked. A scheduler that dies leaves rows past their time: absence becomes data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.prepared import Prepared
from steadybeat.ledger.rows import FireRow

_EXPECT = sql("""
    WITH given AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(CAST(:watermarks AS jsonb))
            AS given (name text, revision bigint, until timestamptz)
    ),
    -- one that somebody is just editing is left for later, and keeps nobody waiting
    free AS MATERIALIZED (
        SELECT s.name FROM given JOIN steadybeat.schedules s ON s.name = given.name
         ORDER BY s.name FOR UPDATE OF s SKIP LOCKED
    ),
    watermark AS (
        UPDATE steadybeat.schedules s SET expected_until = given.until
          FROM given JOIN free ON free.name = given.name
         WHERE s.name = given.name AND s.revision = given.revision AND s.expected_until < given.until
           AND (s.retired_at IS NULL OR s.retired_at >= given.until)
        RETURNING s.name, s.revision
    ),
    written AS (
    INSERT INTO steadybeat.fires AS f (schedule, scheduled_for, due_at, state, reason, cause, revision)
    SELECT watermark.name, fire.scheduled_for, fire.due_at, fire.state, fire.reason, fire.cause, watermark.revision
      FROM watermark
      JOIN jsonb_to_recordset(CAST(:fires AS jsonb))
           AS fire (schedule text, scheduled_for timestamptz, due_at timestamptz, state text, reason text, cause text)
        ON fire.schedule = watermark.name
    ON CONFLICT (schedule, scheduled_for) DO UPDATE
       SET state = 'expected', reason = NULL, cause = NULL, asked = NULL, due_at = excluded.due_at,
           revision = excluded.revision
     WHERE f.state = 'superseded' AND f.revision < excluded.revision
    )
    SELECT name FROM free
""")
_FIRE = "f.schedule, f.scheduled_for, f.due_at, f.revision, f.state, f.reason, f.cause, f.asked"
_DUE = Prepared(
    sql(f"""
    SELECT {_FIRE} FROM steadybeat.fires f
     WHERE f.state = 'expected' AND f.due_at <= :until
     ORDER BY f.due_at
     LIMIT CAST(:row_count AS integer)
""")
)
_COMING = Prepared(
    sql(f"""
    SELECT {_FIRE} FROM steadybeat.fires f
     WHERE f.state = 'expected' AND f.due_at <= :until
       AND f.due_at >= :since
       AND (f.due_at, f.schedule, f.scheduled_for) > (:since, :after_name, :after_fire)
     ORDER BY f.due_at, f.schedule, f.scheduled_for
     LIMIT CAST(:row_count AS integer)
""")
)
# The first in the queue of each schedule of which no run goes on.
_TURN = Prepared(
    sql(f"""
    SELECT DISTINCT ON (f.schedule) {_FIRE}
      FROM steadybeat.fires f JOIN steadybeat.schedules s ON s.name = f.schedule
     WHERE f.state = 'waiting' AND (s.paused_at IS NULL OR f.asked IS NOT NULL)
       AND NOT EXISTS (SELECT FROM steadybeat.runs r
                        WHERE r.schedule = f.schedule AND r.finished_at IS NULL
                          AND (r.attempt_count > 0 OR r.enqueued_at <= :until))
     ORDER BY f.schedule, f.scheduled_for
     LIMIT CAST(:row_count AS integer)
""")
)
_QUEUED = sql("""
    SELECT schedule, count(*) AS fire_count FROM steadybeat.fires
     WHERE state = 'waiting' AND schedule = ANY(:names) GROUP BY schedule
""")
# A run that was built ahead of a fire which is still to be decided stands in nobody's way.
_UNDER_WAY = sql("""
    SELECT r.schedule, r.scheduled_for, r.id FROM steadybeat.runs r
     WHERE r.schedule = ANY(:names) AND r.finished_at IS NULL
       AND (r.attempt_count > 0
            OR r.enqueued_at <= :until
               AND NOT EXISTS (SELECT FROM steadybeat.fires f
                                WHERE f.schedule = r.schedule AND f.scheduled_for = r.scheduled_for
                                  AND f.state = 'expected'))
""")
# A run whose fire is not to run was built ahead, or its message is on the way to a claim that refuses it.
_MARK = sql("""
    WITH given AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(CAST(:fires AS jsonb))
            AS given (schedule text, scheduled_for timestamptz, state text, reason text, cause text, run_id uuid)
    ),
    free AS MATERIALIZED (
        SELECT f.schedule, f.scheduled_for
          FROM given JOIN steadybeat.fires f
            ON f.schedule = given.schedule AND f.scheduled_for = given.scheduled_for
         ORDER BY f.schedule, f.scheduled_for FOR UPDATE OF f SKIP LOCKED
    ),
    fire AS (
        UPDATE steadybeat.fires f
           SET state = given.state, reason = given.reason, cause = given.cause, term = :term,
               run_id = CASE WHEN given.state = 'dispatched' THEN given.run_id END,
               dispatched_at = CASE WHEN given.state = 'dispatched' THEN clock_timestamp() END
          FROM given JOIN free ON free.schedule = given.schedule AND free.scheduled_for = given.scheduled_for
         WHERE f.schedule = given.schedule AND f.scheduled_for = given.scheduled_for
           AND f.state IN ('expected', 'waiting')
           -- its claim was quicker than this, and had it wait
           AND NOT (f.state = 'waiting' AND given.state = 'dispatched' AND EXISTS (
                SELECT FROM steadybeat.runs r
                 WHERE r.id = given.run_id AND r.state = 'cancelled' AND r.attempt_count = 0
                   AND r.cancel_requested_at IS NULL))
        RETURNING f.schedule, f.state, given.run_id
    ),
    taken_back AS (
        UPDATE steadybeat.runs r
           SET state = 'cancelled', reason = 'its fire was not to run', finished_at = clock_timestamp()
         WHERE r.id = ANY(ARRAY(SELECT run_id FROM fire WHERE state <> 'dispatched'))
           AND r.state = 'enqueued' AND r.attempt_count = 0 AND r.finished_at IS NULL
    ),
    counted AS (
        UPDATE steadybeat.schedules s SET fire_count = s.fire_count + counted.fire_count
          FROM (SELECT schedule, count(*) AS fire_count FROM fire
                 WHERE state = 'dispatched' AND schedule = ANY(:names) GROUP BY schedule) counted
         WHERE s.name = counted.schedule
    )
    SELECT schedule, scheduled_for FROM free
""")
_TERM = sql("SELECT nextval('steadybeat.terms') AS term")


@dataclass(frozen=True, slots=True)
class Expected:
    """The fires of one schedule that are written ahead.

    Attributes:
        schedule: Its name.
        revision: The definition that the fires were computed from.
        until: Every fire up to and including this instant is in `fires`, or was written before.
        fires: The fires after the former watermark.
    """

    schedule: str
    revision: int
    until: datetime
    fires: Sequence[FireRow] = ()


class Fires:
    """What is due, and what became of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def expect(self, expected: Sequence[Expected]) -> set[str]:
        """Write fires ahead and move the watermarks of their schedules, together.

        What was computed from a definition that has changed since is left out.

        Returns:
            The names of the schedules that this is done for; the others are just being edited.
        """
        watermarks = [
            {"name": each.schedule, "revision": each.revision, "until": each.until.isoformat()} for each in expected
        ]
        rows = [
            {
                "schedule": fire.schedule,
                "scheduled_for": fire.scheduled_for.isoformat(),
                "due_at": fire.due_at.isoformat(),
                "state": fire.state,
                "reason": fire.reason,
                "cause": fire.cause,
            }
            for each in expected
            for fire in each.fires
        ]
        values = {"watermarks": json.dumps(watermarks), "fires": json.dumps(rows)}
        return {row.name for row in self._database.execute(_EXPECT, values)}

    def due(self, until: datetime, limit: int) -> list[FireRow]:
        """Return the fires due by `until` that nothing has become of yet, earliest first."""
        return self._fires(_DUE, {"until": until, "row_count": limit})

    def coming(self, after: FireRow | datetime, until: datetime, limit: int) -> list[FireRow]:
        """Return the fires due by `until` that nothing has become of yet and that come after another, in order.

        Args:
            after: A fire that was returned before, or an instant.
            until: See above.
            limit: How many at the most.
        """
        fire = after if isinstance(after, FireRow) else FireRow(schedule="", scheduled_for=after, due_at=after)
        values = {"since": fire.due_at, "after_name": fire.schedule, "after_fire": fire.scheduled_for}
        return self._fires(_COMING, {**values, "until": until, "row_count": limit})

    def whose_turn(self, now: datetime, limit: int) -> list[FireRow]:
        """Return the waiting fires whose turn it is: of each schedule the first, where no run goes on."""
        return self._fires(_TURN, {"until": now, "row_count": limit})

    def queued(self, schedules: Iterable[str]) -> dict[str, int]:
        """Return how many fires of some schedules wait for their turn, by name."""
        rows = self._database.execute(_QUEUED, {"names": sorted(set(schedules))})
        return {row.schedule: row.fire_count for row in rows}

    def under_way(self, schedules: Iterable[str], until: datetime) -> list[tuple[str, datetime, str]]:
        """Return the runs of some schedules that have not ended.

        Args:
            schedules: Their names.
            until: Runs that have not started count if their message was sent, or is to be sent, by then, and what
                becomes of their fire is decided.

        Returns:
            Schedule, nominal time and id of each.
        """
        rows = self._database.execute(_UNDER_WAY, {"names": sorted(set(schedules)), "until": until})
        return [(row.schedule, row.scheduled_for, str(row.id)) for row in rows]

    def mark(
        self, term: int, marks: Sequence[tuple[FireRow, str | None]], counted: Iterable[str] = ()
    ) -> set[tuple[str, datetime]]:
        """Write what became of fires; what was decided before is left as it is.

        Args:
            term: The leadership that decided.
            marks: Each fire, in the state and with the reason it is to have, and the run that is its own; one that
                was built ahead and is not to run is taken back.
            counted: The schedules whose fires are counted when they are dispatched.

        Returns:
            The fires that this is done for, as (schedule, scheduled_for); the others are just being taken back.
        """
        rows = [
            {
                "schedule": fire.schedule,
                "scheduled_for": fire.scheduled_for.isoformat(),
                "state": fire.state,
                "reason": fire.reason,
                "cause": fire.cause,
                "run_id": run,
            }
            for fire, run in marks
        ]
        values = {"term": term, "fires": json.dumps(rows), "names": sorted(counted)}
        return {(row.schedule, row.scheduled_for) for row in self._database.execute(_MARK, values)}

    def next_term(self) -> int:
        """Return the number of a new leadership."""
        return int(self._database.execute(_TERM)[0].term)

    def _fires(self, statement: Any, values: dict[str, Any]) -> list[FireRow]:
        return [FireRow(**row._asdict()) for row in self._database.execute(statement, values)]
