"""The service mail: letters, one for every tenant."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from typing import Any

from shop import app, witness
from steadybeat import Permanent

WRITING_SECONDS = 0.3


@app.task(bind=True)
def letter(self: Any, tenant: int, name: str, gate: str | None = None, free: int = 0, items: int = 0) -> None:
    """Make an effect for a tenant; but for the first who come, wait at a gate first, item after item if there are any.

    Tenant 7 of a fan-out called ``trouble`` is refused, and tenant 13 kills its process.
    """
    witness.started(self, name)
    with witness.present(self, name):
        if name == "trouble" and tenant == 7:
            raise Permanent("no such address")
        if name == "trouble" and tenant == 13:
            os.kill(os.getpid(), signal.SIGKILL)
        if gate is not None and witness.place(self, name) > free:
            if not items:
                witness.wait_at(gate)
            for _ in self.iterate(range(items)) if items else ():
                witness.pause_unless_open(gate)
        with self.exactly_once() as db:
            witness.effect(self, db, f"{name} {tenant}")


@app.task(bind=True)
def counted(self: Any, counts: dict[str, Any], name: str) -> None:
    """Be told that a fan-out is over."""
    with self.exactly_once() as db:
        told = [counts[each] for each in ("state", "succeeded", "failed", "cancelled", "skipped")]
        witness.effect(self, db, f"{name} is over: {' '.join(map(str, told))}")


@app.task(bind=True)
def letters(self: Any, name: str, count: int, kills: int = 0, plan: Any = None, **each: Any) -> Any:
    """Write to so many tenants; the worker is killed some times while it writes down to whom."""
    tenants = _until_killed(name, count, kills) if kills else range(count)
    told = counted.s(name)
    return self.fan_out(letter, tenants=tenants, on_complete=told, kwargs={"name": name, **each}, **(plan or {}))


@app.task(bind=True)
def round_robin(self: Any) -> Any:
    """Write to twelve tenants, one after the other; each fire of the schedule does."""
    witness.started(self, "round_robin")
    return self.fan_out(letter, tenants=range(12), concurrency=1, kwargs={"name": f"round {self.request.id}"})


def _until_killed(name: str, count: int, kills: int) -> Iterator[int]:
    """Yield tenants slowly; at a random moment, and not after it has ended, this process is killed."""
    is_in_turn = any(witness.only_once(f"{name}-{number}") for number in range(kills))
    killer = threading.Timer(random.uniform(0.0, WRITING_SECONDS), os.kill, (os.getpid(), signal.SIGKILL))
    if is_in_turn:
        killer.start()
    for tenant in range(count):
        threading.Event().wait(WRITING_SECONDS / count)
        yield tenant
    if is_in_turn:
        killer.join()
