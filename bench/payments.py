"""What both sides of `kills` share: the table of payments, and how a worker says that it is ready.

A payment is one row; nothing in the table is unique, so that a second payment of one sale shows.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

TABLE = "CREATE TABLE public.payments (sale integer NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp())"
FOLDER = "BENCH_READY_FOLDER"
VISIBILITY = "BENCH_VISIBILITY_SECONDS"


def transport_options() -> dict[str, Any]:
    """Return after how long an unacknowledged message comes back, where `kills` says so; kombu looks each second."""
    seconds = os.environ.get(VISIBILITY)
    often = {"unacked_restore_interval": 1, "unacked_restore_throttle": 1}
    return {"visibility_timeout": int(seconds), **often} if seconds else {}


def ready(**_: Any) -> None:
    """Celery signal `worker_ready`: leave a file named by the worker's process id, where somebody looks for it."""
    if FOLDER in os.environ:
        (Path(os.environ[FOLDER]) / str(os.getpid())).touch()
