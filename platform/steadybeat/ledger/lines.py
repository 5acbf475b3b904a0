"""Lines: what runs have logged, where somebody wants to read that beside the run."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from steadybeat.ledger.connection import Database, sql, storable
from steadybeat.settings import Settings

# Lines of one run may come from several processes, and late: they are in order by the time at which they were written.
_KEEP = sql("""
    INSERT INTO steadybeat.run_lines (run, at, level, event, fields)
    SELECT CAST(line->>'run' AS uuid), CAST(line->>'at' AS timestamptz), line->>'level', line->>'event', line->'fields'
      FROM jsonb_array_elements(CAST(:lines AS jsonb)) WITH ORDINALITY AS given (line, number)
     ORDER BY number
""")
_SURPLUS = sql("""
    DELETE FROM steadybeat.run_lines
     WHERE id IN (
        SELECT ranked.id
          FROM unnest(CAST(:run_ids AS text[])) AS named (run)
         CROSS JOIN LATERAL (
               SELECT l.id FROM steadybeat.run_lines l WHERE l.run = CAST(named.run AS uuid)
                ORDER BY l.at DESC, l.id DESC OFFSET CAST(:row_count AS integer)) ranked)
""")
_OF = sql("""
    SELECT at, level, event, fields FROM (
        SELECT id, at, level, event, fields FROM steadybeat.run_lines WHERE run = :run
         ORDER BY at DESC, id DESC LIMIT CAST(:row_count AS integer)) latest
     ORDER BY at, id
""")

_FACTS = sql("""
    SELECT CAST(r.id AS text) AS id, r.task, r.service, r.tenant, r.correlation_id,
           nullif(r.attempt_count, 0) AS attempt, coalesce(r.schedule, whole.schedule) AS schedule,
           coalesce(r.scheduled_for, whole.scheduled_for) AS scheduled_for, a.started_at,
           CAST(extract(epoch FROM coalesce(a.finished_at, clock_timestamp()) - a.started_at) AS double precision)
               AS duration_seconds,
           r.items_done AS items, f.asked,
           nullif(split_part(r.message #>> '{headers,traceparent}', '-', 2), '') AS trace_id
      FROM steadybeat.runs r
      LEFT JOIN steadybeat.runs whole ON whole.id = r.fan_out
      LEFT JOIN steadybeat.fires f ON f.schedule = r.schedule AND f.scheduled_for = r.scheduled_for
      LEFT JOIN steadybeat.attempts a ON a.run = r.id AND a.number = r.attempt_count
     WHERE r.id = ANY(CAST(:run_ids AS uuid[]))
""")
# What Postgres refuses in JSON: an escape of NUL, unless its backslash is itself escaped.
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


class Kept(Protocol):
    """A line of a run, as it is given here; all of it is read only."""

    @property
    def run(self) -> str:
        """The run's id, a UUID."""

    @property
    def at(self) -> datetime:
        """When it was written."""

    @property
    def level(self) -> str:
        """How bad it is."""

    @property
    def event(self) -> str:
        """What it says."""

    @property
    def fields(self) -> dict[str, Any]:
        """What it says beside that; nothing secret."""


class Lines:
    """The lines of runs."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._count = settings.log_lines_count

    def keep(self, lines: Sequence[Kept]) -> None:
        """Write lines; of each of their runs no more stay than ``steadybeat_log_lines_count``, the latest."""
        rows = [
            {
                "run": line.run,
                "at": line.at.isoformat(),
                "level": line.level,
                "event": line.event,
                "fields": line.fields,
            }
            for line in lines
        ]
        written = _NUL.sub("\\g<1>\ufffd", storable(json.dumps(rows, default=str, ensure_ascii=False)))
        self._database.execute(_KEEP, {"lines": written})
        self._database.execute(_SURPLUS, {"run_ids": sorted({line.run for line in lines}), "row_count": self._count})

    def of(self, run: str, limit: int) -> list[dict[str, Any]]:
        """Return the latest lines of a run, the oldest of them first.

        Args:
            run: Its id.
            limit: How many at the most.
        """
        found = self._database.execute(_OF, {"run": run, "row_count": limit})
        return [{"at": row.at, "level": row.level, "event": row.event, "fields": row.fields} for row in found]

    def facts_of(self, runs: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return what a line about the latest attempt of a run carries, for processes that do not work on it.

        Args:
            runs: Their ids.

        Returns:
            By id: `task`, `service`, `schedule`, `scheduled_for`, `started_at`, `attempt`, `correlation_id`, `tenant`,
            `trace_id`, `duration_seconds`, `items`, `asked`, as `telemetry.log_outcome` takes them; what is not known
            is left out.
        """
        found = self._database.execute(_FACTS, {"run_ids": list(runs)})
        return {
            row.id: {
                "run_id": row.id,
                **{name: value for name, value in row._mapping.items() if name != "id" and value is not None},
            }
            for row in found
        }
