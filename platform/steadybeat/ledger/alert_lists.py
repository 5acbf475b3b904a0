"""Lists of alerts: the open ones by how bad they are, with what each explains; those that are over, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from steadybeat.ledger.connection import Database, sql

_COLUMNS = """a.id, a.rule, a.subject, a.state, a.severity, a.owner, a.service, a.task, a.schedule, a.run, a.summary,
    a.error, a.cause_id, a.since, a.opened_at, a.reopened_at, a.last_seen_at, a.seen_count, a.reopened_count,
    a.acknowledged_by, a.resolved_at, a.resolved_by"""
_FILTERS = """(CAST(:rule AS text) IS NULL OR a.rule = :rule)
       AND (CAST(:owner AS text) IS NULL OR a.owner = :owner)
       AND (CAST(:service AS text) IS NULL OR a.service = :service)
       AND (CAST(:severity AS text) IS NULL OR a.severity = :severity)
       AND (CAST(:subject AS text) IS NULL OR position(lower(:subject) IN lower(a.subject)) > 0)"""
# Open before acknowledged, the worst first; then the newest first.
_RANK = """CASE a.state WHEN 'open' THEN 0 ELSE 10 END
    + coalesce(array_position(ARRAY['critical', 'error', 'warning', 'info'], a.severity), 9)"""
_OPEN = sql(f"""
    SELECT {_COLUMNS}, {_RANK} AS rank FROM steadybeat.alerts a
     WHERE a.state <> 'resolved' AND {_FILTERS}
       AND NOT EXISTS (SELECT FROM steadybeat.alerts cause WHERE cause.id = a.cause_id AND cause.state <> 'resolved')
       AND (CAST(:place AS integer) IS NULL OR ({_RANK}, -a.id) > (:place, -CAST(:before_id AS bigint)))
     ORDER BY rank, a.id DESC LIMIT CAST(:row_count AS integer)
""")
_EXPLAINED = sql("""
    SELECT a.cause_id, a.id, a.rule, a.subject, a.state, a.severity, a.summary FROM steadybeat.alerts a
     WHERE a.cause_id = ANY(:alert_ids) AND a.state <> 'resolved'
     ORDER BY a.id DESC LIMIT CAST(:row_count AS integer)
""")
_OVER = sql(f"""
    SELECT {_COLUMNS} FROM steadybeat.alerts a
     WHERE a.state = 'resolved' AND {_FILTERS}
       AND (CAST(:instant AS timestamptz) IS NULL
            OR (a.resolved_at, a.id) < (:instant, CAST(:before_id AS bigint)))
     ORDER BY a.resolved_at DESC, a.id DESC LIMIT CAST(:row_count AS integer)
""")
FILTERS = ("rule", "owner", "service", "severity", "subject")
"""By what a list is narrowed; of a subject a part will do."""


class AlertLists:
    """Lists alerts. Rows are plain mappings."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(
        self, narrowed: dict[str, str | None], *, behind: tuple[int, int] | None = None, limit: int
    ) -> list[dict[str, Any]]:
        """Return what is not resolved and has no cause that is: open before acknowledged, the worst first.

        Args:
            narrowed: Values of `FILTERS`.
            behind: Only those behind another: its ``rank``, and its id.
            limit: How many at the most.
        """
        rank, alert = behind or (None, None)
        values = {name: narrowed.get(name) for name in FILTERS}
        return self._mappings(_OPEN, values | {"place": rank, "before_id": alert, "row_count": limit})

    def explained(self, alerts: Sequence[int], *, limit: int) -> dict[int, list[dict[str, Any]]]:
        """Return what is not resolved and has one of some alerts as its cause, by the cause's id."""
        found: dict[int, list[dict[str, Any]]] = {}
        for row in self._mappings(_EXPLAINED, {"alert_ids": list(alerts), "row_count": limit}):
            found.setdefault(row["cause_id"], []).append(row)
        return found

    def over(
        self, narrowed: dict[str, str | None], *, behind: tuple[datetime, int] | None = None, limit: int
    ) -> list[dict[str, Any]]:
        """Return what is resolved, what was resolved last first.

        Args:
            narrowed: Values of `FILTERS`.
            behind: Only those behind another: when that was resolved, and its id.
            limit: How many at the most.
        """
        at, alert = behind or (None, None)
        values = {name: narrowed.get(name) for name in FILTERS}
        return self._mappings(_OVER, values | {"instant": at, "before_id": alert, "row_count": limit})

    def _mappings(self, statement: Any, values: dict[str, Any]) -> list[dict[str, Any]]:
        return [dict(row._mapping) for row in self._database.execute(statement, values)]
