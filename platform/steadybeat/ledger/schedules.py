"""Schedules: what is defined. Code brings its definitions in by `apply`, RedBeat's come in by `take_over`.

What a person changes beside that is in `interventions`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, insert

from steadybeat.errors import EditConflict
from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.prepared import Prepared
from steadybeat.ledger.rows import DEFINED, ScheduleRow
from steadybeat.ledger.tables import operations

_PAGE = 500
_COLUMNS = """
    name, task, service, spec::text, policies::text, args::text, kwargs::text, options::text, source, revision,
    generation, expected_until, retired_at, code::text, paused_at, paused_by, paused_reason, consecutive_failures,
    fire_count"""
# Without what only people and `apply` ask for: a Beat has a hundred thousand of them in memory.
_LEAN = _COLUMNS.replace("code::text", "NULL::text AS code")
_ALL = sql(f"SELECT {_COLUMNS} FROM steadybeat.schedules WHERE retired_at IS NULL ORDER BY name")
_ONE = sql(f"SELECT {_COLUMNS} FROM steadybeat.schedules WHERE name = :name AND retired_at IS NULL FOR UPDATE")
_HOLD = sql(f"SELECT {_COLUMNS} FROM steadybeat.schedules WHERE name = ANY(:names) ORDER BY name FOR UPDATE")
_LEFT_OVER = sql(f"SELECT {_COLUMNS} FROM steadybeat.schedules WHERE retired_at > expected_until")
_OF_CODE = sql(f"""
    SELECT {_COLUMNS} FROM steadybeat.schedules
     WHERE name = ANY(:names) OR (service = ANY(:services) AND code IS NOT NULL AND retired_at IS NULL)
""")
_PAGE_OF_ALL = sql(f"""
    SELECT {_LEAN} FROM steadybeat.schedules
     WHERE retired_at IS NULL AND name > :after_name ORDER BY name LIMIT CAST(:row_count AS integer)
""")
# A transaction that has a number below the horizon has ended. One above it may yet commit what this did not see.
_HORIZON = sql("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS horizon")
_CHANGED = Prepared(
    sql(f"""
    SELECT (pg_snapshot_xmin(pg_current_snapshot()))::text::bigint AS horizon, changed.*
      FROM (VALUES (1)) one LEFT JOIN (
           SELECT {_LEAN} FROM steadybeat.schedules WHERE changed_in >= :since_transaction) changed ON true
""")
)
# Comparing a hundred thousand definitions takes its time, between two statements.
_ONE_APPLY_AT_A_TIME = sql("""
    SELECT pg_advisory_xact_lock(7215436829), set_config('idle_in_transaction_session_timeout', '60s', true)
""")
_PATIENCE = sql("SELECT set_config('statement_timeout', '120s', true)")
_CLOCK = sql("SELECT clock_timestamp() AS instant")
_GENERATION = sql("SELECT nextval('steadybeat.generations') AS generation")
_PUT = sql("""
    INSERT INTO steadybeat.schedules AS s
           (name, task, service, spec, policies, args, kwargs, options, source, revision, generation, expected_until,
            code)
    VALUES (:name, :task, :service, CAST(:spec AS jsonb), CAST(:policies AS jsonb), CAST(:args AS jsonb),
            CAST(:kwargs AS jsonb), CAST(:options AS jsonb), :source, nextval('steadybeat.revisions'), :generation,
            coalesce(:since, :instant), CAST(:code AS jsonb))
    ON CONFLICT (name) DO UPDATE
       SET task = excluded.task, service = excluded.service, spec = excluded.spec, policies = excluded.policies,
           args = excluded.args, kwargs = excluded.kwargs, options = excluded.options, source = excluded.source,
           revision = excluded.revision, generation = excluded.generation, code = excluded.code,
           paused_at = CASE WHEN s.retired_at IS NULL THEN s.paused_at END,
           consecutive_failures = CASE WHEN s.retired_at IS NULL THEN s.consecutive_failures ELSE 0 END,
           fire_count = CASE WHEN s.retired_at IS NULL THEN s.fire_count ELSE 0 END,
           retired_at = NULL, updated_at = clock_timestamp(),
           expected_until = CASE WHEN s.retired_at IS NULL AND s.expected_until < :instant
                                 THEN s.expected_until ELSE coalesce(:since, :instant) END
     WHERE s.retired_at IS NOT NULL OR s.revision = :revision
""")
_NOTE_CODE = sql("""
    UPDATE steadybeat.schedules SET code = CAST(:code AS jsonb), generation = :generation WHERE name = :name
""")
_RETIRE = sql("""
    UPDATE steadybeat.schedules
       SET retired_at = clock_timestamp(), updated_at = clock_timestamp(), revision = nextval('steadybeat.revisions'),
           generation = coalesce(:generation, generation)
     WHERE name = :name
""")
# A message may have been built for a fire already: its run is taken back with it. What it waits for may take a while:
# from the instant that it returns on, fires are to be expected again.
_SUPERSEDE = """
    WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS instant),
    fire AS (
        UPDATE steadybeat.fires SET state = 'superseded', reason = :reason, cause = :cause
          FROM clock
         WHERE schedule = :name AND state IN ('expected', 'waiting') AND {which}
        RETURNING schedule, scheduled_for
    ),
    taken_back AS (
        UPDATE steadybeat.runs r SET state = 'cancelled', reason = :reason, finished_at = clock_timestamp()
          FROM fire
         WHERE r.schedule = fire.schedule AND r.scheduled_for = fire.scheduled_for AND r.state = 'enqueued'
           AND r.attempt_count = 0 AND r.finished_at IS NULL
    )
    SELECT instant FROM clock
"""
_SUPERSEDE_COMING = sql(_SUPERSEDE.format(which="scheduled_for > clock.instant"))
_SUPERSEDE_ALL = sql(_SUPERSEDE.format(which="true"))


@dataclass(frozen=True, slots=True)
class Change:
    """What `apply` does to one schedule.

    Attributes:
        name: Of the schedule.
        verb: ``added``, ``changed``, ``retired``; or ``kept``: the code has changed it, and an operator's edit holds.
        fields: What changes.
    """

    name: str
    verb: str
    fields: tuple[str, ...] = ()


class Schedules:
    """What is defined."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[ScheduleRow]:
        """Return every schedule that is not retired, by name."""
        return [row_of(row) for row in self._database.execute(_ALL)]

    def pages(self) -> Iterator[list[ScheduleRow]]:
        """Yield every schedule that is not retired, by name, so many at a time that memory is not filled.

        They come without `code`, as those of `changed` do.
        """
        after = ""
        while True:
            values = {"after_name": after, "row_count": _PAGE}
            page = [row_of(row) for row in self._database.execute(_PAGE_OF_ALL, values)]
            yield page
            if len(page) < _PAGE:
                return
            after = page[-1].name

    def horizon(self) -> int:
        """Return the number of the oldest transaction that has not ended: `changed` goes on from there."""
        return int(self._database.execute(_HORIZON)[0].horizon)

    def changed(self, since: int) -> tuple[list[ScheduleRow], int]:
        """Return the schedules, retired ones included, that were changed in a transaction from `since` on.

        Some may have been returned before; their revision says so.

        Args:
            since: What `horizon` or the last call returned.

        Returns:
            The schedules, and where the next call goes on.
        """
        rows = self._database.execute(_CHANGED, {"since_transaction": since})
        return [row_of(row) for row in rows if row.name is not None], int(rows[0].horizon)

    def left_over(self) -> list[ScheduleRow]:
        """Return retired schedules that were due, before they were retired, at times no scheduler wrote down."""
        return [row_of(row) for row in self._database.execute(_LEFT_OVER)]

    def difference(self, wanted: Sequence[ScheduleRow], services: Sequence[str]) -> list[Change]:
        """Return what `apply` would change."""
        stored = self._database.execute(_OF_CODE, _of_code(wanted, services))
        return _difference({row.name: row_of(row) for row in stored}, wanted)

    def apply(self, wanted: Sequence[ScheduleRow], services: Sequence[str]) -> list[Change]:
        """Make the ledger's schedules of some services those that their code defines, and return what that changes.

        A changed schedule takes a new revision and its undispatched future fires are superseded, in the same
        transaction; a schedule that the code no longer has is retired. What an operator has edited or paused stays
        so; the code's definition is kept beside it.

        Args:
            wanted: The definitions in the code of `services`.
            services: Only schedules of these are retired.
        """
        with one_at_a_time(self._database) as connection:
            found = connection.execute(_OF_CODE, _of_code(wanted, services))
            stored = {row.name: row_of(row) for row in found}
            changes = _difference(stored, wanted)
            if changes:
                # Somebody may have edited one of them just now.
                held = connection.execute(_HOLD, {"names": sorted(change.name for change in changes)})
                stored |= {row.name: row_of(row) for row in held}
                changes = _difference(stored, wanted)
                generation = connection.execute(_GENERATION).scalar_one()
                _carry_out(connection, changes, {row.name: row for row in wanted}, stored, generation)
        return changes

    def take_over(self, given: Mapping[str, tuple[ScheduleRow, datetime]], *, who: str, reason: str) -> list[str]:
        """Bring in schedules that another scheduler had, and return the names of those that were not here yet.

        `apply` retires none whose source is ``operator``.

        Args:
            given: By name, the schedule and the instant after which its fires are expected.
            who: Who does it.
            reason: Why.
        """
        with one_at_a_time(self._database) as connection:
            present = {row.name for row in connection.execute(_ALL)}
            names = [name for name in given if name not in present]
            for name in names:
                row, since = given[name]
                code = row if row.source == "code" else None
                put(connection, row, None, source=row.source, since=since, code=code)
                note(connection, "schedules import", row, who, reason, since=since.isoformat())
        return names


@contextmanager
def patient(database: Database) -> Iterator[Connection]:
    """Yield a connection in a transaction whose statements may take long: what is not sent may be a lot."""
    with database.transaction() as connection:
        connection.execute(_PATIENCE)
        yield connection


@contextmanager
def one_at_a_time(database: Database) -> Iterator[Connection]:
    """Yield a connection in whose transaction nobody else applies or takes over schedules."""
    with patient(database) as connection:
        connection.execute(_ONE_APPLY_AT_A_TIME)
        yield connection


def row_of(row: Any) -> ScheduleRow:
    """Return a row of `schedules`; equal parts of many rows are one object."""
    values = row._asdict()
    values.pop("horizon", None)
    for name in ("task", "service", "source"):
        values[name] = sys.intern(values[name])
    for name in ("spec", "policies", "args", "kwargs", "options", "code"):
        values[name] = None if values[name] is None else _parsed(values[name])
    return ScheduleRow(**values)


@lru_cache(maxsize=65536)
def _parsed(text: str) -> Any:
    return json.loads(text)


def one(connection: Connection, name: str) -> ScheduleRow | None:
    """Return a schedule that is not retired, which nobody else changes until the transaction ends, or None."""
    row = connection.execute(_ONE, {"name": name}).first()
    return None if row is None else row_of(row)


def defined(row: ScheduleRow | None) -> str | None:
    """Return what a schedule is defined as, as JSON."""
    return None if row is None else json_of({name: getattr(row, name) for name in DEFINED})


def _of_code(wanted: Sequence[ScheduleRow], services: Sequence[str]) -> dict[str, Any]:
    return {"names": [row.name for row in wanted], "services": list(services)}


def _difference(stored: dict[str, ScheduleRow], wanted: Sequence[ScheduleRow]) -> list[Change]:
    changes = []
    for row in wanted:
        former = stored.get(row.name)
        if former is None or former.retired_at is not None:
            changes.append(Change(row.name, "added"))
        elif former.source == "code":
            fields = tuple(name for name in DEFINED if getattr(row, name) != getattr(former, name))
            changes += [Change(row.name, "changed", fields)] if fields else []
        elif {name: getattr(row, name) for name in DEFINED} != former.code:
            changes.append(Change(row.name, "kept"))
    names = {row.name for row in wanted}
    gone = [name for name, row in stored.items() if name not in names and row.retired_at is None]
    changes += [Change(name, "retired") for name in gone]
    return changes


def _carry_out(
    connection: Connection,
    changes: Sequence[Change],
    wanted: Mapping[str, ScheduleRow],
    stored: Mapping[str, ScheduleRow],
    generation: int,
) -> None:
    for change in changes:
        if change.verb == "retired":
            retire(connection, change.name, generation)
        elif change.verb == "changed":
            row = wanted[change.name]
            instant = connection.execute(_SUPERSEDE_COMING, _superseded(row.name)).scalar_one()
            _put(connection, [_put_values(row, stored[row.name], "code", defined(row), generation, instant)])
    added = [wanted[change.name] for change in changes if change.verb == "added"]
    for start in range(0, len(added), _PAGE):
        instant = connection.execute(_CLOCK).scalar_one()
        some = added[start : start + _PAGE]
        _put(
            connection,
            [_put_values(row, stored.get(row.name), "code", defined(row), generation, instant) for row in some],
        )
    kept = [wanted[change.name] for change in changes if change.verb == "kept"]
    if kept:
        values = [{"name": row.name, "code": defined(row), "generation": generation} for row in kept]
        connection.execute(_NOTE_CODE, values)


def _superseded(name: str) -> dict[str, Any]:
    return {"name": name, "reason": "the schedule was changed", "cause": "superseded"}


def _put(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Write definitions, if they are still at the revisions that were looked at."""
    if connection.execute(_PUT, rows).rowcount == len(rows):
        return
    named = rows[0]["name"] if len(rows) == 1 else f"one of {rows[0]['name']} … {rows[-1]['name']}"
    raise EditConflict(
        f"schedule {named!r}: somebody has brought it in or changed it at this very moment; look at it again, and then"
        " decide.",
        schedule=named,
    )


def _put_values(
    row: ScheduleRow,
    former: ScheduleRow | None,
    source: str,
    code: str | None,
    generation: int,
    instant: datetime,
    since: datetime | None = None,
) -> dict[str, Any]:
    values: dict[str, Any] = {"name": row.name, "task": row.task, "service": row.service, "source": source}
    values |= {"instant": instant, "since": since, "revision": 0 if former is None else former.revision}
    parts = {name: json_of(getattr(row, name)) for name in ("spec", "policies", "args", "kwargs", "options")}
    return {**values, **parts, "generation": generation, "code": code}


def put(
    connection: Connection,
    row: ScheduleRow,
    former: ScheduleRow | None,
    *,
    source: str,
    code: ScheduleRow | Mapping[str, Any] | None,
    since: datetime | None = None,
) -> None:
    """Write a definition under the next revision; fires of the former one that are to come are superseded.

    Args:
        connection: In a transaction.
        row: The definition.
        former: The one that was looked at before, if there was one.
        source: ``code`` or ``operator``.
        code: What the code defines, if it does.
        since: Fires after this instant are expected; from now on unless given.

    Raises:
        EditConflict: Somebody else has brought it in or changed it meanwhile.
    """
    generation = connection.execute(_GENERATION).scalar_one()
    text = defined(code) if isinstance(code, ScheduleRow) else json_of(code) if code is not None else None
    instant = connection.execute(_SUPERSEDE_COMING, _superseded(row.name)).scalar_one()
    _put(connection, [_put_values(row, former, source, text, generation, instant, since)])


def retire(connection: Connection, name: str, generation: int | None = None) -> None:
    """Retire a schedule; what was not dispatched is superseded."""
    connection.execute(_RETIRE, {"name": name, "generation": generation})
    connection.execute(_SUPERSEDE_ALL, {"name": name, "reason": "the schedule was retired", "cause": "superseded"})


def note(connection: Connection, what: str, row: ScheduleRow, who: str, reason: str, **details: Any) -> None:
    """Write down what a person did to a schedule, and why."""
    told = {"task": row.task, "spec": row.spec, **details}
    noted = {"who": who, "what": what, "target": row.name, "reason": reason, "details": told}
    connection.execute(insert(operations).values(**noted))


def json_of(value: Any) -> str:
    """Return JSON that is the same text for the same value."""
    return json.dumps(value, sort_keys=True)
