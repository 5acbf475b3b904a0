"""What Celery says about a task in a sentence, as facts.

Celery gives the parts of those sentences beside the text, as ``extra={"data": {...}}``. They are told apart by the
keys of their parts, because an application may replace the texts.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from steadybeat.telemetry.correlation import trace_in
from steadybeat.telemetry.facts import facts_of_headers

_KNOWN = {
    "raised unexpected": "task failed",
    "raised expected": "task failed as it may",
    "INTERNAL ERROR": "task broke the worker's tracing",
    "ignored": "task ignored",
    "rejected": "task rejected",
    "Task already completed successfully.": "task ignored",
}


class _Latest:
    """The message that this process took last; Celery says so before anybody could bind its facts."""

    headers: Mapping[str, Any] = {}


def received(headers: Mapping[str, Any]) -> None:
    """Remember the headers of a message that was taken, for the line that Celery is about to write.

    Args:
        headers: With ``id``, the id of the run.
    """
    _Latest.headers = headers


def facts_of_chatter(record: logging.LogRecord) -> tuple[str, dict[str, Any]] | None:
    """Return the event and the fields of a record that Celery wrote about a task, or None for any other.

    Arguments of the task are left out: nobody can tell which of them are secret.

    Args:
        record: Any record; the fields that were already taken from it are not needed.
    """
    data = getattr(record, "data", None)
    if not (record.name.startswith("celery.") and isinstance(data, dict) and "id" in data and "name" in data):
        return None
    facts: dict[str, Any] = {"task": data["name"], "run_id": data["id"]}
    if "runtime" in data:
        return "task succeeded", facts | {"duration_seconds": data["runtime"], "result": data["return_value"]}
    if "eta" in data:
        if _Latest.headers.get("id") == data["id"]:
            trace = trace_in(_Latest.headers)
            facts |= facts_of_headers(_Latest.headers) | ({} if trace is None else {"trace_id": trace.id})
        return "task received", facts | ({"eta": data["eta"]} if data["eta"] else {})
    description = data.get("description")
    if description is None:
        return "task retried", facts | {"error": data.get("exc")}
    if "exc" in data:
        facts["error"] = data["exc"]
    if description not in ("ignored", "rejected") and data.get("traceback"):
        facts["stack"] = data["traceback"]
    return _KNOWN.get(description, f"task {description}"), facts
