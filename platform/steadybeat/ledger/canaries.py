"""Canaries: of each queue the last message that asks whether somebody consumes from it, and its answer."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from steadybeat.ledger.connection import Database, sql

# One that nobody has answered is asked again after half of the time: a message may be lost with Redis.
_DUE = sql("""
    SELECT named.queue, coalesce(c.number, 0) + 1 AS number
      FROM unnest(:queues) AS named (queue)
      LEFT JOIN steadybeat.canaries c ON c.queue = named.queue
     WHERE c.sent_at IS NULL
        OR c.sent_at <= clock_timestamp() - make_interval(
               secs => :pause_seconds / CASE WHEN c.unanswered_since IS NULL THEN 1 ELSE 2 END)
     ORDER BY named.queue
""")
# The answer may come before this.
_SENT = sql("""
    INSERT INTO steadybeat.canaries AS c (queue, number, sent_at, unanswered_since)
    VALUES (:queue, :number, clock_timestamp(), clock_timestamp())
    ON CONFLICT (queue) DO UPDATE
       SET number = excluded.number, sent_at = excluded.sent_at,
           unanswered_since = CASE WHEN c.answered_no >= excluded.number THEN NULL
                                   ELSE coalesce(c.unanswered_since, excluded.sent_at) END
""")
_ANSWER = sql("""
    INSERT INTO steadybeat.canaries AS c (queue, number, answered_no, answered_at, answered_by)
    VALUES (:queue, :number, :number, clock_timestamp(), :instance)
    ON CONFLICT (queue) DO UPDATE
       SET answered_no = greatest(c.answered_no, excluded.answered_no), answered_at = excluded.answered_at,
           answered_by = excluded.answered_by, unanswered_since = NULL
""")
_ANSWERERS = sql("""
    SELECT CAST(answered_by AS text) AS instance, max(answered_at) AS answered_at FROM steadybeat.canaries
     WHERE answered_by IS NOT NULL GROUP BY answered_by
""")
_UNANSWERED = sql("""
    SELECT queue, number, sent_at, answered_at, unanswered_since AS since FROM steadybeat.canaries
     WHERE unanswered_since <= clock_timestamp() - make_interval(secs => :within_seconds)
       AND sent_at > unanswered_since
     ORDER BY queue
""")

_STANDING = sql("""
    SELECT queue, sent_at, answered_at, unanswered_since FROM steadybeat.canaries WHERE sent_at IS NOT NULL
     ORDER BY queue
""")


class Canaries:
    """Which queues answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, queues: list[str], pause: timedelta) -> dict[str, int]:
        """Return which of some queues are to be asked now, each with the number of its message.

        Args:
            queues: Their names.
            pause: From one message to the next; half of it while one is unanswered.
        """
        rows = self._database.execute(_DUE, {"queues": queues, "pause_seconds": pause.total_seconds()})
        return {row.queue: row.number for row in rows}

    def sent(self, queue: str, number: int) -> None:
        """Write down that a queue was asked."""
        self._database.execute(_SENT, {"queue": queue, "number": number})

    def answer(self, queue: str, number: int, instance: str) -> None:
        """Write down that a worker has taken a canary, and that its pool has worked."""
        self._database.execute(_ANSWER, {"queue": queue, "number": number, "instance": instance})

    def answerers(self) -> dict[str, datetime]:
        """Return when each instance has answered last, for whichever queue."""
        return {row.instance: row.answered_at for row in self._database.execute(_ANSWERERS)}

    def unanswered(self, within: timedelta) -> list[Any]:
        """Return the queues that were asked more than once, and have not answered for so long.

        Returns:
            Rows with `queue`, `number`, `sent_at`, `answered_at`, and `since`: when the first of them was sent.
        """
        return self._database.execute(_UNANSWERED, {"within_seconds": within.total_seconds()})

    def standing(self) -> list[Any]:
        """Return how it stands with each queue that was asked.

        Returns:
            Rows with `queue`, `sent_at`, `answered_at`, and `unanswered_since`: None where the last was answered.
        """
        return self._database.execute(_STANDING)
