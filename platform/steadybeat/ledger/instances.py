"""Instances: who is alive. One narrow row per process, renewed by its keeper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from steadybeat.ledger.connection import Database, sql
from steadybeat.settings import Settings

_SIGN_OF_LIFE = sql("""
    INSERT INTO steadybeat.instances AS i
           (id, role, host, pid, release, expires_at, clock_offset_seconds, node, queues, schema_version)
    VALUES (:instance, :role, :host, :pid, :release, clock_timestamp() + make_interval(secs => :lease_seconds),
            :clock_offset_seconds, :node, :queues, :schema_version)
    ON CONFLICT (id) DO UPDATE
       SET expires_at = excluded.expires_at, clock_offset_seconds = excluded.clock_offset_seconds,
           queues = excluded.queues
    RETURNING clock_timestamp() AS now
""")
_LEAVE = sql("DELETE FROM steadybeat.instances WHERE id = :instance")
_LIVE = sql("""
    SELECT id, role, host, pid, release, started_at, expires_at FROM steadybeat.instances
     WHERE expires_at > clock_timestamp() ORDER BY started_at
""")
# A worker of an older release does not say what it consumes.
_CONSUMERS = sql("""
    SELECT (SELECT count(*) FROM steadybeat.instances
             WHERE role = 'worker' AND expires_at > clock_timestamp() AND :queue = ANY(queues)) AS alive_count,
           EXISTS (SELECT FROM steadybeat.instances
                    WHERE role = 'worker' AND expires_at > clock_timestamp() AND queues IS NULL) AS may_be_more,
           last.host, last.pid, last.expires_at,
           (SELECT r.started_at FROM steadybeat.runs r WHERE r.queue = :queue AND r.started_at IS NOT NULL
             ORDER BY r.started_at DESC LIMIT 1) AS began_at
      FROM (SELECT) one
      LEFT JOIN LATERAL (SELECT host, pid, expires_at FROM steadybeat.instances
                          WHERE role = 'worker' AND :queue = ANY(queues) ORDER BY expires_at DESC LIMIT 1) last ON true
""")


@dataclass(frozen=True, slots=True)
class Instance:
    """One process: who it is, and until when it counts as alive."""

    id: str
    role: str
    host: str
    pid: int
    release: str
    started_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Consumers:
    """Who takes runs from a queue.

    Attributes:
        alive_count: So many workers that are alive do.
        may_be_more: Whether a worker is alive that does not say what it consumes.
        host: Machine of the worker that did last, if that is still known; one that ended in good order is not.
        pid: Its process there.
        expires_at: Until when it counted as alive.
        began_at: When a run of the queue began last.
    """

    alive_count: int
    may_be_more: bool
    host: str | None
    pid: int | None
    expires_at: datetime | None
    began_at: datetime | None


class Instances:
    """Who is alive."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._clock_offset_seconds: float | None = None

    def sign_of_life(
        self,
        instance: str,
        *,
        role: str,
        host: str,
        pid: int,
        release: str,
        node: str | None = None,
        queues: Sequence[str] | None = None,
        schema_version: str | None = None,
    ) -> float:
        """Say that an instance is alive for a lease from now; the first time makes its row.

        Args:
            instance: Its id.
            role: ``worker``, ``beat`` or ``watchdog``.
            host: Its machine.
            pid: Of its process there.
            release: Of steadybeat.
            node: What a worker is called in Celery.
            queues: What a worker consumes from at this moment.
            schema_version: The newest migration that its release needs.

        Returns:
            How many seconds this machine's clock is ahead of Postgres', as far as half of the way there and back
            can tell.
        """
        before = datetime.now(UTC)
        rows = self._database.execute(
            _SIGN_OF_LIFE,
            {
                "instance": instance,
                "role": role,
                "host": host,
                "pid": pid,
                "release": release,
                "lease_seconds": self._settings.lease_seconds,
                "clock_offset_seconds": self._clock_offset_seconds,
                "node": node,
                "queues": None if queues is None else list(queues),
                "schema_version": schema_version,
            },
        )
        after = datetime.now(UTC)
        half = (after - before) / 2
        offset = (before + half - rows[0].now).total_seconds()
        self._clock_offset_seconds = _certain(offset, half.total_seconds())
        return offset

    def leave(self, instance: str) -> None:
        """Forget an instance that ends in good order."""
        self._database.execute(_LEAVE, {"instance": instance})

    def live(self) -> list[Instance]:
        """Return the instances whose sign of life has not expired, oldest first."""
        return [Instance(str(row.id), *row[1:]) for row in self._database.execute(_LIVE)]

    def consumers(self, queue: str) -> Consumers:
        """Return who takes runs from a queue, and who did last."""
        return Consumers(*self._database.execute(_CONSUMERS, {"queue": queue})[0])


def _certain(offset_seconds: float, uncertain_seconds: float) -> float:
    """Return how far off a clock is at least: a process that was stopped on the way there or back says little of it.

    >>> _certain(5.2, 5.2), _certain(-3.0, 0.5), _certain(0.2, 0.5)
    (0.0, -2.5, 0.0)
    """
    return math.copysign(max(0.0, abs(offset_seconds) - uncertain_seconds), offset_seconds)
