"""Effects of the service billing outside of the ledger's transaction, and every way in which an attempt can end."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from celery.exceptions import Ignore, Reject
from sqlalchemy import Connection, create_engine, event, text

from shop import app, witness

_CHARGE = text("INSERT INTO public.effects (name, retries) VALUES (:name, 0)")
_FIND = text("SELECT count(*) FROM public.effects WHERE name = :name")


def die_once(what: str) -> None:
    if witness.only_once(what):
        os.kill(os.getpid(), signal.SIGKILL)


@app.task(bind=True, name="shop.billing.charge_card")
def charge_card(self: Any, name: str, dies: str) -> str:
    """Charge by a provider that knows nothing of idempotency; the first to come to a state dies there."""
    witness.started(self, name)
    ledger = self.app.steadybeat.ledger
    write = ledger.keys.write

    def write_and_die(holder: Any, step: str, state: str, **facts: Any) -> Any:
        written = write(holder, step, state, **facts)
        if state == dies:
            die_once(name)
        return written

    def send(key: str) -> str:
        with ledger.database.transaction() as provider:
            provider.execute(_CHARGE, {"name": key})
        if dies == "called":
            die_once(name)
        if dies == "unknown" and witness.only_once(f"fail-{name}"):
            raise ConnectionError("the reply was lost")
        return key

    def resolve(key: str) -> str | None:
        with ledger.database.transaction() as provider:
            return key if provider.execute(_FIND, {"name": key}).scalar() else None

    ledger.keys.write = write_and_die
    try:
        return str(self.external("charge", send, resolve=resolve))
    finally:
        del ledger.keys.write


@app.task(bind=True, name="shop.billing.book")
def book(self: Any, name: str, url: str) -> None:
    """Make one effect in a database of its own; the first to come to COMMIT is stopped there, with its worker."""
    witness.started(self, name)
    engine = create_engine(url)

    def stop_once(_: Connection) -> None:
        if witness.only_once(f"stop-{name}"):
            os.killpg(os.getpgrp(), signal.SIGSTOP)

    try:
        with self.exactly_once(engine) as db:
            db.execute(_CHARGE, {"name": name})
            event.listen(engine, "commit", stop_once)
    finally:
        engine.dispose()


@app.task(bind=True, name="shop.billing.end", soft_time_limit=1, time_limit=2)
def end(self: Any, name: str, how: str) -> None:
    """End the first attempt in some way, and make one effect in any other; but end each in the way `never`."""
    witness.started(self, name)
    if how == "never" or witness.only_once(f"end-{name}"):
        _WAYS[how]()
    with self.exactly_once() as db:
        witness.effect(self, db, name)


@app.task(bind=True, name="shop.billing.quote", on_conflict="return_result")
def quote(self: Any, name: str, gate: str) -> str:
    """Wait at a gate, make one effect, and return whose it is."""
    witness.started(self, name)
    witness.wait_at(gate)
    with self.exactly_once() as db:
        witness.effect(self, db, name)
    return str(self.request.id)


def _ignore() -> None:
    raise Ignore("there is no such order any more")


def _reject(requeue: bool) -> None:
    raise Reject("not here", requeue=requeue)


def _work_on(deaf: bool) -> None:
    while True:
        try:
            time.sleep(60)
        except Exception:
            if not deaf:
                raise


_WAYS = {
    "ignore": _ignore,
    "reject": lambda: _reject(requeue=False),
    "requeue": lambda: _reject(requeue=True),
    "never": lambda: _reject(requeue=True),
    "soft": lambda: _work_on(deaf=False),
    "hard": lambda: _work_on(deaf=True),
    "lost": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "revoke": lambda: None,
    "terminate": lambda: _work_on(deaf=True),
    "wait": lambda: witness.wait_at("end"),
}
