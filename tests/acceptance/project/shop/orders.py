"""The service orders."""

from __future__ import annotations

import os
import signal
from typing import Any

from sqlalchemy import event

from shop import app, witness
from steadybeat import Permanent
from steadybeat.ledger import Ledger


@app.task(bind=True)
def tick(self: Any) -> None:
    """Every fire of the schedule makes one effect."""
    with self.exactly_once() as db:
        witness.effect(self, db, "tick")


@app.task(bind=True)
def pack(self: Any, name: str, gate: str | None = None) -> None:
    """Make one effect, after waiting at a gate."""
    witness.started(self, name)
    if gate is not None:
        witness.wait_at(gate)
    with self.exactly_once() as db:
        witness.effect(self, db, name)


@app.task(bind=True)
def stall(self: Any, name: str, where: str) -> None:
    """Make one effect; the first to try is stopped, with its whole worker, before, inside or at its commit."""
    witness.started(self, name)

    def stop_once(*_: Any) -> None:
        if witness.only_once(f"stop-{name}"):
            os.killpg(os.getpgrp(), signal.SIGSTOP)

    if where == "before":
        stop_once()
    with self.exactly_once() as db:
        witness.effect(self, db, name)
        if where == "inside":
            stop_once()
        if where == "commit":
            event.listen(db, "commit", stop_once)


@app.task(bind=True, retry_backoff=4, retry_jitter=False)
def flaky(self: Any, name: str, failures: int) -> None:
    """Fail some times, then make one effect."""
    witness.started(self, name)
    if self.request.retries < failures:
        raise ConnectionError(f"no answer, time {self.request.retries + 1}")
    with self.exactly_once() as db:
        witness.effect(self, db, name)


@app.task(bind=True)
def poison(self: Any, name: str, antidote: str) -> None:
    """Kill the process, until there is an antidote."""
    witness.started(self, name)
    if not (witness.folder() / f"open-{antidote}").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    with self.exactly_once() as db:
        witness.effect(self, db, name)


@app.task(bind=True)
def refuse(self: Any, name: str, unless: str) -> None:
    """Fail for good, unless the reason is gone."""
    witness.started(self, name)
    if not (witness.folder() / f"open-{unless}").exists():
        raise Permanent("this order cannot be packed")
    with self.exactly_once() as db:
        witness.effect(self, db, name)


@app.task(bind=True)
def walk(self: Any, name: str, count: int, gate: str) -> None:
    """Make an effect for each item, slowly until a gate is open; begin behind the checkpoint."""
    witness.started(self, name)
    first = (self.checkpoint or 0) + 1
    for number in self.iterate(range(first, count + 1), total=count, checkpoint=lambda number: number, every=3):
        witness.pause_unless_open(gate)
        with Ledger.of(app).database.transaction() as db:
            witness.effect(self, db, f"{name} {number}")


@app.task(bind=True)
def stumble(self: Any, name: str, count: int) -> None:
    """Make an effect for each item, and kill the process at each third that is new to it."""
    witness.started(self, name)
    for number in self.iterate(range((self.checkpoint or 0) + 1, count + 1), checkpoint=lambda number: number, every=1):
        if number % 3 == 0 and witness.only_once(f"{name}-{number}"):
            os.kill(os.getpid(), signal.SIGKILL)
        with Ledger.of(app).database.transaction() as db:
            witness.effect(self, db, f"{name} {number}")


@app.task(bind=True, memory_limit=300 * 2**20)
def hoard(self: Any, name: str, mebibytes: int, fail: bool = False) -> None:
    """Take memory, and perhaps fail."""
    witness.started(self, name)
    taken = b"x" * (mebibytes * 2**20)
    if fail:
        raise Permanent(f"{len(taken)} bytes were not enough")


if "SHOP_WRAPS" in os.environ:  # what a later release has

    @app.task(bind=True)
    def wrap(self: Any, name: str) -> None:
        """Make one effect."""
        with self.exactly_once() as db:
            witness.effect(self, db, name)
