"""The app of `make demo` (`celery -A tasks.demo …`): the same tasks on schedules of 1 to 5 seconds.

Every schedule takes snapshots under its own name, so that the rows of `market.snapshots` can be held against
the schedules' arithmetic, fire by fire. No fire may be skipped here: all are caught up, and runs may overlap.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from celery import Celery

import steadybeat
from steadybeat import every


def _snapshots(service: str, seconds: int, *, work_seconds: float = 0.0) -> tuple[str, dict[str, Any]]:
    """Return the name and the `beat_schedule` entry of a snapshot every so many seconds."""
    name = f"{service}-{seconds}s" + ("-slow" if work_seconds else "")
    return name, {
        "task": f"tasks.{service}.snapshot",
        "schedule": every(timedelta(seconds=seconds)),
        "args": (name,),
        "kwargs": {"work_seconds": work_seconds},
        "catch_up": "all",
        "catch_up_window": timedelta(minutes=10),
        "overlap": "allow",
    }


SCHEDULES: dict[str, dict[str, Any]] = dict(
    [
        _snapshots("orders", 1),
        _snapshots("orders", 3),
        _snapshots("orders", 5, work_seconds=2.0),  # slow enough to be killed in the middle
        _snapshots("royalties", 2),
        _snapshots("royalties", 3),
        _snapshots("royalties", 4),
        _snapshots("maintenance", 2),
        _snapshots("maintenance", 4),
        _snapshots("maintenance", 5),
        _snapshots("maintenance", 5, work_seconds=2.0),
    ]
)

app = Celery("tasks.demo")
app.config_from_object("celeryconfig")
app.conf.update(
    imports=sorted({entry["task"].rpartition(".")[0] for entry in SCHEDULES.values()}),  # the drill needs no others
    beat_schedule=SCHEDULES,
    steadybeat_dev_run=(),  # nor a mailbox and a provider
    steadybeat_dev_together=(),
    # Short enough for a drill of one minute to see every recovery.
    steadybeat_lease_seconds=4.0,
    steadybeat_keeper_seconds=1.0,
    steadybeat_grace_seconds=3.0,
    steadybeat_horizon_seconds=20.0,
)
steadybeat.install(app)
