"""Schedules: what is defined. Code brings its definitions in by `apply`; nothing else in this room changes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.rows import ScheduleRow

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
            CAST(:kwargs AS jsonb), CAST(:options AS jsonb), 'code', nextval('steadybeat.revisions'), :generation,
            clock_timestamp())
    ON CONFLICT (name) DO UPDATE
       SET task = excluded.task, service = excluded.service, spec = excluded.spec, policies = excluded.policies,
           args = excluded.args, kwargs = excluded.kwargs, options = excluded.options, source = 'code',
           revision = excluded.revision, generation = excluded.generation, retired_at = NULL,
           updated_at = clock_timestamp(),
           expected_until = CASE WHEN s.retired_at IS NULL AND s.expected_until < clock_timestamp()
                                 THEN s.expected_until ELSE clock_timestamp() END
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
    values: dict[str, Any] = {
        "name": row.name,
        "task": row.task,
        "service": row.service,
        "generation": generation,
    }
    values |= {name: _json(getattr(row, name)) for name in ("spec", "policies", "args", "kwargs", "options")}
    connection.execute(_PUT, values)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
