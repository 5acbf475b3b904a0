"""Interventions: what people do to schedules and fires. Each is noted in `operations`, in the same transaction.

Every one may be part of a transaction of the caller's own, and happens when that commits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from steadybeat.errors import EditConflict, UnknownSchedule
from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.rows import DEFINED, ScheduleRow
from steadybeat.ledger.schedules import note, one, patient, put, retire

_ONE_PUT_AT_A_TIME = sql("SELECT pg_advisory_xact_lock(hashtextextended(:name, 7215436829))")
_PAUSE = sql("""
    UPDATE steadybeat.schedules
       SET paused_at = clock_timestamp(), paused_by = :who, paused_reason = :reason,
           revision = nextval('steadybeat.revisions'), updated_at = clock_timestamp()
     WHERE name = :name
""")
_RESUME = sql("""
    UPDATE steadybeat.schedules
       SET paused_at = NULL, paused_by = NULL, paused_reason = NULL, consecutive_failures = 0,
           revision = nextval('steadybeat.revisions'), updated_at = clock_timestamp()
     WHERE name = :name
""")
# What came due in the pause while no scheduler was there to say so.
_MISSED_IN_THE_PAUSE = sql("""
    UPDATE steadybeat.fires SET state = 'skipped', cause = 'paused', reason = :reason
     WHERE schedule = :name AND state = 'expected' AND asked IS NULL
       AND due_at > :since AND due_at <= clock_timestamp()
""")
_PAUSED_FIRES = sql("""
    SELECT scheduled_for FROM steadybeat.fires
     WHERE schedule = :name AND state = 'skipped' AND cause = 'paused' AND due_at >= :since
     ORDER BY scheduled_for
""")
# A fire that has run is left as it is; its run says what became of it.
_ASK = sql("""
    INSERT INTO steadybeat.fires AS f (schedule, scheduled_for, due_at, revision, asked)
    SELECT :name, CAST(given.at AS timestamptz), clock_timestamp(), :revision, :asked
      FROM jsonb_array_elements_text(CAST(:times AS jsonb)) AS given (at)
    ON CONFLICT (schedule, scheduled_for) DO UPDATE
       SET state = 'expected', reason = NULL, cause = NULL, due_at = excluded.due_at, asked = excluded.asked,
           revision = excluded.revision, run_id = NULL
     WHERE f.state <> 'dispatched'
    RETURNING f.scheduled_for
""")


@dataclass(frozen=True, slots=True)
class Edit:
    """What an edit did: ``added``, ``changed`` or ``unchanged``, and the revision that holds now."""

    verb: str
    revision: int


class Interventions:
    """What people do."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def _within(self, connection: Connection | None) -> Iterator[Connection]:
        if connection is not None:
            yield connection
            return
        with patient(self._database) as own:
            yield own

    @contextmanager
    def _editing(
        self, name: str, revision: int | None, connection: Connection | None
    ) -> Iterator[tuple[Connection, ScheduleRow]]:
        with self._within(connection) as transaction:
            row = one(transaction, name)
            if row is None:
                raise UnknownSchedule(f"schedule {name!r}: there is no such schedule.", schedule=name)
            _check_revision(row, revision)
            yield transaction, row

    def put(
        self,
        row: ScheduleRow,
        *,
        who: str,
        reason: str,
        revision: int | None = None,
        since: datetime | None = None,
        connection: Connection | None = None,
    ) -> Edit:
        """Bring in a schedule, or change one: from now on it is an operator's, whatever the code says.

        Args:
            row: The definition.
            who: Who does it.
            reason: Why.
            revision: The one that was looked at before; 0: there was none. None: whatever is there.
            since: Fires after this instant are expected; from now on unless given.
            connection: Of the caller's transaction, if it is to be part of one.

        Raises:
            EditConflict: Somebody has changed it since.
        """
        with self._within(connection) as transaction:
            _one_at_a_time(transaction, row.name)
            former = one(transaction, row.name)
            _check_revision(former or row, revision, present=former is not None)
            if former is not None and all(getattr(row, name) == getattr(former, name) for name in DEFINED):
                return Edit("unchanged", former.revision)
            put(transaction, row, former, source="operator", code=former and former.code, since=since)
            note(transaction, "schedules put", row, who, reason, policies=row.policies, before=former and former.spec)
            now = one(transaction, row.name)
            assert now is not None
            return Edit("added" if former is None else "changed", now.revision)

    def pause(
        self,
        name: str,
        *,
        who: str,
        reason: str,
        revision: int | None = None,
        connection: Connection | None = None,
    ) -> bool:
        """Have the coming fires of a schedule skipped; return False where it was paused already.

        Runs that are sent go on, and so does what a person triggers.

        Raises:
            UnknownSchedule: There is none of that name.
            EditConflict: Somebody has changed it since.
        """
        with self._editing(name, revision, connection) as (transaction, row):
            if row.paused_at is not None:
                return False
            transaction.execute(_PAUSE, {"name": name, "who": who, "reason": reason})
            note(transaction, "schedules pause", row, who, reason)
        return True

    def resume(
        self,
        name: str,
        *,
        who: str,
        reason: str,
        make_up: str = "none",
        revision: int | None = None,
        connection: Connection | None = None,
    ) -> list[datetime] | None:
        """Have a paused schedule fire again.

        Args:
            name: Of the schedule.
            who: Who does it.
            reason: Why.
            make_up: Of the fires that the pause skipped, ``all`` are made up for, the ``latest``, or ``none``.
            revision: The one that was looked at before; None: whatever is there.
            connection: Of the caller's transaction, if it is to be part of one.

        Returns:
            The fires that are made up for; None where it was not paused.

        Raises:
            UnknownSchedule: There is none of that name.
            EditConflict: Somebody has changed it since.
        """
        with self._editing(name, revision, connection) as (transaction, row):
            if row.paused_at is None:
                return None
            values = {"name": name, "since": row.paused_at}
            said = f"paused by {row.paused_by}: {row.paused_reason}"
            transaction.execute(_MISSED_IN_THE_PAUSE, {**values, "reason": said})
            skipped = [each.scheduled_for for each in transaction.execute(_PAUSED_FIRES, values)]
            transaction.execute(_RESUME, {"name": name})
            times = {"all": skipped, "latest": skipped[-1:], "none": []}[make_up]
            asked = _ask(transaction, row, times, "resume")
            note(transaction, "schedules resume", row, who, reason, make_up=make_up, fires=[*map(str, asked)])
        return asked

    def remove(
        self,
        name: str,
        *,
        who: str,
        reason: str,
        revision: int | None = None,
        connection: Connection | None = None,
    ) -> str:
        """Take back what an operator brought in: the code's definition holds again, or the schedule is retired.

        Returns:
            ``restored`` or ``retired``.

        Raises:
            UnknownSchedule: There is none of that name.
            EditConflict: Somebody has changed it since.
        """
        with self._editing(name, revision, connection) as (transaction, row):
            restored = row.source == "operator" and row.code is not None
            if restored:
                assert row.code is not None
                put(transaction, ScheduleRow(name=name, **row.code), row, source="code", code=row.code)
            else:
                retire(transaction, name)
            note(transaction, "schedules remove", row, who, reason, source=row.source)
        return "restored" if restored else "retired"

    def ask(
        self,
        name: str,
        times: Sequence[datetime],
        *,
        kind: str,
        who: str,
        reason: str,
        revision: int | None = None,
        connection: Connection | None = None,
    ) -> list[datetime]:
        """Have fires of a schedule dispatched that a person asks for, as soon as a Beat leads.

        Args:
            name: Of the schedule.
            times: Their nominal times.
            kind: ``trigger``: its overlap policy holds. ``backfill``: they may overlap. ``resume``: they wait for
                their turn.
            who: Who does it.
            reason: Why.
            revision: The one that was looked at before; None: whatever is there.
            connection: Of the caller's transaction, if it is to be part of one.

        Returns:
            Those that will be; the others were dispatched before.

        Raises:
            UnknownSchedule: There is none of that name.
            EditConflict: Somebody has changed it since.
        """
        with self._editing(name, revision, connection) as (transaction, row):
            asked = _ask(transaction, row, times, kind)
            note(transaction, f"schedules {kind}", row, who, reason, fires=[*map(str, asked)])
        return asked


def _one_at_a_time(connection: Connection, name: str) -> None:
    """Wait for others who put this schedule: one that is not there yet has no row to be locked."""
    connection.execute(_ONE_PUT_AT_A_TIME, {"name": name})


def _ask(connection: Connection, row: ScheduleRow, times: Sequence[datetime], kind: str) -> list[datetime]:
    if not times:
        return []
    given = json.dumps([at.isoformat() for at in times])
    values = {"name": row.name, "revision": row.revision, "asked": kind, "times": given}
    return sorted(each.scheduled_for for each in connection.execute(_ASK, values))


def _check_revision(row: ScheduleRow, revision: int | None, *, present: bool = True) -> None:
    found = row.revision if present else 0
    if revision is None or revision == found:
        return
    what = f"is at revision {found}" if present else "is not there"
    raise EditConflict(
        f"schedule {row.name!r}: {what}, not at revision {revision}: somebody has changed it since;"
        " look at it again, and then decide.",
        schedule=row.name,
        revision=found,
    )
