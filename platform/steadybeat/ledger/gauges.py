"""Gauges: figures of the whole ledger, for metrics. A thread of a watchdog reads them now and then, a scrape never.

None of these reads a table of runs, attempts or fires as a whole: each follows a partial index that holds only what is
open, due, dead or missed, or the end of a primary key. Where that can still be much, as many rows as `MOST_ROWS` are
looked at. A test asks Postgres for the plans. `statement_timeout` bounds each, and one that fails is left out alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import TextClause

from steadybeat.ledger.connection import Database, sql

MOST_ROWS = 100_000

_SECONDS = "CAST(greatest(0, extract(epoch FROM clock_timestamp() - {instant})) AS double precision)"


def _since(instant: str) -> str:
    return _SECONDS.format(instant=instant)


# Instants are compared with `statement_timestamp()`: no index can be asked about one that changes while it is read.
STATEMENTS: Mapping[str, TextClause] = {
    name: sql(statement)
    for name, statement in {
        # by `runs_dead`, from its end
        "dead_letters": f"""
            SELECT task, count(*) AS n FROM (
                SELECT task FROM steadybeat.runs WHERE state = 'dead' ORDER BY finished_at DESC LIMIT {MOST_ROWS}) dead
             GROUP BY task""",
        # by `outbox_publish_at`
        "outbox": f"""
            SELECT count(*) AS n, coalesce({_since("min(publish_at)")}, 0) AS oldest_seconds
              FROM steadybeat.outbox WHERE publish_at <= statement_timestamp()""",
        # by `runs_open`, from its beginning; a herd's runs are on record before they are sent
        "enqueued": f"""
            SELECT queue, count(*) AS n, {_since("min(enqueued_at)")} AS oldest_seconds FROM (
                SELECT queue, enqueued_at FROM steadybeat.runs
                 WHERE state = 'enqueued' AND finished_at IS NULL AND enqueued_at <= statement_timestamp()
                 ORDER BY enqueued_at LIMIT {MOST_ROWS}) open
             GROUP BY queue""",
        # by `runs_open`; there are no more than there are processes to work on them
        "running": """
            SELECT service, count(*) AS n FROM steadybeat.runs
             WHERE state = 'running' AND finished_at IS NULL GROUP BY service""",
        # a row for each process
        "instances": """
            SELECT role, count(*) AS n, max(abs(clock_offset_seconds)) AS clock_offset_seconds
              FROM steadybeat.instances WHERE expires_at > statement_timestamp() GROUP BY role""",
        # by `fires_due`
        "overdue": f"""
            SELECT count(*) AS n, coalesce({_since("min(due_at)")}, 0) AS oldest_seconds
              FROM steadybeat.fires WHERE state = 'expected' AND due_at <= statement_timestamp()""",
        # by `fires_missed`, from its end
        "missed": f"""
            SELECT schedule, count(*) AS n FROM (
                SELECT schedule FROM steadybeat.fires
                 WHERE state = 'missed' AND due_at > statement_timestamp() - interval '1 day'
                   AND due_at <= statement_timestamp()
                 ORDER BY due_at DESC LIMIT {MOST_ROWS}) missed
             GROUP BY schedule""",
        # a row for each schedule
        "failures": """
            SELECT name AS schedule, consecutive_failures AS n FROM steadybeat.schedules
             WHERE consecutive_failures > 0 AND retired_at IS NULL""",
        "paused": """
            SELECT count(*) AS n FROM steadybeat.schedules WHERE paused_at IS NOT NULL AND retired_at IS NULL""",
        # by `alerts_open`
        "alerts": """
            SELECT rule, severity, state, count(*) AS n FROM steadybeat.alerts
             WHERE state <> 'resolved' GROUP BY rule, severity, state""",
        # a row for each queue
        "canaries": f"""
            SELECT queue, CASE WHEN answered_no IS DISTINCT FROM number AND sent_at IS NOT NULL
                               THEN {_since("sent_at")} ELSE 0 END AS unanswered_seconds
              FROM steadybeat.canaries""",
        # a row for each monitor
        "monitors": """
            SELECT kind, count(*) FILTER (WHERE failing_since IS NOT NULL) AS n
              FROM steadybeat.monitors GROUP BY kind""",
        # rows for each process, schedule and task
        "queues": """
            SELECT unnest(queues) AS queue FROM steadybeat.instances WHERE expires_at > statement_timestamp()
            UNION SELECT service FROM steadybeat.schedules WHERE retired_at IS NULL
            UNION SELECT service FROM steadybeat.tasks""",
    }.items()
}

_LAST_TERM = sql("SELECT coalesce(max(term), 0) AS term FROM steadybeat.leaderships")
# By the primary key: the terms since one, that one included.
_TERMS = sql(f"""
    SELECT term, began_at, coalesce(ended_at, renewed_at) AS heard_at, ended_at IS NOT NULL AS has_ended,
           {_since("coalesce(ended_at, renewed_at)")} AS silent_seconds
      FROM steadybeat.leaderships WHERE term >= :term ORDER BY term
""")
_LAST_DUPLICATE = sql("SELECT coalesce(max(id), 0) AS id FROM steadybeat.duplicates")
# By the primary key. A number may be taken and not yet be seen: rows of the last moment are left for the next time.
_DUPLICATES = sql(f"""
    SELECT schedule, cause, count(*) AS n, max(id) AS last_id FROM (
        SELECT id, schedule, cause FROM steadybeat.duplicates
         WHERE id > :before_id AND seen_at < statement_timestamp() - interval '2 seconds'
         ORDER BY id LIMIT {MOST_ROWS}) new
     GROUP BY schedule, cause
""")


@dataclass(frozen=True, slots=True)
class Term:
    """One term of leadership, as it is known now.

    Attributes:
        heard_at: When its Beat said last that it leads, or that it does no more.
        has_ended: Whether it said so.
        silent_seconds: How long ago `heard_at` is.
    """

    term: int
    began_at: datetime
    heard_at: datetime
    has_ended: bool
    silent_seconds: float


class Gauges:
    """Figures of the whole."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rows(self, name: str) -> list[Any]:
        """Return the rows of one of `STATEMENTS`."""
        return self._database.execute(STATEMENTS[name])

    def last_term(self) -> int:
        """Return the number of the latest term of leadership, 0 where there was none."""
        return int(self._database.execute(_LAST_TERM)[0].term)

    def terms(self, since: int) -> list[Term]:
        """Return the terms since one, that one included, the first one first."""
        return [Term(*row) for row in self._database.execute(_TERMS, {"term": since})]

    def last_duplicate(self) -> int:
        """Return the number of the latest duplicate, 0 where there was none."""
        return int(self._database.execute(_LAST_DUPLICATE)[0].id)

    def duplicates(self, after: int) -> list[Any]:
        """Return how many duplicates were noted since one, by schedule and cause, with the last number of each."""
        return self._database.execute(_DUPLICATES, {"before_id": after})
