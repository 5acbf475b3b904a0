"""What tasks leave behind for a test, and what a test leaves for them.

effects     table ``public.effects``, a row for each effect; nothing in it is unique, so that a second one shows
presence    table ``public.presence``, a row for each time that somebody was at a place, with when it came and left
starts      file ``starts``, a line of JSON for each time that a task's code began
gates       file ``open-<gate>``: a task that waits at this gate goes on
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

_EFFECT = text(
    "INSERT INTO public.effects (name, scheduled_for, run_id, retries) VALUES (:name, :scheduled_for, :run, :retries)"
)

_COME = text("INSERT INTO public.presence (place, run_id, pid) VALUES (:place, :run, :pid) RETURNING id")
_LEAVE = text("UPDATE public.presence SET left_at = clock_timestamp() WHERE id = :id")


def folder() -> Path:
    return Path(os.environ["SHOP_FOLDER"])


def effect(task: Any, db: Connection, name: str) -> None:
    values = {"run": task.request.id, "retries": task.request.retries, "scheduled_for": task.scheduled_for}
    db.execute(_EFFECT, {"name": name, **values})


@contextmanager
def present(task: Any, place: str, gate: str | None = None) -> Iterator[None]:
    """Leave word of how long this run was at a place: until the block ends, and the gate is open if there is one."""
    ledger = task.app.steadybeat.ledger.database
    (row,) = ledger.execute(_COME, {"place": place, "run": task.request.id, "pid": os.getpid()})
    try:
        if gate is not None:
            wait_at(gate)
        yield
    finally:
        ledger.execute(_LEAVE, {"id": row.id})


def started(task: Any, name: str) -> None:
    line = json.dumps({"name": name, "run": task.request.id, "retries": task.request.retries, "pid": os.getpid()})
    with (folder() / "starts").open("a") as file:
        file.write(line + "\n")


def count(name: str) -> int:
    """Return how often code has begun with this name."""
    return sum(json.loads(line)["name"] == name for line in (folder() / "starts").read_text().splitlines())


def place(task: Any, name: str) -> int:
    """Return which of those this run is whose code has begun with this name: 1 for the first."""
    begun = [json.loads(line) for line in (folder() / "starts").read_text().splitlines()]
    return 1 + [each["run"] for each in begun if each["name"] == name].index(task.request.id)


def wait_at(gate: str) -> None:
    pause = threading.Event()
    while not (folder() / f"open-{gate}").exists():
        pause.wait(0.05)


def pause_unless_open(gate: str) -> None:
    if not (folder() / f"open-{gate}").exists():
        threading.Event().wait(0.05)


def only_once(what: str) -> bool:
    """Return True to the first who asks."""
    try:
        (folder() / f"once-{what}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
