"""The outbox: what is to be sent, again or later."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.prepared import Prepared
from steadybeat.ledger.rows import Envelope

_DUE = sql("""
    SELECT o.id AS outbox_id, o.run, o.delivery_no, o.reason,
           r.task, r.queue, r.priority, r.message, r.body, r.retry_count
      FROM steadybeat.outbox o
      JOIN steadybeat.runs r ON r.id = o.run
     WHERE o.publish_at <= clock_timestamp()
     ORDER BY o.publish_at
     LIMIT CAST(:row_count AS integer)
       FOR UPDATE OF o SKIP LOCKED
""")
_ANY_DUE = Prepared(
    sql("SELECT EXISTS (SELECT FROM steadybeat.outbox WHERE publish_at <= clock_timestamp()) AS there_is")
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
_OVERTAKEN = sql("""
    DELETE FROM steadybeat.outbox o
     WHERE o.publish_at <= clock_timestamp()
       AND NOT EXISTS (SELECT FROM steadybeat.runs r
                        WHERE r.id = o.run AND r.delivery_no = o.delivery_no AND r.finished_at IS NULL)
""")


class Outbox:
    """What is to be sent, again or later."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def relay(self, send: Callable[[Sequence[Envelope]], None], limit: int) -> int:
        """Hand what is due to `send`, then mark it as sent; several processes may do so at once.

        If the process dies between the two, the same deliveries are sent again, which claims ignore. If `send`
        raises, nothing is marked.

        Args:
            send: Publishes every envelope or raises.
            limit: Most envelopes in one go.

        Returns:
            How many were sent.
        """
        if not self._database.execute(_ANY_DUE, {})[0].there_is:
            return 0
        with self._database.transaction() as connection:
            connection.execute(_OVERTAKEN)
            due = [
                Envelope(**{**row._mapping, "run": str(row.run)})
                for row in connection.execute(_DUE, {"row_count": limit})
            ]
            if due:
                send(due)
                ids = "{" + ",".join(str(envelope.outbox_id) for envelope in due) + "}"
                connection.execute(_SENT, {"ids": ids})
        return len(due)
