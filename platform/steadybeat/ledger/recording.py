"""Recording: how a run is written, by itself or in the statement of a run that it follows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from steadybeat.ledger.connection import sql
from steadybeat.ledger.prepared import Prepared
from steadybeat.ledger.rows import NewRun

_NEW_RUN_COLUMNS = """
    id uuid, task text, service text, queue text, priority smallint, idempotency_key text, schedule text,
    scheduled_for timestamptz, parent_id uuid, rerun_of uuid, message jsonb, body text, not_before timestamptz,
    deadline timestamptz, correlation_id text, enqueued_at timestamptz, group_id text, group_index integer,
    tenant text"""

_FIELDS = tuple(spec.name for spec in fields(NewRun))
_NAMES = ", ".join(part.split()[0] for part in _NEW_RUN_COLUMNS.split(","))

_GIVEN = _NAMES.replace("enqueued_at", "coalesce(enqueued_at, clock_timestamp())")

# A run whose fire was taken back before it started is made again when the fire is due after all. One that a canvas has
# taken the place of goes on, as itself, with the message of the last step.
RECORDING = f"""
    new AS (
        INSERT INTO steadybeat.runs AS r ({_NAMES}, state, reason)
        SELECT {_GIVEN}, CASE WHEN :through_outbox THEN 'waiting' ELSE 'enqueued' END, NULL
          FROM jsonb_to_recordset(CAST(:runs AS jsonb)) AS given ({_NEW_RUN_COLUMNS})
         WHERE {{condition}}
        ON CONFLICT (id) DO UPDATE
           SET state = excluded.state, reason = NULL, finished_at = NULL, enqueued_at = excluded.enqueued_at,
               message = excluded.message, body = excluded.body, queue = excluded.queue, priority = excluded.priority,
               deadline = excluded.deadline, not_before = excluded.not_before, retry_count = 0, replaced_at = NULL,
               delivery_no = r.delivery_no + CASE WHEN r.replaced_at IS NULL THEN 0 ELSE 1 END,
               task = CASE WHEN r.replaced_at IS NULL THEN excluded.task ELSE r.task END,
               service = CASE WHEN r.replaced_at IS NULL THEN excluded.service ELSE r.service END
         WHERE r.cancel_requested_at IS NULL
           AND (r.schedule IS NOT NULL AND r.state = 'cancelled' AND r.attempt_count = 0
                OR r.replaced_at IS NOT NULL AND r.state IN ('waiting', 'dead'))
        RETURNING r.id, r.not_before, r.delivery_no
    ),
    later AS (
        INSERT INTO steadybeat.outbox (publish_at, run, delivery_no, reason)
        SELECT coalesce(not_before, clock_timestamp()), id, delivery_no, :outbox_reason FROM new
         WHERE :through_outbox
    )"""

RECORD = Prepared(sql(f"WITH {RECORDING.format(condition='true')} SELECT id FROM new"))


def recorded(runs: Sequence[NewRun], outbox_reason: str | None) -> dict[str, Any]:
    """Return the values of `RECORDING`."""
    return {
        "runs": json.dumps([{name: getattr(run, name) for name in _FIELDS} for run in runs], default=_instant),
        "through_outbox": outbox_reason is not None,
        "outbox_reason": outbox_reason or "delayed",
    }


def _instant(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not JSON")
