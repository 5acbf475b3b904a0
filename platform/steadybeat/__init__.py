"""steadybeat: Celery tasks on a schedule, where every fire has exactly one effect, or a recorded reason for none.

app = Celery("tasks")
app.config_from_object("celeryconfig")
steadybeat.install(app)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steadybeat import schedules, testing
    from steadybeat.app import install
    from steadybeat.errors import (
        Cancel,
        EditConflict,
        NotSent,
        Permanent,
        ScheduleWarning,
        Snooze,
        SteadybeatError,
        Transient,
    )
    from steadybeat.fanout import FanOut, eligible, shuffled
    from steadybeat.ledger.keys import PROCESSED_KEYS_SQL, install_processed_keys
    from steadybeat.schedule import any_of, cron, every, once, rrule, window
    from steadybeat.task import SteadyTask
    from steadybeat.telemetry.correlation import correlation

__all__ = [
    "PROCESSED_KEYS_SQL",
    "Cancel",
    "EditConflict",
    "FanOut",
    "NotSent",
    "Permanent",
    "ScheduleWarning",
    "Snooze",
    "SteadyTask",
    "SteadybeatError",
    "Transient",
    "any_of",
    "correlation",
    "cron",
    "eligible",
    "every",
    "install",
    "install_processed_keys",
    "once",
    "rrule",
    "schedules",
    "shuffled",
    "testing",
    "window",
]

# Rooms are opened when they are asked for: `celery` imports this package for every command, also for one that only
# looks at a file (`celery health`), and Postgres' driver alone takes as long as all of that.
_ROOMS = {
    "Cancel": "steadybeat.errors",
    "EditConflict": "steadybeat.errors",
    "FanOut": "steadybeat.fanout",
    "NotSent": "steadybeat.errors",
    "PROCESSED_KEYS_SQL": "steadybeat.ledger.keys",
    "Permanent": "steadybeat.errors",
    "ScheduleWarning": "steadybeat.errors",
    "Snooze": "steadybeat.errors",
    "SteadyTask": "steadybeat.task",
    "SteadybeatError": "steadybeat.errors",
    "Transient": "steadybeat.errors",
    "any_of": "steadybeat.schedule",
    "correlation": "steadybeat.telemetry.correlation",
    "cron": "steadybeat.schedule",
    "eligible": "steadybeat.fanout",
    "every": "steadybeat.schedule",
    "install": "steadybeat.app",
    "install_processed_keys": "steadybeat.ledger.keys",
    "once": "steadybeat.schedule",
    "rrule": "steadybeat.schedule",
    "schedules": "steadybeat.schedules",
    "shuffled": "steadybeat.fanout",
    "testing": "steadybeat.testing",
    "window": "steadybeat.schedule",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = importlib.import_module(_ROOMS[name])
    value = globals()[name] = room if room.__name__ == f"{__name__}.{name}" else getattr(room, name)
    return value
