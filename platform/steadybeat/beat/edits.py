"""Edits: what one of RedBeat's tools has changed in an entry of ours becomes an operator's change in the ledger."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

from redbeat.schedulers import RedBeatSchedulerEntry

from steadybeat.beat.definitions import definition as defined
from steadybeat.beat.projection import Definition, Edited, SteadyEntry, definition_text
from steadybeat.errors import ConfigurationError, EditConflict
from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import ScheduleRow

logger = logging.getLogger(__name__)

_WHO = "redbeat"
_REASON = "changed with one of RedBeat's tools"


def take_in(app: Any, known: Definition, edited: Edited) -> None:
    """Bring an edited entry into the ledger; one that cannot be is logged, and written again as the ledger has it.

    Args:
        app: The Celery app.
        known: The schedule as it was written into the entry.
        edited: What the entry is now.

    Raises:
        LedgerUnavailable: Nothing is lost; the entry is found again.
    """
    facts = {"schedule": edited.name, "revision": known.row.revision}
    interventions = Ledger.of(app).interventions
    by: dict[str, Any] = {"who": _WHO, "reason": _REASON, "revision": known.row.revision}
    try:
        entry = RedBeatSchedulerEntry.decode_definition(edited.definition)
        row = _row(app, known, entry)
        verb = interventions.put(row, **by).verb
        if bool(entry.get("enabled", True)) is (known.row.paused_at is not None):
            change = interventions.resume if entry.get("enabled", True) else interventions.pause
            change(edited.name, **(by | {"revision": None}))
            verb = "resumed" if entry.get("enabled", True) else "paused"
    except EditConflict as conflict:
        logger.warning("an edit of a redbeat tool came too late", extra={**facts, "error": str(conflict)})
    except (ConfigurationError, KeyError, TypeError, ValueError) as error:
        logger.error("an edit of a redbeat tool cannot be taken in", extra={**facts, "error": str(error)})
    else:
        logger.warning("an edit of a redbeat tool was taken in", extra={**facts, "change": verb})


def _row(app: Any, known: Definition, entry: dict[str, Any]) -> ScheduleRow:
    """Return the definition that an edited entry means; policies, and the rule where it was left alone, stay."""
    written = {"task": entry["task"], "args": entry.get("args"), "kwargs": entry.get("kwargs")}
    row = defined(app, known.row.name, {**written, "options": entry.get("options"), "schedule": entry["schedule"]})
    assert row is not None
    ours = json.loads(definition_text(SteadyEntry.of(app, known)))
    theirs = json.loads(json.dumps(entry["schedule"], default=lambda value: _written(app, known, value)))
    spec = known.row.spec if theirs == ours["schedule"] else row.spec
    return replace(row, spec=spec, policies=known.row.policies)


def _written(app: Any, known: Definition, schedule: Any) -> Any:
    """Return a schedule as RedBeat stores it."""
    entry = SteadyEntry.of(app, known)
    entry.schedule = schedule
    return json.loads(definition_text(entry))["schedule"]
