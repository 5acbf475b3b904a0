"""Edits: what people did to a schedule, in words, from what is noted of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steadybeat.errors import SteadybeatError
from steadybeat.schedule import from_json
from steadybeat.wording import count

SHOWN = 3
"""So many fires are named."""


def told(operation: Mapping[str, Any]) -> list[str]:
    """Return what an operation did, a line for each thing; nothing where its name says all.

    Args:
        operation: As `History.recent_operations` returns it.
    """
    details = operation["details"] or {}
    lines = []
    if operation["what"] == "schedules put":
        before, after = (_rule(details.get(name)) for name in ("before", "spec"))
        lines.append(f"{after}, as before" if before == after else f"{before} → {after}" if before else f"new: {after}")
    if details.get("make_up") not in {None, "none"}:
        lines.append(f"made up for: {details['make_up']}")
    fires = details.get("fires") or ()
    if fires:
        more = f" and {len(fires) - SHOWN:,} more" if len(fires) > SHOWN else ""
        lines.append(f"{count(len(fires), 'fire')}: {', '.join(map(str, fires[:SHOWN]))}{more}")
    if operation["what"] == "schedules remove":
        lines.append(f"it was defined by the {'code' if details.get('source') == 'code' else 'operator'}")
    return lines


def _rule(spec: Any) -> str:
    if not isinstance(spec, Mapping):
        return ""
    try:
        return from_json(spec).explain()
    except SteadybeatError:
        return "a rule that this release cannot read"
