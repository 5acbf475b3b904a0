"""Monitors: those elsewhere that heartbeats go to, how they stand, and what they were told of schedules."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from steadybeat.ledger.connection import Database, sql
from steadybeat.settings import Settings

PLATFORM = "platform"
"""What the monitor of the platform itself is called; no schedule's: it is not in `schedules`."""

_WATCHED = sql("""
    SELECT s.name AS schedule, s.policies->>'heartbeat' AS heartbeat, s.spec,
           coalesce(CAST(s.policies->>'jitter_seconds' AS double precision), 0) AS jitter_seconds,
           t.time_limit_seconds
      FROM steadybeat.schedules s LEFT JOIN steadybeat.tasks t ON t.name = s.task
     WHERE s.retired_at IS NULL AND (CAST(:names AS text[]) IS NULL OR s.name = ANY(CAST(:names AS text[])))
     ORDER BY s.name
""")
# What is older than what is on record is of a process that was slow to say so.
_NOTE = sql("""
    INSERT INTO steadybeat.monitors AS m (name, kind, sent_at, failing_since, failure_count, error)
    SELECT name, kind, CASE WHEN error IS NULL THEN at END, CASE WHEN error IS NOT NULL THEN at END,
           CASE WHEN error IS NULL THEN 0 ELSE 1 END, error
      FROM jsonb_to_recordset(CAST(:notes AS jsonb)) AS given (name text, kind text, error text, at timestamptz)
     ORDER BY name
    ON CONFLICT (name) DO UPDATE
       SET kind = excluded.kind,
           sent_at = coalesce(excluded.sent_at, m.sent_at),
           failing_since = CASE WHEN excluded.error IS NOT NULL
                                THEN coalesce(m.failing_since, excluded.failing_since) END,
           failure_count = CASE WHEN excluded.error IS NULL THEN 0 ELSE m.failure_count + 1 END,
           error = excluded.error
     WHERE coalesce(m.sent_at, '-infinity') <= coalesce(excluded.sent_at, excluded.failing_since)
""")
_SYNCED = sql("""
    INSERT INTO steadybeat.monitors AS m (name, kind, synced, synced_at)
    VALUES (:name, :kind, CAST(:synced AS jsonb), clock_timestamp())
    ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, synced = excluded.synced, synced_at = excluded.synced_at
""")
_ALL = sql("""
    SELECT name, kind, sent_at, failing_since, failure_count, error, synced, synced_at
      FROM steadybeat.monitors ORDER BY name
""")
# One whose schedule is gone, or has no monitor by now, has nothing to say any more.
_FAILING = sql("""
    SELECT m.name, m.kind, m.sent_at, m.failing_since, m.failure_count, m.error, m.synced, m.synced_at
      FROM steadybeat.monitors m LEFT JOIN steadybeat.schedules s ON s.name = m.name AND s.retired_at IS NULL
     WHERE m.failing_since IS NOT NULL
       AND CASE WHEN s.name IS NULL THEN m.name = 'platform' AND CAST(:has_platform AS boolean)
                ELSE coalesce(s.policies->>'heartbeat' <> 'off', CAST(:has_default AS boolean)) END
     ORDER BY m.name
""")


# By the clock of Postgres alone: whoever asks may have another.
_PLATFORM = sql("""
    SELECT (SELECT CASE WHEN l.ended_at IS NULL THEN extract(epoch FROM clock_timestamp() - l.renewed_at) END
              FROM steadybeat.leaderships l ORDER BY l.term DESC LIMIT 1) AS leader_seconds,
           (SELECT extract(epoch FROM clock_timestamp() - o.publish_at)
              FROM steadybeat.outbox o ORDER BY o.publish_at LIMIT 1) AS overdue_seconds
""")


@dataclass(frozen=True, slots=True)
class Moving:
    """How the platform as a whole goes on.

    Attributes:
        leader_silence: How long ago the Beat that leads last said so; None: none does.
        overdue: How long ago the first message of the outbox should have been sent; None: none waits.
    """

    leader_silence: timedelta | None
    overdue: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """How a monitor was seen to stand.

    Attributes:
        name: Of the schedule, or `PLATFORM`.
        kind: Of the monitor.
        error: Why it takes no heartbeats, in one line; None: it has taken one.
        at: When that was seen, aware.
    """

    name: str
    kind: str
    error: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class MonitorRow:
    """One monitor.

    Attributes:
        name: Of the schedule, or `PLATFORM`.
        sent_at: When it last took a heartbeat, to some minutes.
        failing_since: No heartbeat was taken since; None: the last one was.
        failure_count: How often it was seen failing since.
        synced: What it was told of the schedule last.
    """

    name: str
    kind: str
    sent_at: datetime | None
    failing_since: datetime | None
    failure_count: int
    error: str | None
    synced: Mapping[str, Any] | None
    synced_at: datetime | None


class Monitors:
    """Where heartbeats go, and how that stands."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    def watched(self, names: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Return what monitors are to know of schedules that are not retired, by name.

        Args:
            names: Of which; None: all.
        """
        rows = self._database.execute(_WATCHED, {"names": None if names is None else list(names)})
        return [dict(row._mapping) for row in rows]

    def note(self, *notes: Noted) -> None:
        """Write down how monitors stand, one note for each at the most."""
        rows = [{**asdict(each), "at": each.at.isoformat()} for each in notes]
        self._database.execute(_NOTE, {"notes": json.dumps(rows)})

    def synced(self, name: str, *, kind: str, told: Mapping[str, Any]) -> None:
        """Write down what a monitor was told of its schedule."""
        self._database.execute(_SYNCED, {"name": name, "kind": kind, "synced": json.dumps(dict(told))})

    def all(self) -> list[MonitorRow]:
        """Return every monitor that has been told anything, by name."""
        return [MonitorRow(*row) for row in self._database.execute(_ALL)]

    def platform(self) -> Moving:
        """Return how the platform as a whole goes on."""
        (row,) = self._database.execute(_PLATFORM)
        found = (row.leader_seconds, row.overdue_seconds)
        return Moving(*(None if each is None else timedelta(seconds=float(each)) for each in found))

    def failing(self) -> list[MonitorRow]:
        """Return the monitors that take no heartbeats now, by name, of those that the settings still want told."""
        told = {"has_platform": bool(self._settings.platform_heartbeat_url)}
        told |= {"has_default": bool(self._settings.heartbeat_url)}
        return [MonitorRow(*row) for row in self._database.execute(_FAILING, told)]
