"""Duties: what one process at a time does, of however many could; any of them may die at any point."""

from __future__ import annotations

from datetime import datetime, timedelta

from steadybeat.ledger.connection import Database, sql

_TAKE = sql("""
    INSERT INTO steadybeat.duties AS d (name, instance, until)
    VALUES (:name, :instance, clock_timestamp() + make_interval(secs => :lease_seconds))
    ON CONFLICT (name) DO UPDATE SET instance = excluded.instance, until = excluded.until
     WHERE d.instance = excluded.instance OR d.until < clock_timestamp()
    RETURNING name
""")
_LEAVE = sql("""
    UPDATE steadybeat.duties SET until = clock_timestamp() WHERE name = :name AND instance = :instance
""")
_TAKE_NOW_AND_THEN = sql("""
    INSERT INTO steadybeat.duties AS d (name, instance, until, done_at)
    VALUES (:name, :instance, clock_timestamp(), clock_timestamp())
    ON CONFLICT (name) DO UPDATE SET instance = excluded.instance, done_at = excluded.done_at
     WHERE d.done_at IS NULL OR d.done_at <= clock_timestamp() - make_interval(secs => :pause_seconds)
    RETURNING name
""")
_DONE = sql("""
    INSERT INTO steadybeat.duties AS d (name, instance, until, done_at)
    VALUES (:name, :instance, clock_timestamp(), :instant)
    ON CONFLICT (name) DO UPDATE SET instance = excluded.instance, done_at = excluded.done_at
     WHERE d.done_at IS NULL OR d.done_at < excluded.done_at
""")
_DONE_AT = sql("SELECT done_at FROM steadybeat.duties WHERE name = :name")


class Duties:
    """Who acts, where one is enough."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, name: str, instance: str, lease: timedelta) -> bool:
        """Take a duty, or keep it, for a while from now; return whether it is this instance's.

        Args:
            name: Of the duty.
            instance: Who takes it.
            lease: Nobody else takes it over before this has passed.
        """
        values = {"name": name, "instance": instance, "lease_seconds": lease.total_seconds()}
        return bool(self._database.execute(_TAKE, values))

    def leave(self, name: str, instance: str) -> None:
        """Give a duty up, so that another need not wait."""
        self._database.execute(_LEAVE, {"name": name, "instance": instance})

    def take_now_and_then(self, name: str, instance: str, pause: timedelta) -> bool:
        """Return whether something is to be done now, which it then counts as.

        Args:
            name: Of the duty.
            instance: Who does it.
            pause: So long after the last time.
        """
        values = {"name": name, "instance": instance, "pause_seconds": pause.total_seconds()}
        return bool(self._database.execute(_TAKE_NOW_AND_THEN, values))

    def done(self, name: str, instance: str, at: datetime) -> None:
        """Say that what was due up to an instant is done.

        Args:
            name: Of the duty.
            instance: Who has done it.
            at: Aware; an earlier one than was said before changes nothing.
        """
        self._database.execute(_DONE, {"name": name, "instance": instance, "instant": at})

    def done_at(self, name: str) -> datetime | None:
        """Return up to when something is done, or when it was done last; None where it never was."""
        rows = self._database.execute(_DONE_AT, {"name": name})
        return rows[0].done_at if rows else None
