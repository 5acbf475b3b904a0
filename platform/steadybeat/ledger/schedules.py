"""Schedules: what is defined. Code brings its definitions in by `apply`, RedBeat's come in by `take_over`.

What a person changes is noted in `operations`, in the same transaction.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert

from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.rows import ScheduleRow
from steadybeat.ledger.tables import operations

_COLUMNS = """
    name, task, service, spec, policies, args, kwargs, options, source, revision, generation, expected_until,
    retired_at"""
_ALL = sql(f"SELECT {_COLUMNS} FROM steadybeat.schedules WHERE retired_at IS NULL ORDER BY name")
_LEFT_OVER = sql(f"SELECT {_COLUMNS} FROM steadybeat.schedules WHERE retired_at > expected_until")
_EVERY = sql(f"SELECT {_COLUMNS} FROM steadybeat.schedules")
_ONE_APPLY_AT_A_TIME = sql("LOCK TABLE steadybeat.schedules IN SHARE ROW EXCLUSIVE MODE")
_REVISION = sql("SELECT coalesce(max(revision), 0) AS revision FROM steadybeat.schedules")
_GENERATION = sql("SELECT nextval('steadybeat.generations') AS generation")
_PUT = sql("""
    INSERT INTO steadybeat.schedules AS s
           (name, task, service, spec, policies, args, kwargs, options, source, revision, generation, expected_until)
    VALUES (:name, :task, :service, CAST(:spec AS jsonb), CAST(:policies AS jsonb), CAST(:args AS jsonb),
            CAST(:kwargs AS jsonb), CAST(:options AS jsonb), :source, nextval('steadybeat.revisions'), :generation,
            coalesce(:since, clock_timestamp()))
    ON CONFLICT (name) DO UPDATE
       SET task = excluded.task, service = excluded.service, spec = excluded.spec, policies = excluded.policies,
           args = excluded.args, kwargs = excluded.kwargs, options = excluded.options, source = excluded.source,
           revision = excluded.revision, generation = excluded.generation, retired_at = NULL,
           updated_at = clock_timestamp(),
           expected_until = CASE WHEN s.retired_at IS NULL AND s.expected_until < clock_timestamp()
                                 THEN s.expected_until ELSE coalesce(:since, clock_timestamp()) END
""")
_RETIRE = sql("""
    UPDATE steadybeat.schedules
       SET retired_at = clock_timestamp(), updated_at = clock_timestamp(), generation = :generation,
           revision = nextval('steadybeat.revisions')
     WHERE name = :name
""")
_SUPERSEDE = sql("""
    UPDATE steadybeat.fires SET state = 'superseded', reason = :reason
     WHERE schedule = :name AND state IN ('expected', 'waiting') AND scheduled_for > clock_timestamp()
""")
_SUPERSEDE_ALL = sql("""
    UPDATE steadybeat.fires SET state = 'superseded', reason = :reason
     WHERE schedule = :name AND state IN ('expected', 'waiting')
""")


@dataclass(frozen=True, slots=True)
class Change:
    """What `apply` does to one schedule: ``added``, ``changed`` or ``retired``, and which fields change."""

    name: str
    verb: str
    fields: tuple[str, ...] = ()


class Schedules:
    """What is defined."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[ScheduleRow]:
        """Return every schedule that is not retired, by name."""
        return [ScheduleRow(**row._mapping) for row in self._database.execute(_ALL)]

    def left_over(self) -> list[ScheduleRow]:
        """Return retired schedules that were due, before they were retired, at times no scheduler wrote down."""
        return [ScheduleRow(**row._mapping) for row in self._database.execute(_LEFT_OVER)]

    def revision(self) -> int:
        """Return the newest revision of any schedule: when it moves, something was changed."""
        return int(self._database.execute(_REVISION)[0].revision)

    def difference(self, wanted: Sequence[ScheduleRow], services: Sequence[str]) -> list[Change]:
        """Return what `apply` would change."""
        stored = {row.name: ScheduleRow(**row._mapping) for row in self._database.execute(_EVERY)}
        return _difference(stored, wanted, set(services))

    def apply(self, wanted: Sequence[ScheduleRow], services: Sequence[str]) -> list[Change]:
        """Make the ledger's schedules of some services those that their code defines, and return what that changes.

        A changed schedule takes a new revision and its undispatched future fires are superseded, in the same
        transaction; a schedule that the code no longer has is retired.

        Args:
            wanted: The definitions in the code of `services`.
            services: Only schedules of these are retired.
        """
        with self._database.transaction() as connection:
            connection.execute(_ONE_APPLY_AT_A_TIME)
            stored = {row.name: ScheduleRow(**row._mapping) for row in connection.execute(_EVERY)}
            changes = _difference(stored, wanted, set(services))
            if changes:
                generation = connection.execute(_GENERATION).scalar_one()
                by_name = {row.name: row for row in wanted}
                for change in changes:
                    _carry_out(connection, change, by_name.get(change.name), generation)
        return changes

    def take_over(self, given: Mapping[str, tuple[ScheduleRow, datetime]], *, who: str, reason: str) -> list[str]:
        """Bring in schedules that another scheduler had, and return the names of those that were not here yet.

        `apply` retires none whose source is ``operator``.

        Args:
            given: By name, the schedule and the instant after which its fires are expected.
            who: Who does it.
            reason: Why.
        """
        with self._database.transaction() as connection:
            connection.execute(_ONE_APPLY_AT_A_TIME)
            present = {row.name for row in connection.execute(_ALL)}
            names = [name for name in given if name not in present]
            if names:
                generation = connection.execute(_GENERATION).scalar_one()
            for name in names:
                row, since = given[name]
                _put(connection, row, generation, source=row.source, since=since)
                _note(connection, "schedules import", row, who, reason, since=since.isoformat())
        return names

    def remove(self, name: str, *, who: str, reason: str) -> bool:
        """Retire a schedule by hand, and return whether there was one.

        Args:
            name: Of the schedule.
            who: Who does it.
            reason: Why.
        """
        with self._database.transaction() as connection:
            connection.execute(_ONE_APPLY_AT_A_TIME)
            row = next((ScheduleRow(**row._mapping) for row in connection.execute(_ALL) if row.name == name), None)
            if row is None:
                return False
            _carry_out(connection, Change(name, "retired"), None, connection.execute(_GENERATION).scalar_one())
            _note(connection, "schedules remove", row, who, reason, source=row.source)
        return True


_COMPARED = ("task", "service", "spec", "policies", "args", "kwargs", "options")


def _difference(stored: dict[str, ScheduleRow], wanted: Sequence[ScheduleRow], services: set[str]) -> list[Change]:
    changes = []
    for row in wanted:
        former = stored.get(row.name)
        if former is None or former.retired_at is not None:
            changes.append(Change(row.name, "added"))
        else:
            fields = tuple(name for name in _COMPARED if _json(getattr(row, name)) != _json(getattr(former, name)))
            if fields:
                changes.append(Change(row.name, "changed", fields))
    names = {row.name for row in wanted}
    changes += [
        Change(name, "retired")
        for name, row in stored.items()
        if name not in names and row.retired_at is None and row.service in services and row.source == "code"
    ]
    return changes


def _carry_out(connection: Connection, change: Change, row: ScheduleRow | None, generation: int) -> None:
    if row is None:
        connection.execute(_RETIRE, {"name": change.name, "generation": generation})
        connection.execute(_SUPERSEDE_ALL, {"name": change.name, "reason": "the schedule was retired"})
        return
    connection.execute(_SUPERSEDE, {"name": row.name, "reason": "the schedule was changed"})
    _put(connection, row, generation, source="code")


def _put(
    connection: Connection, row: ScheduleRow, generation: int, *, source: str, since: datetime | None = None
) -> None:
    values: dict[str, Any] = {
        "name": row.name,
        "task": row.task,
        "service": row.service,
        "generation": generation,
        "source": source,
        "since": since,
    }
    values |= {name: _json(getattr(row, name)) for name in ("spec", "policies", "args", "kwargs", "options")}
    connection.execute(_PUT, values)


def _note(connection: Connection, what: str, row: ScheduleRow, who: str, reason: str, **details: str) -> None:
    told = {"task": row.task, "spec": row.spec, **details}
    noted = {"who": who, "what": what, "target": row.name, "reason": reason, "details": told}
    connection.execute(insert(operations).values(**noted))


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
