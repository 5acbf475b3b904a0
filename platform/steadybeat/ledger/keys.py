"""Keys: what has happened for a task and an idempotency key, one row for each effect and each step of a run.

The row with the empty step is the one that a claim takes; it carries the fence. The others are written by the attempt
that holds it, and only while it does. In a service's own database there is the same table, without claims.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, text

from steadybeat.errors import ConfigurationError
from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.prepared import Prepared
from steadybeat.ledger.tables import KEY_STATES

_LOCK = 0x57EADC  # any number that nothing else locks in that database
_STATES = ", ".join(f"'{each}'" for each in KEY_STATES)
_INSTALL = (
    f"SELECT pg_advisory_xact_lock({_LOCK})",
    "CREATE SCHEMA IF NOT EXISTS steadybeat",
    f"""\
CREATE TABLE IF NOT EXISTS steadybeat.processed_keys (
    task       text NOT NULL,
    key        text NOT NULL,
    step       text NOT NULL DEFAULT '',
    run        uuid NOT NULL,
    fence      bigint NOT NULL,
    state      text NOT NULL,
    result     jsonb,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    PRIMARY KEY (task, key, step),
    CONSTRAINT state_is_known CHECK (state IN ({_STATES}))
)""",
)
PROCESSED_KEYS_SQL = "".join(f"{statement};\n" for statement in _INSTALL)
"""What `install_processed_keys` does, for migrations that are written in SQL; to be run in one transaction."""

# What a run made that succeeded is none of another's: its key was free again since, or that other had no claim. A
# run that is on record no longer did not die: dead letters stay.
_VOID = """
    former.run <> :run
    AND coalesce(r.state = 'succeeded'
                 OR (r.id IS NULL AND former.changed_at < clock_timestamp()
                                      - make_interval(secs => CAST(:key_ttl_seconds AS double precision))), false)"""
_FOUND = Prepared(
    sql(f"""
    SELECT former.state, former.result, former.run, former.fence, {_VOID} AS void
      FROM steadybeat.processed_keys former LEFT JOIN steadybeat.runs r ON r.id = former.run
     WHERE former.task = :task AND former.key = :key AND former.step = :step
""")
)
_IS_VOID = sql(f"""
    SELECT {_VOID} AS void
      FROM (SELECT CAST(:former_run AS uuid) AS run, CAST(:instant AS timestamptz) AS changed_at) former
      LEFT JOIN steadybeat.runs r ON r.id = former.run
""")
_STEPS = sql("""
    SELECT step, state, result, run, changed_at FROM steadybeat.processed_keys
     WHERE task = :task AND key = :key AND step <> '' ORDER BY changed_at
""")
_MINE = """
    SELECT FROM steadybeat.processed_keys
     WHERE task = :task AND key = :key AND step = '' AND run = :run AND fence = :fence"""
_HOLDS = Prepared(sql(f"SELECT EXISTS ({_MINE}) AS mine"))
# The shared lock keeps the next claim waiting until this is committed.
_WRITE = sql(f"""
    WITH mine AS MATERIALIZED ({_MINE} FOR SHARE),
    written AS (
        INSERT INTO steadybeat.processed_keys AS k (task, key, step, run, fence, state, result)
        SELECT :task, :key, :step, :run, :fence, :state, CAST(:result AS jsonb) FROM mine
        ON CONFLICT (task, key, step) DO UPDATE
           SET run = excluded.run, fence = excluded.fence, state = excluded.state, result = excluded.result,
               changed_at = clock_timestamp()
         WHERE k.run = :former_run OR (k.fence <= excluded.fence AND k.state = ANY(:states))
        RETURNING run
    )
    SELECT EXISTS (SELECT FROM mine) AS mine, EXISTS (SELECT FROM written) AS written
""")
_COMMIT_EFFECT = sql("""
    UPDATE steadybeat.processed_keys
       SET state = 'done', result = CAST(:result AS jsonb), changed_at = clock_timestamp()
     WHERE task = :task AND key = :key AND step = '' AND run = :run AND fence = :fence AND state = 'held'
    RETURNING run
""")

_IN_OTHERS = sql("""
    SELECT to_regclass('steadybeat.processed_keys') IS NOT NULL AS installed,
           to_regclass('steadybeat.runs') IS NOT NULL AS is_ledger
""")
_IS_HERE = sql("SELECT EXISTS (SELECT FROM steadybeat.runs WHERE id = :run) AS here")
_FOUND_IN_OTHERS = sql("""
    SELECT state, result, run, fence, changed_at FROM steadybeat.processed_keys
     WHERE task = :task AND key = :key AND step = :step
""")
_WRITE_IN_OTHERS = sql("""
    INSERT INTO steadybeat.processed_keys AS k (task, key, step, run, fence, state, result)
    VALUES (:task, :key, :step, :run, :fence, 'done', CAST(:result AS jsonb))
    ON CONFLICT (task, key, step) DO UPDATE
       SET run = excluded.run, fence = excluded.fence, result = excluded.result, changed_at = clock_timestamp()
     WHERE k.run = :former_run
    RETURNING run
""")
_FENCE_IN_OTHERS = sql("""
    SELECT fence FROM steadybeat.processed_keys WHERE task = :task AND key = :key AND step = :step
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The attempt that a claim gave a processed key to.

    Attributes:
        task: Whose key it is.
        run: The attempt's run.
        fence: Of the claim.
        key_ttl_seconds: How long after a success the key keeps others away; None: as long as it is kept.
    """

    task: str
    key: str
    run: str
    fence: int
    key_ttl_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is on record of a step.

    Attributes:
        state: ``done``, or one of an external step.
        result: What it gave back.
        fence: Of the attempt that wrote it.
        former_run: The run whose record may be replaced, since it is void for the one that asks.
    """

    state: str = ""
    result: Any = None
    fence: int = 0
    former_run: str | None = None


class Keys:
    """What the holder of a processed key writes beside it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def found(self, holder: Holder, step: str, connection: Connection | None = None) -> Found:
        """Return what is on record of a step of a run, or of an earlier run of the same key that did not succeed.

        Args:
            holder: Who asks.
            step: Its name.
            connection: Where to ask; a connection of its own unless given.
        """
        values = _values(holder, step) | {"key_ttl_seconds": holder.key_ttl_seconds}
        values.pop("fence")
        rows = connection.execute(_FOUND.clause, values).all() if connection else self._database.execute(_FOUND, values)
        return _read(rows[0], void=rows[0].void) if rows else Found()

    def steps(self, task: str, key: str) -> list[dict[str, Any]]:
        """Return the effects and steps that are on record for a key, beside its last effect, in their order."""
        return [dict(row._mapping) for row in self._database.execute(_STEPS, {"task": task, "key": key})]

    def holds(self, holder: Holder) -> bool:
        """Return whether nobody has taken the key over."""
        values = _values(holder)
        return bool(self._database.execute(_HOLDS, values)[0].mine)

    def write(
        self,
        holder: Holder,
        step: str,
        state: str,
        *,
        instead_of: tuple[str, ...] = (),
        result: str | None = None,
        former_run: str | None = None,
        connection: Connection | None = None,
    ) -> bool | None:
        """Record the state of a step.

        Args:
            holder: Who asks; the fence is checked in the same statement.
            step: Its name.
            state: The new state.
            instead_of: States that may be left for it; without any, only a step that is not on record is written.
            result: JSON.
            former_run: Of what was found, where it is void.
            connection: Whose transaction it is a part of; it commits by itself unless given.

        Returns:
            Whether it was written; None where the fence has moved on.
        """
        values = _values(holder, step)
        values |= {"state": state, "states": list(instead_of), "result": result, "former_run": former_run}
        row = (connection.execute(_WRITE, values).all() if connection else self._database.execute(_WRITE, values))[0]
        return bool(row.written) if row.mine else None

    def commit_effect(self, connection: Connection, holder: Holder, result: str | None = None) -> bool:
        """Mark the last effect of a run as done in the caller's transaction; False where the fence has moved on."""
        return connection.execute(_COMMIT_EFFECT, _values(holder) | {"result": result}).first() is not None

    # In a service's own database

    def is_here(self, connection: Connection, run: str) -> bool:
        """Return whether a service's connection leads to the database of this very ledger.

        Raises:
            ConfigurationError: It leads to another ledger, or to a database without the table.
        """
        found = connection.execute(_IN_OTHERS).one()
        if found.is_ledger:
            if connection.execute(_IS_HERE, {"run": run}).scalar():
                return True
            raise ConfigurationError(
                "exactly_once(): that database holds the ledger of other programs, which its keys would get mixed up"
                " with; use another database."
            )
        if not found.installed:
            raise ConfigurationError(
                "exactly_once(): that database has no table steadybeat.processed_keys; have its migrations call"
                " steadybeat.install_processed_keys(engine)."
            )
        return False

    def found_in_others(self, connection: Connection, holder: Holder, step: str) -> Found:
        """Return what a service's own database has on record of a step, as `found` does."""
        row = connection.execute(_FOUND_IN_OTHERS, _named(holder, step)).first()
        if row is None:
            return Found()
        if str(row.run) == holder.run:
            return _read(row)
        values = {"run": holder.run, "former_run": str(row.run), "instant": row.changed_at}
        asked = self._database.execute(_IS_VOID, values | {"key_ttl_seconds": holder.key_ttl_seconds})
        return _read(row, void=asked[0].void)

    def write_in_others(
        self, connection: Connection, holder: Holder, step: str, result: str | None, former_run: str | None
    ) -> int | None:
        """Mark an effect as done in a service's own database, in the transaction of the effect.

        Returns:
            None; or the fence of the attempt that has made it in the meantime.
        """
        values = _values(holder, step) | {"result": result, "former_run": former_run}
        if connection.execute(_WRITE_IN_OTHERS, values).first() is not None:
            return None
        return int(connection.execute(_FENCE_IN_OTHERS, _named(holder, step)).scalar_one())


def install_processed_keys(database: Engine | Connection) -> None:
    """Make the table ``steadybeat.processed_keys`` in a service's own database, for `exactly_once(engine)`.

    Where it is there already nothing changes; any number of programs may call this at once.

    Args:
        database: A SQLAlchemy engine; or a connection, as ``op.get_bind()`` of a migration: then it is part of the
            caller's transaction.

    Raises:
        ConfigurationError: It is no Postgres.
    """
    if database.dialect.name != "postgresql":
        raise ConfigurationError(
            f"install_processed_keys(): {database.dialect.name} cannot hold them; it must be a Postgres."
        )
    if isinstance(database, Engine):
        with database.begin() as connection:
            install_processed_keys(connection)
        return
    for statement in _INSTALL:
        database.execute(text(statement))


def _named(holder: Holder, step: str) -> dict[str, Any]:
    return {"task": holder.task, "key": holder.key, "step": step}


def _values(holder: Holder, step: str | None = None) -> dict[str, Any]:
    values = {"task": holder.task, "key": holder.key, "run": holder.run, "fence": holder.fence}
    return values if step is None else values | {"step": step}


def _read(row: Any, *, void: bool = False) -> Found:
    if void:
        return Found(former_run=str(row.run))
    return Found(state=row.state, result=row.result, fence=row.fence)
