"""The schema of the ledger: the sum of its migrations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, text

from steadybeat.errors import SchemaTooOld
from steadybeat.ledger.tables import SCHEMA

if TYPE_CHECKING:
    from alembic.config import Config  # takes as long as all of Celery, and programs that only call tasks need none

_LOCK = 0x57EADB  # any number that only our migrations lock in Postgres


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """Which migrations a database has.

    Attributes:
        applied: The newest migration that the database has, or None where it has no ledger.
        needed: The newest migration of this release.
        pending: Migrations of this release that the database lacks, oldest first.
    """

    applied: str | None
    needed: str
    pending: tuple[str, ...]


def _config(connection: Connection | None = None) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _known() -> list[str]:
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(_config())
    return [script.revision for script in reversed(list(scripts.walk_revisions()))]


def needed() -> str:
    """Return the newest migration of this release."""
    return _known()[-1]


def status(connection: Connection) -> SchemaStatus:
    """Return which migrations the database behind `connection` has."""
    known = _known()
    exists = connection.execute(text("SELECT to_regclass('steadybeat.alembic_version')")).scalar()
    applied = None
    if exists:
        applied = connection.execute(text("SELECT version_num FROM steadybeat.alembic_version")).scalar()
    if applied is None:
        pending = tuple(known)
    elif applied in known:
        pending = tuple(known[known.index(applied) + 1 :])
    else:
        pending = ()  # a newer release migrated it; what this one needs is still there
    return SchemaStatus(applied, known[-1], pending)


def upgrade(engine: Engine) -> SchemaStatus:
    """Apply the missing migrations, one process at a time, and return what was missing before."""
    from alembic import command

    with engine.connect() as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text(f"SELECT pg_advisory_lock({_LOCK})"))
        try:
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
            before = status(connection)
            connection.commit()
            if before.pending:
                command.upgrade(_config(connection), "head")
                connection.commit()
        finally:
            connection.execute(text(f"SELECT pg_advisory_unlock({_LOCK})"))
            connection.commit()
            connection.invalidate()  # its statement_timeout must not return to the pool
        return before


def require(connection: Connection) -> None:
    """Refuse to go on with a schema that lacks a migration of this release.

    Raises:
        SchemaTooOld: With the command that mends it.
    """
    found = status(connection)
    if found.pending:
        raise SchemaTooOld(
            f"The ledger's schema is at {found.applied or 'nothing'}, this release needs {found.needed}:"
            " run `celery -A … ledger upgrade` first.",
            applied=found.applied,
            needed=found.needed,
        )
