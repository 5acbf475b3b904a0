"""Whole: one run with all that the ledger has about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steadybeat.ledger import Ledger
from steadybeat.operating.rerun import body_of
from steadybeat.telemetry.redaction import shown_arguments

# What a line of a run says that the run itself, or its attempts, are shown with.
SAID = frozenset({
    "task", "service", "schedule", "scheduled_for", "started_at", "correlation_id", "trace_id", "tenant", "instance",
    "logger", "stack", "status",
})  # fmt: skip


def whole(book: Ledger, run: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run with all that the ledger has about it, its arguments instead of its body.

    Args:
        book: The ledger.
        run: As `run_of` finds it.
    """
    try:
        args, kwargs, embed = body_of(run)
    except Exception:  # noqa: BLE001 - it may have died of exactly this: nobody can read its body
        args, kwargs, embed = [run["body"]], {}, {}
    return {
        **{name: value for name, value in run.items() if name != "body"},
        "args": shown_arguments((run["message"] or {}).get("headers") or {}, args or ()),
        "kwargs": kwargs,
        "embed": embed,
        "key": book.story.processed_key(run["task"], run["idempotency_key"]),
        "steps": book.keys.steps(run["task"], run["idempotency_key"]),
        "duplicates": book.duplicates.of(str(run["id"])),
    }


def line_text(line: Mapping[str, Any]) -> str:
    """Return a line that a run has logged, for a person.

    Args:
        line: As `ledger.lines` has it, with what is secret hidden.
    """
    said = [f"{name}={value}" for name, value in line["fields"].items() if name not in SAID and value is not None]
    return " ".join([str(line["at"]), f"{line['level']:<8}", line["event"], *said])
