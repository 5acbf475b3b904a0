"""Retries: whether another attempt of a run may still begin."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from steadybeat.ledger.connection import Database, sql

_BOUND = sql("""
    SELECT CASE WHEN at > retry_until THEN 'retry_for' ELSE 'deadline' END AS name,
           CASE WHEN at > retry_until THEN retry_until ELSE deadline END AS until
      FROM (SELECT retry_until, deadline,
                   coalesce(CAST(:not_before AS timestamptz),
                            clock_timestamp() + make_interval(secs => :delay_seconds)) AS at
              FROM steadybeat.runs WHERE id = :run) r
     WHERE at > retry_until OR at >= deadline
""")
_WAITS_FOR = sql("""
    SELECT id FROM steadybeat.runs WHERE id = :run AND finished_at IS NULL AND delivery_no <= :delivery_no
""")


@dataclass(frozen=True, slots=True)
class Bound:
    """What an attempt would begin too late for.

    Attributes:
        name: ``retry_for`` or ``deadline``.
        until: When that has passed.
    """

    name: str
    until: datetime

    def __str__(self) -> str:
        what = "retry_for has passed" if self.name == "retry_for" else "its deadline has passed"
        return f"no attempt may begin after {self.until:%Y-%m-%d %H:%M:%S}Z, when {what}"


class Retries:
    """Whether another attempt of a run may still begin."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def bound(self, run: str, *, not_before: datetime | None = None, delay_seconds: float = 0.0) -> Bound | None:
        """Return what an attempt that begins then would be too late for, or None.

        Args:
            run: Its id.
            not_before: When it would begin; else after `delay_seconds`.
            delay_seconds: See `not_before`.
        """
        values = {"run": run, "not_before": not_before, "delay_seconds": delay_seconds}
        rows = self._database.execute(_BOUND, values)
        return Bound(rows[0].name, rows[0].until) if rows else None

    def waits_for(self, run: str, delivery_no: int) -> bool:
        """Return whether a run still depends on a delivery: it has not ended, and no later one was sent."""
        return bool(self._database.execute(_WAITS_FOR, {"run": run, "delivery_no": delivery_no}))
