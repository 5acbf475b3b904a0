"""Unrecorded: messages that somebody sent without steadybeat; their runs are recorded when they are first met."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from steadybeat import telemetry
from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import NewRun

_KEPT = (
    "root_id", "parent_id", "group", "group_index", "retries", "timelimit", "argsrepr", "kwargsrepr", "ignore_result",
    *telemetry.correlation.HEADERS,
)  # fmt: skip


def of_request(task: Any, request: Any) -> NewRun:
    """Return the run of a message, as the process that is to work on it sees it."""
    headers = {name: request.get(name) for name in _KEPT}
    embed = {name: getattr(request, name) for name in ("callbacks", "errbacks", "chain", "chord")}
    body = [request.args, request.kwargs, embed]
    return _run(task, request.id, headers, body, request.delivery_info, None)


def record(app: Any, request: Any) -> None:
    """Record the run of a message, as the parent process of a worker sees it, unless it is on record."""
    ledger = Ledger.of(app)
    if ledger.story.run(request.id) is not None:
        return
    found: Mapping[str, Any] = request.request_dict
    _, _, embed = request._payload
    body = [list(request.args), dict(request.kwargs), dict(embed or {})]
    headers = {name: found.get(name) for name in _KEPT}
    run = _run(request.task, request.id, headers, body, request.delivery_info, request.expires)
    ledger.runs.record(run)


def _run(
    task: Any,
    run: str,
    headers: dict[str, Any],
    body: list[Any],
    delivery: Mapping[str, Any] | None,
    deadline: datetime | None,
) -> NewRun:
    app, delivery = task.app, delivery or {}
    correlation_id = telemetry.correlation.stamp(headers)
    return NewRun(
        id=run,
        task=task.name,
        service=app.steadybeat.service(task.name),
        queue=delivery.get("routing_key") or app.conf.task_default_queue,
        priority=delivery.get("priority"),
        idempotency_key=app.amqp.key_of(task.name, body[0], body[1]) or run,
        message={
            "headers": {"lang": "py", "task": task.name, "id": run, **headers},
            "properties": {"correlation_id": run},
        },
        body=json.dumps(body, default=str),
        deadline=deadline,
        correlation_id=correlation_id,
        group_id=headers.get("group") if body[2].get("chord") is not None else None,
        group_index=headers.get("group_index"),
    )
