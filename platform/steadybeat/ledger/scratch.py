"""Scratch: databases that are made to try tasks in, and dropped; and what a trial changes in one."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from steadybeat.errors import ConfigurationError
from steadybeat.ledger.connection import Database, sql

PREFIX = "steadybeat_probe_"
"""What the names of scratch databases begin with; the second at which each was made follows."""

_LEFT_SECONDS = 600

_LEFT = text(f"""
    SELECT datname FROM pg_database d
     WHERE starts_with(datname, '{PREFIX}')
       AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datname = d.datname)
""")
_COLUMNS = sql("""
    SELECT n.nspname AS schema, c.relname AS table, a.attname AS column,
           a.attidentity <> '' OR a.attgenerated <> '' OR t.typname IN ('timestamptz', 'timestamp')
           OR coalesce(pg_get_expr(d.adbin, d.adrelid) ~* 'nextval|uuid', false) AS is_generated
      FROM pg_class c
      JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      JOIN pg_type t ON t.oid = a.atttypid
      LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
     WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname <> 'steadybeat'
       AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
     ORDER BY 1, 2, a.attnum
""")
_REFERENCES = sql("""
    SELECT n.nspname || '.' || c.relname AS of, m.nspname || '.' || o.relname AS to
      FROM pg_constraint f
      JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_class o ON o.oid = f.confrelid JOIN pg_namespace m ON m.oid = o.relnamespace
     WHERE f.contype = 'f'
""")
_UNENDED = sql("""
    SELECT (SELECT count(*) FROM steadybeat.runs WHERE finished_at IS NULL)
         + (SELECT count(*) FROM steadybeat.outbox) AS count
""")
_RUNS = sql("SELECT count(*) AS count FROM steadybeat.runs")
_STOP = (
    sql("UPDATE steadybeat.runs SET state = 'cancelled', reason = 'its trial is over', finished_at = clock_timestamp()"
        " WHERE finished_at IS NULL"),
    sql("DELETE FROM steadybeat.outbox"),
)  # fmt: skip
# What waits because its process was killed: the pause before its retry is no part of what a probe asks.
_FORWARD = sql("""
    WITH waits AS (
        SELECT r.id FROM steadybeat.runs r
          JOIN LATERAL (SELECT a.outcome FROM steadybeat.attempts a
                         WHERE a.run = r.id ORDER BY a.number DESC LIMIT 1) last ON last.outcome = 'lost'
         WHERE r.state = 'waiting' AND r.finished_at IS NULL AND r.not_before > clock_timestamp()
    ),
    sent AS (UPDATE steadybeat.outbox o SET publish_at = clock_timestamp() FROM waits WHERE o.run = waits.id)
    UPDATE steadybeat.runs r SET not_before = clock_timestamp() FROM waits WHERE r.id = waits.id
""")


class ScratchDatabases:
    """Makes databases on the server of a ledger, which itself is not touched.

    Args:
        url: Of the ledger; its user must be allowed to make databases.
    """

    def __init__(self, url: str) -> None:
        self._url: URL = make_url(url).set(drivername="postgresql+psycopg")

    def make(self, template: str | None = None) -> tuple[str, str]:
        """Make a database, empty or as a copy of another that nobody is connected to; return its name and its URL.

        Raises:
            ConfigurationError: Postgres refused, for the reason it gives.
        """
        name = f"{PREFIX}{int(time.time())}_{uuid4().hex[:8]}"
        try:
            with self._admin() as db:
                db.execute(text(f'CREATE DATABASE "{name}" TEMPLATE "{template or "template0"}"'))
        except DBAPIError as error:
            said = str(error.orig).strip().partition("\n")[0]
            raise ConfigurationError(
                f"no scratch database can be made beside the ledger's: {said}. Let its user make databases (ALTER ROLE"
                " … CREATEDB), or point STEADYBEAT_DATABASE_URL to a server where it may.",
                name="database_url",
            ) from error
        own = self._url.set(drivername="postgresql", database=name)
        return name, own.render_as_string(hide_password=False)

    def drop(self, name: str) -> None:
        """Drop one of them, whoever is connected to it."""
        assert name.startswith(PREFIX), name
        with self._admin() as db:
            db.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))

    def drop_left(self) -> list[str]:
        """Drop those that a killed probe left behind, and return their names: ten minutes old, with nobody in them."""
        with self._admin() as db:
            found = [str(name) for name in db.execute(_LEFT).scalars()]
        left = [
            name for name in found if time.time() - int(name.removeprefix(PREFIX).partition("_")[0]) > _LEFT_SECONDS
        ]
        for name in left:
            self.drop(name)
        return left

    @contextmanager
    def _admin(self) -> Iterator[Connection]:
        engine = create_engine(self._url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as db:
            yield db


@dataclass(frozen=True, slots=True)
class Change:
    """How two states of a table differ: rows that only one of them has. A row that was changed is in both lists."""

    added: list[dict[str, Any]] = field(default_factory=list)
    removed: list[dict[str, Any]] = field(default_factory=list)


Rows = Mapping[str, list[dict[str, Any]]]


def changes(before: Rows, after: Rows) -> dict[str, Change]:
    """Return the tables whose rows differ between two states, and how."""
    found = {}
    for table in sorted({*before, *after}):
        was, now = (Counter(map(_text, state.get(table, ()))) for state in (before, after))
        change = Change(
            *([json.loads(row) for row in (one - other).elements()] for one, other in ((now, was), (was, now)))
        )
        if change.added or change.removed:
            found[table] = change
    return found


def _text(row: Mapping[str, Any]) -> str:
    return json.dumps(row, sort_keys=True)


class ScratchTables:
    """The tables of the application in a scratch database; those of the ledger are none of them.

    Args:
        database: The scratch database.

    Attributes:
        generated: Columns by table whose values are numbers of their own, or instants.
        kept: Tables that have rows from the beginning, and those that they refer to: they are never emptied.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tables: dict[str, str] = {}
        self.generated: dict[str, set[str]] = {}
        quote = database.engine.dialect.identifier_preparer.quote
        for row in database.execute(_COLUMNS):
            table = f"{row.schema}.{row.table}"
            self._tables[table] = f"{quote(row.schema)}.{quote(row.table)}"
            generated = self.generated.setdefault(table, set())
            if row.is_generated:
                generated.add(str(row.column))
        self.kept = self._with_what_they_need({table for table, rows in self.read().items() if rows})

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._tables)

    def _with_what_they_need(self, tables: set[str]) -> set[str]:
        needs = [(str(row.of), str(row.to)) for row in self._database.execute(_REFERENCES)]
        while more := {to for of, to in needs if of in tables} - tables:
            tables |= more
        return tables

    def empty(self) -> None:
        """Delete every row; numbers that are given to rows go on, so that no two trials have one in common."""
        tables = [quoted for table, quoted in self._tables.items() if table not in self.kept]
        if tables:
            self._database.execute(text(f"TRUNCATE {', '.join(tables)}"))

    def read(self) -> dict[str, list[dict[str, Any]]]:
        """Return all rows of each table."""
        found = {}
        for table, quoted in self._tables.items():
            rows = self._database.execute(text(f"SELECT to_jsonb(t) AS row FROM {quoted} t"))
            found[table] = [dict(row.row) for row in rows]
        return found


class ScratchLedger:
    """The ledger in a scratch database: whether everything has ended, and time that passes faster.

    Args:
        database: The scratch database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def is_at_rest(self) -> bool:
        """Return whether every run has ended, and nothing waits to be sent."""
        return int(self._database.execute(_UNENDED)[0].count) == 0

    def run_count(self) -> int:
        """Return how many runs are on record."""
        return int(self._database.execute(_RUNS)[0].count)

    def forward(self) -> None:
        """Send at once what waits because its process was killed."""
        self._database.execute(_FORWARD)

    def stop(self) -> None:
        """End every run that has not ended."""
        for statement in _STOP:
            self._database.execute(statement)
