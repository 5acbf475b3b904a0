"""What Celery says about a task in a sentence, as facts.

Celery gives the parts of those sentences beside the text, as ``extra={"data": {...}}``. They are told apart by the
keys of their parts, because an application may replace the texts.
"""

from __future__ import annotations

import logging
from typing import Any

_KNOWN = {
    "raised unexpected": "task failed",
    "raised expected": "task failed as it may",
    "INTERNAL ERROR": "task broke the worker's tracing",
    "ignored": "task ignored",
    "rejected": "task rejected",
    "Task already completed successfully.": "task ignored",
}


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
        return "task received", facts | ({"eta": data["eta"]} if data["eta"] else {})
    description = data.get("description")
    if description is None:
        return "task retried", facts | {"error": data.get("exc")}
    if "exc" in data:
        facts["error"] = data["exc"]
    if description not in ("ignored", "rejected") and data.get("traceback"):
        facts["stack"] = data["traceback"]
    return _KNOWN.get(description, f"task {description}"), facts
