"""Shown: how runs look, as a list, and one with all that is known about it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from steadybeat.commands.output import Column, length, moment, nominal
from steadybeat.commands.why import where
from steadybeat.telemetry.redaction import redact_text
from steadybeat.wording import headline


def _took(row: Mapping[str, Any]) -> str:
    ended = row["started_at"] and row["finished_at"]
    return length(row["finished_at"] - row["started_at"]) if ended else ""


def _memory(row: Mapping[str, Any]) -> str:
    peak = row["peak_memory_bytes"]
    return "" if peak is None else f"{peak / 2**20:,.0f} MiB"


def _progress(run: Mapping[str, Any]) -> str:
    if run["items_done"] is None:
        return ""
    total = f" of {run['items_total']:,}" if run["items_total"] is not None else ""
    checkpoint = f", checkpoint {json.dumps(run['checkpoint'])}" if run["checkpoint"] is not None else ""
    return f"{run['items_done']:,}{total} items at {moment(run['progressed_at'])}{checkpoint}"


def _why_waiting(row: Mapping[str, Any]) -> str:
    if row["in_line"] and row["finished_at"] is None and not row["reason"]:
        return "in line"
    return redact_text(row["reason"] or "")


LIST_COLUMNS = [
    Column(title="run", value=lambda row: str(row["id"])),
    Column(title="task", value=lambda row: row["task"]),
    Column(title="state", value=lambda row: row["state"]),
    Column(title="tenant", value=lambda row: row["tenant"] or "", shown_from=100),
    Column(title="fire", value=lambda row: nominal(row["scheduled_for"]), shown_from=100),
    Column(title="sent", value=lambda row: moment(row["enqueued_at"]), shown_from=130, style="dim"),
    Column(title="took", value=_took, right=True, shown_from=112),
    Column(title="attempts", value=lambda row: str(row["attempt_count"]), right=True, shown_from=150),
    Column(
        title="reason", value=lambda row: redact_text(row["reason"] or ""), shown_from=140, tight="cut", style="dim"
    ),
]  # fmt: skip
"""How a list of runs looks."""

ATTEMPT_COLUMNS = [
    Column(title="attempt", value=lambda row: str(row["number"]), right=True),
    Column(title="outcome", value=lambda row: row["outcome"] or "running"),
    Column(title="started", value=lambda row: moment(row["started_at"])),
    Column(title="took", value=_took, right=True),
    Column(title="memory", value=_memory, right=True, shown_from=112),
    Column(title="instance", value=lambda row: where(row).removeprefix(" on ") or str(row["instance"]), style="dim"),
    Column(title="why", value=lambda row: redact_text(row["reason"] or headline(row["error"])), tight="cut"),
]
"""How the attempts of a run look."""

TENANT_COLUMNS = [
    Column(title="tenant", value=lambda row: row["tenant"], tight="wrap"),
    Column(title="run", value=lambda row: row["run"] or ""),
    Column(title="state", value=lambda row: row["state"]),
    Column(title="attempts", value=lambda row: str(row["attempt_count"] or ""), right=True),
    Column(title="ended", value=lambda row: moment(row["finished_at"]), shown_from=120, style="dim"),
    Column(title="reason", value=_why_waiting, tight="cut", style="dim"),
]
"""How the tenants of a fan-out look."""


def facts_of(run: Mapping[str, Any], shown: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what there is to say about a run, a name and a text for each.

    Args:
        run: As the ledger has it.
        shown: The same, with what is secret hidden.
    """
    key = run["key"]
    done = key is not None and key["state"] == "done"
    delivered = [("delivery", "delivery_no"), ("retries", "retry_count"), ("crashes", "crash_count")]
    turned_away = Counter(each["cause"] for each in run["duplicates"])
    delivered.append(("rescues", "rescue_count"))
    return [
        ("run", str(run["id"])),
        ("task", run["task"]),
        ("state", run["state"] + (f": {shown['reason']}" if run["reason"] else "")),
        ("effect", f"happened at {moment(key['changed_at'])} in run {key['run']}" if done else ""),
        ("tenant", run["tenant"] or ""),
        ("fan-out", str(run["of_fan_out"] or "")),
        ("fire", f"{run['schedule']} at {nominal(run['scheduled_for'])}" if run["schedule"] else ""),
        ("arguments", json.dumps(shown["args"], ensure_ascii=False) if run["args"] else ""),
        ("keywords", json.dumps(shown["kwargs"], ensure_ascii=False) if run["kwargs"] else ""),
        ("key", shown["idempotency_key"]),
        ("queue", run["queue"] + (f", priority {run['priority']}" if run["priority"] is not None else "")),
        ("sent", moment(run["enqueued_at"])),
        ("not before", moment(run["not_before"])),
        ("deadline", moment(run["deadline"])),
        ("retries until", moment(run["retry_until"])),
        ("started", moment(run["started_at"])),
        ("finished", moment(run["finished_at"]) + (f", after {_took(run)}" if _took(run) else "")),
        ("progress", _progress({**shown, "progressed_at": run["progressed_at"]})),
        ("cancel", f"asked for at {moment(run['cancel_requested_at'])}" if run["cancel_requested_at"] else ""),
        ("counts", ", ".join(f"{name} {run[column]}" for name, column in delivered)),
        ("parent", str(run["parent_id"] or "")),
        ("rerun of", str(run["rerun_of"] or "")),
        ("reruns", ", ".join(f"{each['id']} ({each['state']})" for each in run["reruns"])),
        ("steps", ", ".join(f"{each['step']} {each['state']}" for each in run["steps"])),
        ("duplicates", ", ".join(f"{cause} {count}" for cause, count in turned_away.items())),
        ("correlation", run["correlation_id"] or ""),
        ("result", json.dumps(shown["result"], ensure_ascii=False) if run["result"] is not None else ""),
    ]
