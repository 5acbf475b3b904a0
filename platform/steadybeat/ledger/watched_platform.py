"""Watched platform: who leads, who is there, what stands still. Read by the watchdog, every few seconds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.watched_fires import MOST

_LEADING = sql("""
    SELECT clock_timestamp() AS now, l.term, l.host, l.began_at, coalesce(l.ended_at, l.renewed_at) AS heard_at,
           l.ended_at IS NOT NULL AS has_ended, wanted.schedule_count, wanted.first_at
      FROM (SELECT count(*) AS schedule_count, min(created_at) AS first_at FROM (
                   SELECT created_at FROM steadybeat.schedules WHERE retired_at IS NULL AND paused_at IS NULL
                    LIMIT 1) one) wanted
      LEFT JOIN LATERAL (SELECT * FROM steadybeat.leaderships ORDER BY term DESC LIMIT 1) l ON true
""")
_INSTANCES = sql("""
    SELECT CAST(id AS text) AS id, role, host, pid, release, schema_version, node, queues, started_at, expires_at,
           clock_offset_seconds, expires_at > clock_timestamp() AS alive
      FROM steadybeat.instances
     WHERE expires_at > clock_timestamp() - make_interval(secs => :within_seconds)
     ORDER BY started_at
""")
_OUTBOX = sql("""
    SELECT publish_at AS since FROM steadybeat.outbox
     WHERE publish_at <= statement_timestamp() - make_interval(secs => :stalled_seconds)
     ORDER BY publish_at LIMIT 1
""")
_HEADS = sql("""
    SELECT queue, count(*) AS run_count, min(enqueued_at) AS since,
           (array_agg(CAST(id AS text) ORDER BY enqueued_at))[1] AS run
      FROM (SELECT id, queue, enqueued_at FROM steadybeat.runs
             WHERE state = 'enqueued' AND finished_at IS NULL AND enqueued_at <= statement_timestamp()
             ORDER BY enqueued_at LIMIT CAST(:row_count AS integer)) r
     GROUP BY queue
    HAVING min(enqueued_at) <= statement_timestamp() - make_interval(secs => :stalled_seconds)
""")
_BEGAN = sql("""
    SELECT named.queue, (SELECT r.started_at FROM steadybeat.runs r
                          WHERE r.queue = named.queue AND r.started_at IS NOT NULL
                          ORDER BY r.started_at DESC LIMIT 1) AS began_at
      FROM unnest(:queues) AS named (queue)
""")
_MONITORS = sql("""
    SELECT m.name, m.kind, m.failing_since, m.failure_count, m.error, s.task, s.service
      FROM steadybeat.monitors m LEFT JOIN steadybeat.schedules s ON s.name = m.name AND s.retired_at IS NULL
     WHERE m.failing_since IS NOT NULL
""")


class WatchedPlatform:
    """Who leads, who is there, and what stands still."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def leading(self) -> Any:
        """Return how it stands with leading.

        Returns:
            A row with `now`; of the latest leadership `term`, `host`, `began_at`, when its Beat was last heard of and
            whether it has ended (None where there was none); whether there is a schedule (`schedule_count` is 0 or 1),
            and since when (`first_at`).
        """
        return self._database.execute(_LEADING)[0]

    def instances(self, within: timedelta) -> list[Any]:
        """Return the instances that live, and those whose last sign of life has expired not so long ago.

        Args:
            within: How long.
        """
        return self._database.execute(_INSTANCES, {"within_seconds": within.total_seconds()})

    def relay_stands_since(self, stalled: timedelta) -> datetime | None:
        """Return since when the first message of the outbox is due, where that is longer ago than `stalled`."""
        found = self._database.execute(_OUTBOX, {"stalled_seconds": stalled.total_seconds()})
        return found[0].since if found else None

    def heads(self, stalled: timedelta) -> list[Any]:
        """Return the queues whose first run waits for longer than `stalled`: `run_count`, `since`, and that `run`.

        Of a backlog only the oldest runs are looked at.
        """
        return self._database.execute(_HEADS, {"stalled_seconds": stalled.total_seconds(), "row_count": MOST})

    def began(self, queues: Sequence[str]) -> dict[str, datetime | None]:
        """Return when an attempt began last on some queues."""
        rows = self._database.execute(_BEGAN, {"queues": list(queues)})
        return {row.queue: row.began_at for row in rows}

    def failing_monitors(self) -> list[Any]:
        """Return the monitors that do not take their heartbeats, with the task of their schedule."""
        return self._database.execute(_MONITORS)
