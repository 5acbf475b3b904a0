"""Progress: how far a run has come, where its next attempt goes on, and whether this one may."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.prepared import Prepared
from steadybeat.settings import Settings

# An attempt that was handed back may still say how far it came, as long as no other has begun.
# A run that gets further between two deaths of its worker is not poisonous.
_WRITE = Prepared(
    sql("""
    UPDATE steadybeat.runs
       SET items_done = :items_done, items_total = coalesce(:items_total, items_total),
           progressed_at = clock_timestamp(),
           crash_count = CASE WHEN CAST(:checkpoint AS jsonb) <> coalesce(checkpoint, 'null') THEN 0
                              ELSE crash_count END,
           checkpoint = coalesce(CAST(:checkpoint AS jsonb), checkpoint),
           lease_until = CASE WHEN state = 'running'
                              THEN greatest(lease_until, clock_timestamp() + make_interval(secs => :lease_seconds))
                              ELSE lease_until END
     WHERE id = :run AND fence = :fence AND finished_at IS NULL
    RETURNING state, cancel_requested_at, cancel_reason
""")
)
_ASK = Prepared(
    sql("""
    SELECT state, cancel_requested_at, cancel_reason FROM steadybeat.runs
     WHERE id = :run AND fence = :fence AND finished_at IS NULL
""")
)
_REACHED = sql("SELECT checkpoint, items_done FROM steadybeat.runs WHERE id = :run")
_UNDER_WAY = sql("""
    SELECT EXISTS (SELECT FROM steadybeat.runs
                    WHERE state = 'running' AND finished_at IS NULL AND instance = :instance) AS there_is
""")


@dataclass(frozen=True, slots=True)
class Orders:
    """What an attempt is to do.

    Attributes:
        held: Whether the run is still its own.
        cancelled: Why the run is not to go on, where somebody asked for its end; else None.
    """

    held: bool
    cancelled: str | None = None


class Progress:
    """How far runs have come."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._lease_seconds = settings.lease_seconds + settings.lease_margin_seconds

    def write(
        self, run: str, fence: int, *, done: int | None, total: int | None = None, checkpoint: Any = None
    ) -> Orders:
        """Write how far an attempt has come and renew its lease, and learn whether it may go on.

        Args:
            run: Its run.
            fence: Of the attempt; one that has lost its run writes nothing.
            done: Items that are done.
            total: Of how many; None leaves what is known.
            checkpoint: Where the next attempt goes on, for JSON; None leaves the last.
        """
        values = {"run": run, "fence": fence, "items_done": done, "items_total": total}
        values["checkpoint"] = None if checkpoint is None else json.dumps(checkpoint, allow_nan=False)
        return _orders(self._database.execute(_WRITE, values | {"lease_seconds": self._lease_seconds}))

    def ask(self, run: str, fence: int) -> Orders:
        """Learn whether an attempt may go on."""
        return _orders(self._database.execute(_ASK, {"run": run, "fence": fence}))

    def reached(self, run: str) -> tuple[Any, int]:
        """Return the last checkpoint of a run, or None, and how many items were done by then."""
        rows = self._database.execute(_REACHED, {"run": run})
        return (rows[0].checkpoint, rows[0].items_done or 0) if rows else (None, 0)

    def under_way(self, instance: str) -> bool:
        """Return whether an instance works on any run."""
        return bool(self._database.execute(_UNDER_WAY, {"instance": instance})[0].there_is)


def _orders(rows: list[Any]) -> Orders:
    if not rows or rows[0].state != "running":
        return Orders(held=False)
    if rows[0].cancel_requested_at is None:
        return Orders(held=True)
    return Orders(held=True, cancelled=rows[0].cancel_reason or "it was cancelled")
