"""Around: what there is about one run beside its own row: who works on it, what it waits for, what came of it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from steadybeat.ledger.connection import Database, sql

SHOWN_COUNT = 200
"""So many children, and so many parts of a chord, are returned at the most."""

_LEASE = sql("""
    SELECT r.instance, r.fence, r.lease_until, r.next_rescue_at, r.terminate_at, r.group_id, r.replaced_at, i.host,
           i.pid, i.node, i.release, i.expires_at, coalesce(i.expires_at > clock_timestamp(), false) AS is_alive,
           (SELECT count(*) FROM steadybeat.instances w
             WHERE w.role = 'worker' AND w.expires_at > clock_timestamp() AND r.queue = ANY(w.queues)) AS consumer_count
      FROM steadybeat.runs r LEFT JOIN steadybeat.instances i ON i.id = r.instance
     WHERE r.id = :run
""")
_OUTBOX = sql("""
    SELECT publish_at, delivery_no, reason, waits_for FROM steadybeat.outbox WHERE run = :run ORDER BY id
""")
_HOLDERS = sql("""
    SELECT t.name, t.place, t.run, t.taken_at, r.task, r.state
      FROM steadybeat.turns t LEFT JOIN steadybeat.runs r ON r.id = t.run
     WHERE t.name = ANY(:names) ORDER BY t.name, t.place LIMIT 20
""")
_OTHERS = sql("""
    SELECT id, task, state, tenant, enqueued_at FROM steadybeat.runs WHERE id = ANY(CAST(:run_ids AS uuid[]))
""")
_AGAIN = sql("""
    SELECT id, task, state, tenant, enqueued_at, idempotency_key FROM steadybeat.runs WHERE rerun_of = :run
     ORDER BY id LIMIT CAST(:row_count AS integer)
""")
# Some of them, as the index has them: of a hundred thousand nobody looks for the first.
_CHILDREN = sql("""
    SELECT id, task, state, tenant, enqueued_at FROM (
        SELECT id, task, state, tenant, enqueued_at FROM steadybeat.runs WHERE parent_id = :run
         LIMIT CAST(:row_count AS integer)) found
     ORDER BY enqueued_at, id
""")
_PARTS = sql("""
    SELECT id, task, state, tenant, enqueued_at FROM (
        SELECT id, task, state, tenant, enqueued_at FROM steadybeat.runs WHERE group_id = :group_id
         LIMIT CAST(:row_count AS integer)) found
     ORDER BY enqueued_at, id
""")
_ALERTS = sql("""
    SELECT id, rule, subject, state, severity, summary, opened_at FROM steadybeat.alerts
     WHERE state <> 'resolved'
       AND (run = :run OR schedule = :schedule OR subject IN (:schedule, :task) OR schedule IS NULL AND task = :task)
     ORDER BY id DESC LIMIT 20
""")
_HASTEN = sql("""
    WITH run AS (
        UPDATE steadybeat.runs r SET not_before = clock_timestamp()
         WHERE r.id = :run AND r.state = 'waiting' AND r.cancel_requested_at IS NULL
           AND (r.in_line OR EXISTS (SELECT FROM steadybeat.outbox o
                                      WHERE o.run = r.id AND o.delivery_no = r.delivery_no AND o.waits_for IS NULL))
        RETURNING r.id, r.delivery_no
    ),
    later AS (
        UPDATE steadybeat.outbox o SET publish_at = clock_timestamp()
          FROM run WHERE o.run = run.id AND o.delivery_no = run.delivery_no
    ),
    noted AS (
        INSERT INTO steadybeat.operations (who, what, target, reason)
        SELECT :who, 'runs hasten', CAST(id AS text), :reason FROM run
    )
    SELECT id FROM run
""")


class Around:
    """Tells what there is about a run. Rows are plain mappings."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, run: dict[str, Any]) -> dict[str, Any]:
        """Return what there is about a run.

        Args:
            run: As `Story.run` returns it.

        Returns:
            ``lease``: the fence, until when, and the instance that has it, and whether that is alive; on how many
            workers its queue has. ``outbox``: what is to be sent. ``holders``: who has the locks that it waits for.
            ``parent``, ``former``, ``whole``: the run that called it, that it is a rerun of, that fanned out into it;
            ``reruns``, ``children``, ``parts`` (of its chord): `SHOWN_COUNT` at the most. ``alerts``: open ones of it,
            of its schedule or of its task.
        """
        values = {"run": str(run["id"]), "row_count": SHOWN_COUNT}
        named = {"parent": run["parent_id"], "former": run["rerun_of"], "whole": run["of_fan_out"]}
        with self._database.transaction() as connection:
            lease = (_rows(connection, _LEASE, values) or [{}])[0]
            outbox = _rows(connection, _OUTBOX, values)
            locks = [row["waits_for"] for row in outbox if row["waits_for"]]
            wanted = {"run_ids": [str(each) for each in named.values() if each]}
            others = {str(row["id"]): row for row in _rows(connection, _OTHERS, wanted)}
            group = lease.get("group_id")
            return {
                "lease": lease,
                "outbox": outbox,
                "holders": _rows(connection, _HOLDERS, {"names": locks}) if locks else [],
                **{name: others.get(str(each), {"id": each, "task": None, "state": None}) if each else None
                   for name, each in named.items()},
                "reruns": _rows(connection, _AGAIN, values),
                "children": _rows(connection, _CHILDREN, values),
                "parts": _rows(connection, _PARTS, values | {"group_id": group}) if group else [],
                "alerts": _rows(connection, _ALERTS, values | {"schedule": run["schedule"], "task": run["task"]}),
            }  # fmt: skip

    def hasten(self, run: str, *, who: str, reason: str) -> bool:
        """Have a run that waits for its time go on at once; who did so is noted in `operations`.

        Returns:
            False where it does not wait for a time: it waits for a lock or its tenants, or does not wait any more.
        """
        return bool(self._database.execute(_HASTEN, {"run": run, "who": who, "reason": reason}))


def _rows(connection: Connection, statement: Any, values: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in connection.execute(statement, values)]
