"""steadybeat: Celery tasks on a schedule, where every fire has exactly one effect, or a recorded reason for none.

app = Celery("tasks")
app.config_from_object("celeryconfig")
steadybeat.install(app)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steadybeat import schedules
    from steadybeat.app import install
    from steadybeat.errors import EditConflict, Permanent, ScheduleWarning, SteadybeatError
    from steadybeat.schedule import any_of, cron, every, once, rrule, window
    from steadybeat.task import SteadyTask

__all__ = [
    "EditConflict",
    "Permanent",
    "ScheduleWarning",
    "SteadyTask",
    "SteadybeatError",
    "any_of",
    "cron",
    "every",
    "install",
    "once",
    "rrule",
    "schedules",
    "window",
]

# Rooms are opened when they are asked for: `celery` imports this package for every command, also for one that only
# looks at a file (`celery health`), and Postgres' driver alone takes as long as all of that.
_ROOMS = {
    "EditConflict": "steadybeat.errors",
    "Permanent": "steadybeat.errors",
    "ScheduleWarning": "steadybeat.errors",
    "SteadyTask": "steadybeat.task",
    "SteadybeatError": "steadybeat.errors",
    "any_of": "steadybeat.schedule",
    "cron": "steadybeat.schedule",
    "every": "steadybeat.schedule",
    "install": "steadybeat.app",
    "once": "steadybeat.schedule",
    "rrule": "steadybeat.schedule",
    "schedules": "steadybeat.schedules",
    "window": "steadybeat.schedule",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = importlib.import_module(_ROOMS[name])
    value = globals()[name] = room if room.__name__ == f"{__name__}.{name}" else getattr(room, name)
    return value
