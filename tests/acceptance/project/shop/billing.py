"""The service billing."""

from __future__ import annotations

from typing import Any

from shop import app, witness


@app.task(bind=True)
def charge(self: Any) -> None:
    """Every fire of the schedule makes one effect."""
    with self.exactly_once() as db:
        witness.effect(self, db, "charge")


@app.task(bind=True)
def audit(self: Any) -> None:
    """Every fire of the schedule makes one effect."""
    with self.exactly_once() as db:
        witness.effect(self, db, "audit")


@app.task(bind=True)
def add(self: Any, left: int, right: int, name: str = "add") -> int:
    """Make one effect and return a sum."""
    witness.started(self, name)
    with self.exactly_once() as db:
        witness.effect(self, db, name)
    return left + right


@app.task(bind=True)
def replaced(self: Any, left: int, right: int) -> None:
    """Let another task take the place of this one."""
    witness.started(self, "replaced")
    raise self.replace(add.s(left, right, name="replacement"))


@app.task(bind=True)
def calling(self: Any, left: int, right: int) -> int:
    """Call another task as a function: its effect is part of this run."""
    witness.started(self, "calling")
    return int(add(left, right, name="called"))


@app.task(bind=True, autoretry_for=(TimeoutError,), retry_backoff=1, retry_jitter=False, max_retries=2)
def declared(self: Any, name: str, failures: int) -> None:
    """Retry what Celery's own option says."""
    witness.started(self, name)
    if self.request.retries < failures:
        raise TimeoutError(f"no answer, time {self.request.retries + 1}")
    with self.exactly_once() as db:
        witness.effect(self, db, name)


@app.task(bind=True, max_retries=3)
def insistent(self: Any, name: str, failures: int) -> None:
    """Retry by hand, at a time of its own."""
    witness.started(self, name)
    if self.request.retries < failures:
        raise self.retry(countdown=1, exc=ValueError("not yet"))
    with self.exactly_once() as db:
        witness.effect(self, db, name)


@app.task(bind=True)
def returning(self: Any, kind: str) -> Any:
    """Return what JSON or Postgres cannot hold."""
    return {"not a number": float("nan"), "NUL": "a\0b", "half a pair": "\ud800", "a set": {1, 2}}[kind]
