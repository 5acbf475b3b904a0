"""Tasks: what they are, for those who do not have their code. Written by `schedules apply`, in the deploy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.rows import TaskRow

_DESCRIBE = sql("""
    WITH given AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(CAST(:tasks AS jsonb)) AS given (
            name text, service text, owner text, severity text, purpose text, soft_time_limit_seconds double precision,
            time_limit_seconds double precision, depends_on jsonb)
    ),
    gone AS (
        DELETE FROM steadybeat.tasks t
         WHERE t.service = ANY(:services) AND NOT EXISTS (SELECT FROM given WHERE given.name = t.name)
    )
    INSERT INTO steadybeat.tasks AS t (name, service, owner, severity, purpose, soft_time_limit_seconds,
                                       time_limit_seconds, depends_on)
    SELECT name, service, owner, severity, purpose, soft_time_limit_seconds, time_limit_seconds, depends_on FROM given
    ON CONFLICT (name) DO UPDATE
       SET service = excluded.service, owner = excluded.owner, severity = excluded.severity,
           purpose = excluded.purpose, soft_time_limit_seconds = excluded.soft_time_limit_seconds,
           time_limit_seconds = excluded.time_limit_seconds, depends_on = excluded.depends_on,
           updated_at = clock_timestamp()
""")
_ALL = sql("""
    SELECT name, service, owner, severity, purpose, soft_time_limit_seconds, time_limit_seconds, depends_on
      FROM steadybeat.tasks ORDER BY name
""")


class Tasks:
    """What tasks are."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self, tasks: Sequence[TaskRow], services: Sequence[str]) -> None:
        """Write down what tasks are; those of the services that are not among them are forgotten.

        Args:
            tasks: Every task of the services.
            services: Those that this code has.
        """
        values: dict[str, Any] = {"tasks": json.dumps([asdict(each) for each in tasks]), "services": list(services)}
        self._database.execute(_DESCRIBE, values)

    def all(self) -> list[TaskRow]:
        """Return every task that is known, by name."""
        return [TaskRow(**row._asdict()) for row in self._database.execute(_ALL)]
