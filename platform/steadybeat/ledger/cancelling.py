"""Cancelling: a run that is not to go on. What no attempt works on ends at once; the others are asked, or made to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import TextClause

from steadybeat.ledger.claim import ALIVE
from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.failing import AFTERMATH
from steadybeat.ledger.search import Wanted

GIVEN_UP = "the fan-out was given up"
"""So begins the reason of a run that ended, or was asked to, with its fan-out."""


def _asking(which: str, given_up: str) -> TextClause:
    """Return the statement that asks for the end of some runs."""
    return sql(f"""
    WITH asked AS MATERIALIZED (
        SELECT r.id, r.state = 'running' AND {ALIVE.format(run="r")} AS under_way
          FROM steadybeat.runs r
         WHERE {which} AND r.finished_at IS NULL
         ORDER BY r.id
           FOR UPDATE
    ),
    run AS (
        UPDATE steadybeat.runs r
           SET cancel_requested_at = coalesce(r.cancel_requested_at, clock_timestamp()),
               cancel_reason = coalesce(r.cancel_reason, :reason), given_up = {given_up},
               terminate_at = least(r.terminate_at, clock_timestamp() + make_interval(secs => :terminate_seconds)),
               state = CASE WHEN under_way THEN r.state ELSE 'cancelled' END,
               reason = CASE WHEN under_way THEN r.reason ELSE :reason END,
               finished_at = CASE WHEN under_way THEN NULL ELSE clock_timestamp() END,
               instance = CASE WHEN under_way THEN r.instance END,
               lease_until = CASE WHEN under_way THEN r.lease_until END
          FROM asked WHERE r.id = asked.id
        RETURNING r.id, r.task, r.idempotency_key, r.state
    ),
    attempt AS (
        UPDATE steadybeat.attempts a SET outcome = 'lost', finished_at = clock_timestamp()
          FROM run WHERE run.state = 'cancelled' AND a.run = run.id AND a.finished_at IS NULL
    ),
    key AS (
        DELETE FROM steadybeat.processed_keys k USING run
         WHERE run.state = 'cancelled' AND k.task = run.task AND k.key = run.idempotency_key AND k.step = ''
           AND k.run = run.id AND k.state = 'held'
    ),
    {AFTERMATH}
    SELECT id, state FROM run ORDER BY id
""")


_REQUEST = _asking("r.id = ANY(CAST(:run_ids AS uuid[]))", "r.given_up")
_GIVE_UP = _asking("r.fan_out = :run AND NOT r.in_line AND r.cancel_requested_at IS NULL", "true")
_OPEN = """
    SELECT r.id FROM steadybeat.runs r
     WHERE r.finished_at IS NULL AND {conditions}
     ORDER BY r.enqueued_at, r.id
"""
# What a request would find now.
_WOULD_BE = sql(f"""
    SELECT r.id, r.task, r.state, r.finished_at IS NOT NULL AS is_over,
           r.state = 'running' AND {ALIVE.format(run="r")} AS under_way,
           (SELECT count(*) FROM steadybeat.runs share
             WHERE share.fan_out = r.id AND share.finished_at IS NULL) AS tenant_count
      FROM steadybeat.runs r WHERE r.id = ANY(CAST(:run_ids AS uuid[])) ORDER BY r.enqueued_at, r.id
""")
_OVERDUE = sql("""
    SELECT id, delivery_no, cancel_reason FROM steadybeat.runs
     WHERE state = 'running' AND finished_at IS NULL AND instance = :instance AND terminate_at <= clock_timestamp()
""")


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What became of a request, by the ids of its runs; those in neither had ended before.

    Attributes:
        ended: No attempt worked on them: they are cancelled.
        asked: They are being worked on, and were told.
    """

    ended: list[str]
    asked: list[str]


@dataclass(frozen=True, slots=True)
class Overdue:
    """A run that is to be terminated: the delivery that brought it to its worker, and why."""

    run: str
    delivery_no: int
    reason: str


class Cancelling:
    """Ends runs before their time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def request(self, runs: Sequence[str], reason: str, *, terminate_after: timedelta | None = None) -> Cancelled:
        """Ask for the end of runs; those that no attempt works on have ended then.

        Args:
            runs: Their ids.
            reason: Why.
            terminate_after: An attempt that has not stopped by itself after this is ended by its worker; None: it
                may go on.
        """
        return self._request(_REQUEST, reason, terminate_after, run_ids=list(runs))

    def give_up(self, fan_out: str, reason: str, *, terminate_after: timedelta | None = None) -> Cancelled:
        """Ask for the end of a fan-out's runs that are at work, but for those that somebody has asked already.

        Args:
            fan_out: Whose runs they are.
            reason: Why that is to end.
            terminate_after: As of `request`.
        """
        return self._request(_GIVE_UP, f"{GIVEN_UP}: {reason}", terminate_after, run=fan_out)

    def _request(
        self, statement: TextClause, reason: str, terminate_after: timedelta | None, **which: object
    ) -> Cancelled:
        seconds = None if terminate_after is None else terminate_after.total_seconds()
        rows = self._database.execute(statement, {"reason": reason, "terminate_seconds": seconds, **which})
        return Cancelled(
            ended=[str(row.id) for row in rows if row.state != "running"],
            asked=[str(row.id) for row in rows if row.state == "running"],
        )

    def open_runs(self, **given: Any) -> list[str]:
        """Return the runs that have not ended and match what is given, as `Wanted` names it, the oldest first."""
        wanted = Wanted(**given)
        found = self._database.execute(sql(_OPEN.format(conditions=wanted.conditions)), wanted.values)
        return [str(row.id) for row in found]

    def would_be(self, runs: Sequence[str]) -> list[dict[str, Any]]:
        """Return what a request for the end of some runs would find, the oldest first.

        Args:
            runs: Their ids.

        Returns:
            Of each ``id``, ``task`` and ``state``; whether it ``is_over``, or an attempt is ``under_way``, which would
            be told to stop; and the ``tenant_count`` of its fan-out that have not ended.
        """
        return [dict(row._mapping) for row in self._database.execute(_WOULD_BE, {"run_ids": list(runs)})]

    def overdue(self, instance: str) -> list[Overdue]:
        """Return the runs of an instance that are to be terminated by now."""
        rows = self._database.execute(_OVERDUE, {"instance": instance})
        return [Overdue(str(row.id), row.delivery_no, row.cancel_reason) for row in rows]
