"""Chords: what follows when all parts have succeeded, and what follows when something ended badly."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.failing import COUNTED
from steadybeat.ledger.rows import NewRun
from steadybeat.ledger.runs import Runs

_OPEN = sql("""
    INSERT INTO steadybeat.chords (group_id, size, pending, header, body, lineage)
    VALUES (:group_id, CAST(:size AS integer), CAST(:size AS integer), CAST(:header AS jsonb), CAST(:body AS jsonb),
            CAST(:lineage AS jsonb))
    ON CONFLICT (group_id) DO NOTHING
""")
_STANDING = sql("""
    SELECT group_id, pending, header, CAST(body AS text) AS body, lineage FROM steadybeat.chords
     WHERE group_id = :group_id AND joined_at IS NULL
""")
# A rerun carries its part's group.
_PARTS = sql("""
    SELECT id, rerun_of, state, CAST(result AS text) AS result, correlation_id FROM steadybeat.runs
     WHERE group_id = :group_id ORDER BY id
""")
_JOIN = sql("""
    UPDATE steadybeat.chords SET joined_at = clock_timestamp()
     WHERE group_id = :group_id AND joined_at IS NULL
    RETURNING group_id
""")
_FAIL = sql("""
    UPDATE steadybeat.chords
       SET failed_at = clock_timestamp()
     WHERE group_id = :group_id AND joined_at IS NULL AND failed_at IS NULL
    RETURNING group_id
""")
_DUE = sql("""
    SELECT group_id AS chord, NULL AS run FROM (
        SELECT group_id FROM steadybeat.chords WHERE joined_at IS NULL AND pending <= 0
         ORDER BY created_at LIMIT CAST(:row_count AS integer)) ready
    UNION ALL
    SELECT NULL, run FROM (
        SELECT run FROM steadybeat.aftermaths ORDER BY created_at LIMIT CAST(:row_count AS integer)) ended
""")
_ENDED = sql("""
    SELECT r.id, r.task, r.state, r.reason, r.error, r.body, r.message, r.group_id, r.correlation_id
      FROM steadybeat.aftermaths a JOIN steadybeat.runs r ON r.id = a.run
     WHERE a.run = :run
""")
_SETTLE = sql("DELETE FROM steadybeat.aftermaths WHERE run = :run RETURNING run")
_NEVER = sql("""
    INSERT INTO steadybeat.results (id, state, result, traceback, run)
    SELECT DISTINCT given.id, :state, CAST(:result AS jsonb), :traceback, :run
      FROM unnest(CAST(:names AS text[])) AS given (id)
    ON CONFLICT (id) DO UPDATE
       SET state = excluded.state, result = excluded.result, traceback = excluded.traceback, run = excluded.run,
           changed_at = clock_timestamp()
""")
# Runs that a canvas has taken the place of, whose last step will not come.
_ABANDON = sql(f"""
    WITH run AS (
        UPDATE steadybeat.runs
           SET state = 'dead', reason = :reason, error = :traceback, finished_at = clock_timestamp()
         WHERE id = ANY(CAST(:run_ids AS uuid[])) AND state = 'waiting' AND replaced_at IS NOT NULL
        RETURNING id, task, idempotency_key, schedule, state, reason
    ),
    key AS (
        DELETE FROM steadybeat.processed_keys k USING run
         WHERE k.task = run.task AND k.key = run.idempotency_key AND k.step = '' AND k.run = run.id
           AND k.state = 'held'
    ),
    {COUNTED}
    SELECT id FROM run
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """What follows where something does not happen any more.

    Attributes:
        state: In Celery's words.
        result: The error, as Celery writes it in JSON.
        reason: The error, in one line.
        traceback: The error's stack.
        ids: What will not run: Celery's task ids.
        run_ids: Those of them that may be runs.
        runs: Error callbacks.
    """

    state: str
    result: str
    reason: str
    traceback: str | None = None
    ids: Sequence[str] = ()
    run_ids: Sequence[str] = ()
    runs: Sequence[NewRun] = ()


@dataclass(slots=True)
class Due:
    """What is yet to be done: chords to be joined, and runs whose end has an aftermath."""

    chords: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)


class Chords:
    """What follows runs that belong together."""

    def __init__(self, database: Database, runs: Runs) -> None:
        self._database = database
        self._runs = runs

    def open(self, group_id: str, header: Sequence[Any], size: int, body: str, lineage: Mapping[str, Any]) -> None:
        """Write a chord before its parts are sent; one on record is left as it is.

        Args:
            group_id: Celery's id of the group that the parts are.
            header: The ids of the parts, in lists within lists as the body gets their results.
            size: How many parts.
            body: JSON of the signature.
            lineage: ``root_id`` and ``parent_id`` of the body.
        """
        written = {"header": json.dumps(header), "lineage": json.dumps(lineage)}
        self._database.execute(_OPEN, {"group_id": group_id, "size": str(size), "body": body, **written})

    def standing(self, group_id: str) -> Any:
        """Return a chord that has not joined, or None."""
        rows = self._database.execute(_STANDING, {"group_id": group_id})
        return rows[0] if rows else None

    def parts(self, group_id: str) -> list[Any]:
        """Return the runs of a chord, reruns among them, oldest first; results as JSON text."""
        return self._database.execute(_PARTS, {"group_id": group_id})

    def due(self, limit: int) -> Due:
        """Return what is yet to be done, so many of each at the most."""
        due = Due()
        for row in self._database.execute(_DUE, {"row_count": limit}):
            if row.chord is None:
                due.runs.append(str(row.run))
            else:
                due.chords.append(row.chord)
        return due

    def join(self, group_id: str, runs: Sequence[NewRun]) -> bool:
        """Write the body of a chord, once; return False where somebody else has."""
        with self._database.transaction() as connection:
            if connection.execute(_JOIN, {"group_id": group_id}).first() is None:
                return False
            self._runs.follow(connection, runs)
        return True

    def fail(self, group_id: str, failing: Failing) -> bool:
        """Write that the body of a chord can never run; return False where its failure was written before."""
        with self._database.transaction() as connection:
            told = self._fail(connection, group_id, failing, None)
            connection.execute(_JOIN, {"group_id": group_id})
        return told

    def ended(self, run: str) -> Any:
        """Return a run whose end has an aftermath that is not written yet, or None."""
        rows = self._database.execute(_ENDED, {"run": run})
        return rows[0] if rows else None

    def settle(self, run: str, own: Failing, chords: Mapping[str, Failing]) -> bool:
        """Write the aftermath of a run, once; return False where somebody else has.

        Args:
            run: Its id.
            own: Its error callbacks, and the rest of its chain.
            chords: Those that cannot join now, each with the error callbacks of its body.
        """
        with self._database.transaction() as connection:
            if connection.execute(_SETTLE, {"run": run}).first() is None:
                return False
            self._write(connection, own, run)
            for group_id in sorted(chords):
                self._fail(connection, group_id, chords[group_id], run)
        return True

    def _fail(self, connection: Connection, group_id: str, failing: Failing, run: str | None) -> bool:
        if connection.execute(_FAIL, {"group_id": group_id}).first() is None:
            return False
        self._write(connection, failing, run)
        return True

    def _write(self, connection: Connection, failing: Failing, run: str | None) -> None:
        self._runs.follow(connection, failing.runs)
        if not failing.ids:
            return
        values = {"state": failing.state, "result": failing.result, "traceback": failing.traceback, "run": run}
        connection.execute(_NEVER, {**values, "names": list(failing.ids)})
        if failing.run_ids:
            abandoned = {"run_ids": list(failing.run_ids), "reason": failing.reason, "traceback": failing.traceback}
            connection.execute(_ABANDON, abandoned)
