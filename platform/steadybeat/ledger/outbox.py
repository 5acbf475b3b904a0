"""Outbox: what is to be sent, again or later.

However many rows wait for their time, the relay meets only those that are due: they are the first of one index. An
instant is compared with `statement_timestamp()`, for no index can be asked about one that changes while it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import NamedTuple

from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.prepared import Prepared
from steadybeat.ledger.rows import Envelope

PUT_OFF = timedelta(seconds=10)
"""After this what could not be sent is tried again; meanwhile it is in nobody's way."""

# The runs are locked too, or left to whoever has them now: so a relay waits for nobody while somebody waits for it.
_DUE = sql("""
    WITH due AS MATERIALIZED (
        SELECT id, publish_at, run, delivery_no, reason FROM steadybeat.outbox
         WHERE publish_at <= statement_timestamp()
         ORDER BY publish_at
         LIMIT CAST(:row_count AS integer)
           FOR UPDATE SKIP LOCKED
    ),
    run AS MATERIALIZED (
        SELECT id, task, queue, priority, message, body, retry_count, delivery_no, finished_at
          FROM steadybeat.runs
         WHERE id IN (SELECT run FROM due)
           FOR NO KEY UPDATE SKIP LOCKED
    )
    SELECT due.id AS outbox_id, CAST(due.run AS text) AS run, due.delivery_no, due.reason,
           run.task, run.queue, run.priority, CAST(run.message AS text) AS message, run.body, run.retry_count,
           run.delivery_no = due.delivery_no AND run.finished_at IS NULL AS is_wanted,
           run.id IS NULL AND EXISTS (
               SELECT FROM steadybeat.runs r
                WHERE r.id = due.run AND r.delivery_no = due.delivery_no AND r.finished_at IS NULL) AS is_anothers
      FROM due LEFT JOIN run ON run.id = due.run
     ORDER BY due.publish_at, due.id
""")
_NEXT = Prepared(
    sql("""
    SELECT CAST(extract(epoch FROM publish_at - clock_timestamp()) AS double precision) AS in_seconds
      FROM steadybeat.outbox ORDER BY publish_at LIMIT 1
""")
)
_SENT = sql("""
    WITH gone AS (
        DELETE FROM steadybeat.outbox WHERE id = ANY(CAST(:ids AS bigint[])) RETURNING run, delivery_no
    )
    UPDATE steadybeat.runs r
       SET state = 'enqueued', reason = NULL, enqueued_at = clock_timestamp(), not_before = NULL
      FROM gone
     WHERE r.id = gone.run AND r.delivery_no = gone.delivery_no AND r.state IN ('waiting', 'enqueued')
""")
_PUT_OFF = sql("""
    UPDATE steadybeat.outbox SET publish_at = clock_timestamp() + make_interval(secs => :pause_seconds)
     WHERE id = ANY(CAST(:ids AS bigint[]))
""")

Send = Callable[[Sequence[Envelope]], Collection[int] | None]


class Relayed(NamedTuple):
    """What became of a batch: how many messages were `sent`, and whether there may be `more`."""

    sent: int
    more: bool


class Outbox:
    """What is to be sent, again or later."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def next_due(self) -> timedelta | None:
        """Return in how long the next message is to be sent, negative where that has passed; None: none waits."""
        found = self._database.execute(_NEXT, {})
        return timedelta(seconds=found[0].in_seconds) if found else None

    def relay(self, send: Send, limit: int) -> Relayed:
        """Hand what is due to `send`, then mark it as sent; several processes may do so at once.

        If the process dies between the two, the same deliveries are sent again, which claims ignore. If `send`
        raises, nothing is marked.

        Args:
            send: Publishes every envelope or raises; returns the `outbox_id` of those that it could not send, which
                are put off.
            limit: Most envelopes in one go.
        """
        with self._database.transaction() as connection:
            rows = connection.execute(_DUE, {"row_count": limit}).all()
            due = [Envelope(*row[: len(Envelope._fields)]) for row in rows if row.is_wanted]
            left = set((due and send(due)) or ())
            done = [row.outbox_id for row in rows if row.outbox_id not in left and not row.is_anothers]
            if done:
                connection.execute(_SENT, {"ids": _array(done)})
            if left:
                connection.execute(_PUT_OFF, {"ids": _array(left), "pause_seconds": PUT_OFF.total_seconds()})
        return Relayed(len(due) - len(left), len(rows) == limit and bool(done or left))


def _array(ids: Collection[int]) -> str:
    return "{" + ",".join(map(str, ids)) + "}"
