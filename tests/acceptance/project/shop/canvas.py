"""Tasks that canvases are made of: the service canvas."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime
from typing import Any

from celery import chain, chord, group

from shop import app, witness
from steadybeat import Permanent

QUICK: dict[str, Any] = {"retry_backoff": 0.2}


@app.task(bind=True, **QUICK)
def part(self: Any, value: int, name: str, failures: int = 0, gate: str | None = None) -> int:
    """Give a value back, after some failures, and after waiting at a gate."""
    witness.started(self, name)
    if self.request.retries < failures:
        raise ConnectionError(f"no answer, time {self.request.retries + 1}")
    if gate is not None:
        witness.wait_at(gate)
    with self.exactly_once() as db:
        witness.effect(self, db, name)
    return value


@app.task(bind=True, **QUICK)
def total(self: Any, values: Any, name: str) -> int:
    """Add up what parts gave back, in lists within lists."""
    witness.started(self, name)
    with self.exactly_once() as db:
        witness.effect(self, db, name)
    return _sum(values)


@app.task(bind=True, **QUICK)
def listed(self: Any, values: Any, name: str) -> Any:
    """Give back what it was given."""
    with self.exactly_once() as db:
        witness.effect(self, db, name)
    return values


@app.task(bind=True, **QUICK)
def broken(self: Any, name: str, unless: str) -> int:
    """Fail for good, unless the reason is gone."""
    witness.started(self, name)
    if not (witness.folder() / f"open-{unless}").exists():
        raise Permanent("this part is broken")
    return 100


@app.task(bind=True, **QUICK)
def last(self: Any, value: int, name: str) -> int:
    """Kill the worker as soon as its success is on record, before anything that follows from it."""
    witness.started(self, name)
    self.app.steadybeat.following.part_succeeded = _die
    return value


@app.task(bind=True, **QUICK)
def hopeless(self: Any, name: str) -> int:
    """Kill the worker as soon as its failure is on record, before anything that follows from it."""
    witness.started(self, name)
    self.app.steadybeat.following.ended_badly = _die
    raise Permanent("this part is broken")


@app.task(bind=True, **QUICK)
def told(self: Any, failed: str, name: str) -> str:
    """An error callback as Celery knows it from of old: it is given the id of what failed."""
    with self.exactly_once() as db:
        witness.effect(self, db, f"{name} {failed}")
    return failed


@app.task(**QUICK)
def told_all(request: Any, exc: BaseException, traceback: str | None, name: str) -> list[Any]:
    """An error callback as Celery knows it by now: it is given everything."""
    return [name, request.id, list(request.args or ()), type(exc).__name__, str(exc), "Traceback" in (traceback or "")]


@app.task(bind=True, **QUICK)
def becomes(self: Any, form: str, name: str) -> None:
    """Let a canvas take its place."""
    parts = [part.s(number, f"{name} {number}", failures=number % 2) for number in (1, 2, 3)]
    canvas = {
        "chain": lambda: chain(parts[0], total.s(f"{name} total")),
        "group": lambda: group(parts),
        "chord": lambda: chord(parts, total.s(f"{name} total")),
        "chain of groups": lambda: chain(parts[0], group(listed.s(f"{name} a"), listed.s(f"{name} b"))),
    }[form]()
    raise self.replace(canvas)


@app.task(bind=True, **QUICK)
def wide(self: Any, size: int) -> str:
    """Give back much."""
    return "x" * size


@app.task(bind=True, **QUICK)
def typed(self: Any) -> dict[str, Any]:
    """Give back what plain JSON does not know."""
    return {"at": datetime(2026, 1, 2, tzinfo=UTC), "raw": b"bytes"}


@app.task(bind=True, recorded=False)
def unrecorded(self: Any, value: int) -> int:
    """Give a value back, without a run; negative ones are refused."""
    if value < 0:
        raise ValueError(f"{value} is negative")
    return value


@app.task(bind=True, **QUICK)
def tells(self: Any, gate: str) -> int:
    """Say how far it is, in a state of its own."""
    self.update_state(state="PACKING", meta={"done": 3})
    witness.wait_at(gate)
    return 1


@app.task(ignore_result=True, **QUICK)
def silent() -> int:
    """Give back what nobody is to keep."""
    return 5


def _die(_: str) -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _sum(values: Any) -> int:
    return sum(_sum(each) for each in values) if isinstance(values, list) else int(values)
