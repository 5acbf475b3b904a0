"""Overview: how far a fan-out is, and tenant by tenant. What people ask; nothing here changes anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from steadybeat.ledger.connection import Database, sql

PACE_COUNT = 2_000
"""Among so many runs of a queue, those that began last, a fan-out's pace is taken."""

_FAN_OUT = sql("""
    SELECT CAST(f.run AS text) AS run, f.task, f.policy, f.seed, f.concurrency, f.spread_seconds, f.abort_count,
           f.abort_share, f.on_complete->>'task' AS on_complete, f.begun_at, f.written_at, f.total_count,
           f.aborted_at, f.abort_reason, f.ended_at, whole.state, whole.finished_at
      FROM steadybeat.fan_outs f LEFT JOIN steadybeat.runs whole ON whole.id = f.run
     WHERE f.run = :run
""")
_RECENT = sql("""
    SELECT CAST(f.run AS text) AS run, whole.task, whole.state
      FROM steadybeat.fan_outs f JOIN steadybeat.runs whole ON whole.id = f.run
     ORDER BY f.begun_at DESC LIMIT CAST(:row_count AS integer)
""")
_OPEN_AMONG = sql("""
    SELECT run FROM steadybeat.fan_outs WHERE run = ANY(CAST(:run_ids AS uuid[])) AND ended_at IS NULL
     ORDER BY begun_at
""")
_HAS_LINE = sql("""
    SELECT EXISTS (SELECT FROM steadybeat.runs WHERE fan_out = :run AND state = 'waiting' AND in_line) AS there_is
""")
# No index says which runs of a fan-out ended last; that of the runs of a queue that began last does nearly so.
_PACE = sql("""
    WITH recent AS MATERIALIZED (
        SELECT r.fan_out, r.finished_at FROM steadybeat.runs r
         WHERE r.queue = (SELECT queue FROM steadybeat.runs one WHERE one.fan_out = :run LIMIT 1)
           AND r.started_at IS NOT NULL
           AND r.started_at > (SELECT greatest(f.written_at, clock_timestamp() - interval '1 hour')
                                 FROM steadybeat.fan_outs f WHERE f.run = :run)
         ORDER BY r.started_at DESC LIMIT CAST(:row_count AS integer)
    )
    SELECT count(*) AS ended_count, extract(epoch FROM clock_timestamp() - min(finished_at)) AS seconds,
           (SELECT n.not_before FROM steadybeat.runs n
             WHERE n.fan_out = :run AND n.in_line AND n.finished_at IS NULL AND n.attempt_count = 0
             ORDER BY n.id DESC LIMIT 1) AS last_begins_at
      FROM recent WHERE fan_out = :run AND finished_at IS NOT NULL
""")
# The ids of a fan-out's runs begin with one time, so that the primary key has them side by side, in their order.
_RUNS = sql("""
    SELECT r.tenant, CAST(r.id AS text) AS run, r.state, r.reason, r.in_line, r.attempt_count, r.not_before,
           r.started_at, r.finished_at
      FROM steadybeat.runs r
     WHERE r.fan_out = :run AND r.id >= CAST(:low AS uuid) AND r.id < CAST(:high AS uuid)
       AND (CAST(:after AS uuid) IS NULL OR r.id > :after)
       AND (CAST(:states AS text[]) IS NULL OR r.state = ANY(:states))
     ORDER BY r.id LIMIT CAST(:row_count AS integer)
""")
_SKIPPED = sql("""
    SELECT tenant, NULL AS run, 'skipped' AS state, reason, false AS in_line, 0 AS attempt_count,
           NULL AS not_before, NULL AS started_at, NULL AS finished_at
      FROM steadybeat.skipped_tenants
     WHERE run = :run AND (CAST(:tenant AS text) IS NULL OR tenant > :tenant)
     ORDER BY tenant LIMIT CAST(:row_count AS integer)
""")
_IS_SKIPPED = sql("SELECT FROM steadybeat.skipped_tenants WHERE run = :run AND tenant = :tenant")


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a fan-out has been lately.

    Attributes:
        per_second: So many of its runs end in a second; None where none has ended lately.
        last_begins_at: When the last of those in line may begin at the earliest; None: at any time.
    """

    per_second: float | None
    last_begins_at: datetime | None


class Overview:
    """Tells of fan-outs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def fan_out(self, run: str) -> dict[str, Any] | None:
        """Return what a fan-out was told and how it stands, or None where a run has not fanned out."""
        found = self._mappings(_FAN_OUT, {"run": run})
        return found[0] if found else None

    def recent(self, limit: int) -> list[dict[str, Any]]:
        """Return the runs that have fanned out, with task and state, the newest first."""
        return self._mappings(_RECENT, {"row_count": limit})

    def open_among(self, runs: Sequence[str]) -> list[str]:
        """Return those of some runs that have fanned out and whose tenants have not all ended."""
        return [str(row.run) for row in self._database.execute(_OPEN_AMONG, {"run_ids": list(runs)})]

    def has_line(self, run: str) -> bool:
        """Return whether tenants of a fan-out are in line."""
        return bool(self._database.execute(_HAS_LINE, {"run": run})[0].there_is)

    def pace(self, run: str) -> Pace:
        """Return how fast a fan-out has been in the last hour, or less where many of its runs ended in that."""
        row = self._database.execute(_PACE, {"run": run, "row_count": PACE_COUNT})[0]
        rate = row.ended_count / float(row.seconds) if row.ended_count and row.seconds > 0 else None
        return Pace(rate, row.last_begins_at)

    def tenants(
        self, run: str, ids: tuple[str, str], *, states: Sequence[str] | None, after: str | None, limit: int
    ) -> list[dict[str, Any]]:
        """Return the runs of a fan-out's tenants, in the order of their turn.

        Args:
            run: Whose fan-out it is.
            ids: From where to where its runs' ids lie.
            states: Only runs in these states; None: in any.
            after: Only those behind the run of this id.
            limit: How many.
        """
        low, high = ids
        values = {"run": run, "low": low, "high": high, "after": after, "row_count": limit}
        return self._mappings(_RUNS, values | {"states": None if states is None else list(states)})

    def skipped(self, run: str, *, after: str | None, limit: int) -> list[dict[str, Any]]:
        """Return the tenants that a fan-out has left out, by name.

        Args:
            run: Whose fan-out it is.
            after: Only those behind the tenant of this name.
            limit: How many.
        """
        return self._mappings(_SKIPPED, {"run": run, "tenant": after, "row_count": limit})

    def is_skipped(self, run: str, tenant: str) -> bool:
        """Return whether a fan-out has left a tenant out."""
        return bool(self._database.execute(_IS_SKIPPED, {"run": run, "tenant": tenant}))

    def _mappings(self, statement: Any, values: dict[str, Any]) -> list[dict[str, Any]]:
        return [dict(row._mapping) for row in self._database.execute(statement, values)]
