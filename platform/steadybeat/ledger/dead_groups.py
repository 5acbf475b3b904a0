"""Dead groups: dead letters by what they died of, and those of one group page by page."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from steadybeat.ledger.connection import Database, sql, storable
from steadybeat.ledger.run_walks import WORDS

GROUPED_COUNT = 3_000
"""So many dead letters are put into groups at a time, the newest."""
EXAMINED_COUNT = 10_000
"""So many runs of a task that ended badly are looked at for one page of a group."""
GROUP_COUNT = 100
"""So many groups are returned, those with the most letters."""

# Of the reason's first line; numbers and ids in it differ from run to run.
HEAD = r"""left(regexp_replace(split_part(left(coalesce(r.reason, ''), 400), E'\n', 1),
    '[0-9a-fA-F-]*[0-9][0-9a-fA-F-]*', '#', 'g'), 160)"""
# Cheaper than to take a text apart; only what passes is.
_TEXT = """lower(coalesce(r.reason, '') || ' ' || coalesce("right"(r.error, 4000), ''))"""
_WORD = re.compile(r"'([^']+)'")
_GROUPS = sql(f"""
    WITH newest AS MATERIALIZED (
        SELECT r.id, r.task, r.service, r.reason, r.error, r.finished_at FROM steadybeat.runs r
         WHERE r.state = 'dead'
           AND (CAST(:task AS text) IS NULL OR r.task = :task)
           AND (CAST(:since AS timestamptz) IS NULL OR r.finished_at >= :since)
           AND (CAST(:until AS timestamptz) IS NULL OR r.finished_at <= :until)
         ORDER BY r.finished_at DESC LIMIT CAST(:examined_count AS integer)
    ),
    grouped AS (
        SELECT task, min(service) AS service, head, count(*) AS letter_count, min(finished_at) AS first_at,
               max(finished_at) AS last_at, (array_agg(id ORDER BY finished_at DESC))[1] AS run,
               (array_agg(reason ORDER BY finished_at DESC))[1] AS reason
          FROM (SELECT r.*, {HEAD} AS head FROM newest r
                 WHERE (CAST(:service AS text) IS NULL OR r.service = :service)
                   AND (CAST(:words AS text) IS NULL
                        OR {_TEXT} LIKE ALL (:names) AND {WORDS} @@ to_tsquery('simple', :words))) meant
         GROUP BY task, head
    )
    SELECT grouped.*, count(*) OVER () AS group_count, sum(letter_count) OVER () AS found_count,
           (SELECT count(*) FROM newest) AS examined_count, (SELECT min(finished_at) FROM newest) AS back_to
      FROM grouped ORDER BY letter_count DESC, last_at DESC, task, head LIMIT CAST(:row_count AS integer)
""")
_COLUMNS = """r.id, r.task, r.reason, r.error, r.tenant, r.schedule, r.scheduled_for, r.attempt_count, r.enqueued_at,
    r.finished_at"""
_LETTERS = sql(f"""
    SELECT {_COLUMNS} FROM (
        SELECT * FROM steadybeat.runs r
         WHERE r.task = :task AND r.state IN ('dead', 'cancelled')
           AND (CAST(:instant AS timestamptz) IS NULL OR (r.enqueued_at, r.id) < (:instant, :after))
         ORDER BY r.enqueued_at DESC, r.id DESC LIMIT CAST(:examined_count AS integer)) r
     WHERE r.state = 'dead' AND {HEAD} = :head
     ORDER BY r.enqueued_at DESC, r.id DESC LIMIT CAST(:row_count AS integer)
""")
_FOREIGN = sql("""
    SELECT f.id, f.queue, f.reason, f.seen_at, length(f.raw) AS size_bytes FROM steadybeat.foreign_messages f
     WHERE NOT EXISTS (SELECT FROM steadybeat.runs r WHERE r.id = f.run AND r.state = 'dead')
       AND (CAST(:before_id AS bigint) IS NULL OR f.id < :before_id)
     ORDER BY f.id DESC LIMIT CAST(:row_count AS integer)
""")


class DeadGroups:
    """Tells what dead letters have in common. Rows are plain mappings."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def groups(
        self,
        *,
        task: str | None = None,
        service: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        words: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return the newest dead letters by task and by what their reason says, the largest groups first.

        Args:
            task: Theirs.
            service: That of their task.
            since: They died then or later.
            until: They died then or before.
            words: They have these in their reason or error, as `words_of_error` gives them.

        Returns:
            Of each its ``task``, ``service`` and ``head``: the reason without what differs from run to run; its
            ``letter_count``, ``first_at`` and ``last_at``, and the newest ``run`` with its ``reason``. And of all: how
            many groups and letters fit (``group_count``, ``found_count``), of how many that were looked at
            (``examined_count``), back to when (``back_to``).
        """
        values: dict[str, Any] = {"task": task, "service": service, "since": since, "until": until, "words": words}
        values["names"] = [f"%{word}%" for word in _WORD.findall(words or "") if word.isascii()]
        return self._mappings(_GROUPS, values | {"examined_count": GROUPED_COUNT, "row_count": GROUP_COUNT})

    def letters(
        self, task: str, head: str, *, behind: tuple[datetime, str] | None = None, limit: int
    ) -> list[dict[str, Any]]:
        """Return the dead letters of a group, those that were sent last first.

        Args:
            task: The group's.
            head: The group's.
            behind: Only those sent before another: when that was, and its id.
            limit: How many at the most, among the `EXAMINED_COUNT` latest of the task that ended badly.
        """
        at, run = behind or (None, None)
        values = {"task": storable(task), "head": storable(head), "instant": at, "after": run}
        return self._mappings(_LETTERS, values | {"examined_count": EXAMINED_COUNT, "row_count": limit})

    def foreign(self, *, before: int | None = None, limit: int) -> list[dict[str, Any]]:
        """Return messages that nobody could read, the newest first, without their bytes.

        Args:
            before: Only those with a lower number.
            limit: How many at the most.
        """
        return self._mappings(_FOREIGN, {"before_id": before, "row_count": limit})

    def _mappings(self, statement: Any, values: dict[str, Any]) -> list[dict[str, Any]]:
        return [dict(row._mapping) for row in self._database.execute(statement, values)]
