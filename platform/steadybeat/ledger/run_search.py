"""Run search: runs by what they have in common, the newest first, a page at a time, also among many millions.

What is asked for decides by which index runs are walked through, from the newest on: see `RunSearch._ways`. What that
index does not say is looked up in each run that is passed, in `EXAMINED_COUNT` of them at the most; where that is not
enough to fill a page, the answer says up to where it has looked, and a page may go on from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from steadybeat.errors import ConfigurationError, LedgerUnavailable
from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.run_walks import (
    BADLY,
    COLUMNS,
    CONDITIONS,
    TASKS,
    Way,
    key_of,
    narrowing,
    open_way,
    reach_of,
    walk_of,
    words_of,
)
from steadybeat.ledger.search import Wanted
from steadybeat.ledger.tables import OPEN_STATES

EXAMINED_COUNT = 10_000
"""So many runs are looked at for one page."""
FEWEST_COUNT = 200
"""So many of each task are looked at, where those of several are walked through side by side."""
NEAR_COUNT = 3_000
"""Words are looked for in so many of the newest that ended badly, before they are looked up."""

_PLACE = sql("SELECT enqueued_at, scheduled_for FROM steadybeat.runs WHERE id = :run")
_BEHIND = """(r.enqueued_at, r.id) < (
    SELECT former.enqueued_at, former.id FROM steadybeat.runs former WHERE former.id = :after)"""
_CONTAINING = f"""
    SELECT {COLUMNS} FROM steadybeat.runs r WHERE {{where}}
     ORDER BY r.enqueued_at DESC, r.id DESC LIMIT CAST(:row_count AS integer)"""
_BRIEFLY = text("SET LOCAL statement_timeout = '3s'")
_PLAINLY = text("SET LOCAL jit = off")
_WORD = re.compile(r"[^\W_]+")
_CANCELED = "57014"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: behind this run.

    Attributes:
        at: When it was sent; where a schedule is asked for, its nominal time.
        run: Its id.
    """

    at: datetime
    run: str


@dataclass(frozen=True, slots=True)
class Found:
    """A page of runs.

    Attributes:
        rows: Plain mappings, for a table or for JSON.
        more: Where the next page begins; None: there is none.
        reached: Set where the page is not full and there may be more: everything up to this instant was looked at.
    """

    rows: list[dict[str, Any]]
    more: Place | None = None
    reached: datetime | None = None


class RunSearch:
    """Finds runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, wanted: Wanted, *, behind: Place | None = None, limit: int) -> Found:
        """Return a page of runs: those that were sent last first; of a schedule, its latest fires first.

        Args:
            wanted: Which.
            behind: Where the page begins; None: with the newest.
            limit: How many at the most.

        Raises:
            ConfigurationError: What is asked for has no words in it, or so many runs in it that this takes too long.
        """
        asked = wanted.values
        values: dict[str, Any] = dict(asked)
        if "error" in asked:
            values["words"] = words_of_error(asked["error"])
        if behind is not None:
            values |= {"instant": behind.at, "after": behind.run}
        with self._briefly() as connection:
            if "key" in asked:
                return self._of_key(connection, asked, values, behind, limit)
            ways, more = self._ways(connection, asked)
            if not ways:
                return self._of_words(connection, asked, values, behind, limit)
            return self._walk(connection, ways, asked, values | more, behind, limit)

    def runs(self, wanted: Wanted, *, after: str | None = None, limit: int) -> list[dict[str, Any]]:
        """Return so many runs, however many have to be looked at, in the order of `find`.

        Args:
            wanted: Which; a text of their error is looked for as it stands, wherever in that.
            after: Only those behind this run, the last of the page before.
            limit: How many at the most.
        """
        if wanted.error is not None:
            return self._containing(wanted, after, limit)
        more, rows = self._place(wanted, after), list[dict[str, Any]]()
        if after is not None and more is None:
            return rows
        while len(rows) < limit:
            found = self.find(wanted, behind=more, limit=limit - len(rows))
            rows, more = rows + found.rows, found.more
            if more is None:
                break
        return rows

    def _place(self, wanted: Wanted, run: str | None) -> Place | None:
        rows = self._database.execute(_PLACE, {"run": run}) if run is not None else ()
        return next((Place(row.scheduled_for if wanted.schedule else row.enqueued_at, str(run)) for row in rows), None)

    def _containing(self, wanted: Wanted, after: str | None, limit: int) -> list[dict[str, Any]]:
        """Return runs with a text in their error; that may take as long as a person waits for it."""
        where = f"{wanted.conditions} AND {_BEHIND}" if after is not None else wanted.conditions
        values = wanted.values | ({"after": after} if after is not None else {}) | {"row_count": limit}
        rows = self._database.patiently(sql(_CONTAINING.format(where=where)), values)
        return [dict(row._mapping) for row in rows]

    def tasks(self) -> list[dict[str, Any]]:
        """Return the tasks that are known or have a run that ended, each with its ``service``, by name."""
        with self._briefly() as connection:
            return self._tasks(connection)

    def _tasks(self, connection: Connection) -> list[dict[str, Any]]:
        return [dict(row._mapping) for row in connection.execute(TASKS)]

    def _ways(self, connection: Connection, asked: dict[str, Any]) -> tuple[list[Way], dict[str, Any]]:
        """Return by which indexes runs are walked through, and the values that these need; none: by words."""
        for name in ("tenant", "fan_out"):
            if name in asked:
                return [Way(frozenset({name}), CONDITIONS[name])], {}
        if "schedule" in asked:
            return [Way(frozenset({"schedule"}), CONDITIONS["schedule"], order="scheduled_for")], {}
        state = asked.get("state")
        if state in OPEN_STATES:
            return [open_way([state])], {"states": [state]}
        return ([], {}) if "error" in asked else self._ways_by_task(connection, asked, state)

    def _ways_by_task(
        self, connection: Connection, asked: dict[str, Any], state: str | None
    ) -> tuple[list[Way], dict[str, Any]]:
        names, is_bad = self._names(connection, asked), state in ("dead", "cancelled")
        if names is None:
            return [BADLY if is_bad else Way(frozenset(), "true")], {}
        where = BADLY.where if is_bad else "r.finished_at IS NOT NULL"
        values, n = "unnest(CAST(:names AS text[])) AS v (value)", max(1, len(names))
        ended = Way(frozenset({"task"}), f"r.task = v.value AND {where}", values, n)
        if state is not None:
            return [ended], {"names": names}
        return [ended, open_way(OPEN_STATES)], {"names": names, "states": [*OPEN_STATES]}

    def _names(self, connection: Connection, asked: dict[str, Any]) -> list[str] | None:
        """Return the tasks whose runs are walked through side by side; None: runs of every task."""
        if "task" in asked:
            return [asked["task"]]
        if "service" in asked:
            return sorted({row["task"] for row in self._tasks(connection) if row["service"] == asked["service"]})
        return None

    def _walk(
        self,
        connection: Connection,
        ways: Sequence[Way],
        asked: dict[str, Any],
        values: dict[str, Any],
        behind: Place | None,
        limit: int,
        examined: int = EXAMINED_COUNT,
    ) -> Found:
        each = max(FEWEST_COUNT, examined // max(way.value_count for way in ways))
        values = values | {"examined_count": max(each, limit + 1), "row_count": limit + 1}
        shape = (tuple(ways), frozenset(asked), behind is not None)
        rows = [dict(row._mapping) for row in connection.execute(walk_of(*shape), values)]
        ends = [*connection.execute(reach_of(*shape), values)]
        end = max(((row.ordered_at, row.id) for row in ends), default=None)
        if end is not None:
            rows = [row for row in rows if (row["ordered_at"], row["id"]) >= end]
        if len(rows) > limit or end is None:
            return _page(rows, limit)
        return Found([_plain(row) for row in rows], Place(end[0], str(end[1])), end[0])

    def _of_key(
        self, connection: Connection, asked: dict[str, Any], values: dict[str, Any], behind: Place | None, limit: int
    ) -> Found:
        """Return runs that have a key, of which there are few: by the index of keys, or by what the key is made of."""
        values = values | {"row_count": limit + 1, **_made_of(asked["key"])}
        where = " AND ".join(narrowing(set(asked) - {"key"}, "enqueued_at", behind is not None))
        rows = connection.execute(key_of(where), values)
        return _page([dict(row._mapping) for row in rows], limit)

    def _of_words(
        self, connection: Connection, asked: dict[str, Any], values: dict[str, Any], behind: Place | None, limit: int
    ) -> Found:
        """Return runs whose errors have words in them: those that ended by their index, those that go on one by one."""
        is_over = asked.get("state") in ("dead", "cancelled")
        values, going_on = values | {"states": [*OPEN_STATES]}, [] if is_over else [open_way(OPEN_STATES)]
        near = self._walk(connection, [BADLY, *going_on], asked, values, behind, limit, NEAR_COUNT)
        if near.reached is None:
            return near
        ended = self._with_words(connection, asked, values, behind, limit)
        if is_over:
            return ended
        open_ones = self._walk(connection, going_on, asked, values, behind, limit)
        rows = sorted((*ended.rows, *open_ones.rows), key=lambda row: (row["enqueued_at"], row["id"]), reverse=True)
        ends = [(each.more.at, each.more.run) for each in (ended, open_ones) if each.more is not None]
        if ends:
            rows = [row for row in rows if (row["enqueued_at"], str(row["id"])) >= max(ends)]
        if len(rows) > limit:
            return _page([row | {"ordered_at": row["enqueued_at"]} for row in rows], limit)
        more = Place(*max(ends)) if ends else None
        is_short = more is not None and open_ones.reached is not None and len(rows) < limit
        return Found(rows, more, more.at if more is not None and is_short else None)

    def _with_words(
        self, connection: Connection, asked: dict[str, Any], values: dict[str, Any], behind: Place | None, limit: int
    ) -> Found:
        where = " AND ".join(narrowing(set(asked) - {"error"}, "enqueued_at", behind is not None))
        rows = connection.execute(words_of(where), values | {"row_count": limit + 1})
        found = [dict(row._mapping) for row in rows]
        return _page(sorted(found, key=lambda row: (row["ordered_at"], row["id"]), reverse=True), limit)

    @contextmanager
    def _briefly(self) -> Iterator[Connection]:
        """Yield a connection whose statements take no longer than somebody looks at an empty page.

        Raises:
            ConfigurationError: One does.
        """
        try:
            with self._database.transaction() as connection:
                connection.execute(_BRIEFLY)
                connection.execute(_PLAINLY)
                yield connection
        except LedgerUnavailable as error:
            if getattr(getattr(error.__cause__, "orig", None), "sqlstate", None) != _CANCELED:
                raise
            raise ConfigurationError(
                "This search passes too many runs to be answered at once: ask for a shorter time (since, until), or"
                " also for a task."
            ) from error


def _made_of(key: str) -> dict[str, Any]:
    """Return what a key is made of: a run's id; a schedule and a nominal time; names of tenants it may end in."""
    schedule, _, instant = key.rpartition("@")
    ends = [key[n + 1 :] for n, each in enumerate(key) if each == ":"]
    return {
        "run": _uuid(key),
        "schedule_of": schedule or None,
        "scheduled_for": _instant(instant.partition("#")[0]),
        "names": [*ends, *(each.partition("#again-")[0] for each in ends)],
    }


def _uuid(value: str) -> str | None:
    try:
        return str(UUID(value.partition("#again-")[0]))
    except ValueError:
        return None


def _instant(value: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


def words_of_error(error: str) -> str:
    """Return what is asked for in an error as Postgres reads it: each word, or the beginning of one.

    Raises:
        ConfigurationError: There is no word in it.
    """
    words = _WORD.findall(error.lower())
    if not words:
        raise ConfigurationError(f"error={error!r}: has no word in it; say one that stands in the error.", error=error)
    return " & ".join(f"'{word}':*" for word in words)


def _page(rows: list[dict[str, Any]], limit: int) -> Found:
    shown = rows[:limit]
    more = Place(shown[-1]["ordered_at"], str(shown[-1]["id"])) if len(rows) > limit else None
    return Found([_plain(row) for row in shown], more)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "ordered_at"}
