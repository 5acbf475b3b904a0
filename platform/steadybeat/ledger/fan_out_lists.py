"""Lists of fan-outs, and of the tenants of one, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from steadybeat.ledger.connection import Database, sql

COUNTED_COUNT = 50_000
"""The tenants of a fan-out are counted in a list where there are no more; of more its own page says it."""
FEW_COUNT = 20_000
"""So many runs of one state are sorted; more lie so close together that they are found by walking."""

_NEWEST = sql("""
    SELECT CAST(f.run AS text) AS run, f.task, f.policy, f.begun_at, f.written_at, f.total_count, f.aborted_at,
           f.abort_reason, f.ended_at, whole.task AS whole_task, whole.state, whole.schedule, whole.scheduled_for,
           whole.finished_at, whole.result
      FROM steadybeat.fan_outs f LEFT JOIN steadybeat.runs whole ON whole.id = f.run
     WHERE (CAST(:task AS text) IS NULL OR f.task = :task OR whole.task = :task)
       AND (NOT :everything OR f.ended_at IS NULL)
       AND (CAST(:instant AS timestamptz) IS NULL OR (f.begun_at, f.run) < (:instant, :after))
     ORDER BY f.begun_at DESC, f.run DESC LIMIT CAST(:row_count AS integer)
""")
_COUNTS = sql("""
    SELECT CAST(fan_out AS text) AS run, state, count(*) AS n FROM steadybeat.runs
     WHERE fan_out = ANY(CAST(:run_ids AS uuid[])) GROUP BY fan_out, state
""")
_TENANT_COLUMNS = """r.tenant, CAST(r.id AS text) AS run, r.state, r.reason, r.in_line, r.attempt_count, r.not_before,
    r.started_at, r.finished_at, r.error"""
# A state that few have is looked up, whatever the planner thinks of it: walking might pass a million others.
_FEW = sql(f"""
    WITH those AS MATERIALIZED (
        SELECT id FROM steadybeat.runs WHERE fan_out = :run AND state = ANY(:states))
    SELECT {_TENANT_COLUMNS} FROM those JOIN steadybeat.runs r ON r.id = those.id
     WHERE CAST(:after AS uuid) IS NULL OR r.id > :after
     ORDER BY r.id LIMIT CAST(:row_count AS integer)
""")
_MANY = sql(f"""
    SELECT {_TENANT_COLUMNS} FROM steadybeat.runs r
     WHERE r.fan_out = :run AND r.id >= CAST(:low AS uuid) AND r.id < CAST(:high AS uuid)
       AND (CAST(:after AS uuid) IS NULL OR r.id > :after)
       AND (CAST(:states AS text[]) IS NULL OR r.state = ANY(:states))
     ORDER BY r.id LIMIT CAST(:row_count AS integer)
""")


class FanOutLists:
    """Lists fan-outs and their tenants. Rows are plain mappings."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(
        self,
        *,
        task: str | None = None,
        only_open: bool = False,
        behind: tuple[datetime, str] | None = None,
        limit: int,
    ) -> list[dict[str, Any]]:
        """Return fan-outs, the newest first, each with its own run's task, state and result.

        Args:
            task: Only of this task, which fans out, or runs for each tenant.
            only_open: Only those whose tenants have not all ended.
            behind: Only those that began before another: when that did, and its id.
            limit: How many at the most.
        """
        at, run = behind or (None, None)
        values = {"task": task, "everything": only_open, "instant": at, "after": run, "row_count": limit}
        return self._mappings(_NEWEST, values)

    def counts(self, runs: Sequence[str]) -> dict[str, dict[str, int]]:
        """Return how many tenants of fan-outs are in which state, by the fan-outs' ids."""
        found: dict[str, dict[str, int]] = {run: {} for run in runs}
        for row in self._database.execute(_COUNTS, {"run_ids": list(runs)}) if runs else ():
            found[row.run][row.state] = row.n
        return found

    def tenants(
        self,
        run: str,
        ids: tuple[str, str],
        *,
        states: Sequence[str] | None,
        count: int,
        after: str | None,
        limit: int,
    ) -> list[dict[str, Any]]:
        """Return the runs of a fan-out's tenants, in the order of their turn.

        Args:
            run: Whose fan-out it is.
            ids: From where to where its runs' ids lie.
            states: Only runs in these states; None: in any.
            count: How many are in these states, about.
            after: Only those behind the run of this id.
            limit: How many.
        """
        low, high = ids
        values = {"run": run, "after": after, "row_count": limit, "states": None if states is None else list(states)}
        if states is not None and count <= FEW_COUNT:
            return self._mappings(_FEW, values)
        return self._mappings(_MANY, values | {"low": low, "high": high})

    def _mappings(self, statement: Any, values: dict[str, Any]) -> list[dict[str, Any]]:
        return [dict(row._mapping) for row in self._database.execute(statement, values)]
