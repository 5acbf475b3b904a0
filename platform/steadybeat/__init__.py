"""steadybeat: Celery tasks on a schedule, where every fire has exactly one effect, or a recorded reason for none.

app = Celery("tasks")
app.config_from_object("celeryconfig")
steadybeat.install(app)
"""

from __future__ import annotations

from steadybeat.app import install
from steadybeat.errors import Permanent, SteadybeatError
from steadybeat.schedule import cron, every
from steadybeat.task import SteadyTask

__all__ = ["Permanent", "SteadyTask", "SteadybeatError", "cron", "every", "install"]
