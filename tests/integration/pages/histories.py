"""Runs that had a history, for the tests of the pages that show them."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import NewRun
from steadybeat.ledger.tables import runs
from tests.integration.records import alive, new_run

EVIL = """<script>alert("1")</script>/ö💥 '"&? %2F""" + "x" * 120
STACK = (
    'Traceback (most recent call last):\n  File "/app/pay.py", line 3, in pay\n    bank()\n'
    "ConnectionError: https://user:hunter2@bank.example/pay answered 502\n"
)
BODY = json.dumps([["sale-7", {"password": "hunter2"}], {"api_key": "hunter2", "note": EVIL}, {"callbacks": None}])
HEADERS = {"task": "shop.orders.pay", "timelimit": [None, None], "argsrepr": "('sale-7',)"}


def sent(ledger: Ledger, **facts: Any) -> NewRun:
    """A run that waits on its queue."""
    made = new_run(**{"body": BODY, "message": {"headers": HEADERS, "properties": {}}, **facts})
    assert ledger.runs.record(made)
    return made


def claimed(ledger: Ledger, run: NewRun, instance: str | None = None) -> Any:
    claim = ledger.runs.claim(
        run.id, delivery_no=1, instance=instance or alive(ledger), time_limit_seconds=60, crash_limit=3
    )
    assert claim.verdict == "claimed", claim
    return claim


def dead(ledger: Ledger, reason: str = "ConnectionError: no answer from 10.0.0.7", **facts: Any) -> str:
    """A run that has given up."""
    run = sent(ledger, **facts)
    assert ledger.runs.give_up(run.id, fence=claimed(ledger, run).fence, reason=reason, error=STACK)
    return run.id


def succeeded(ledger: Ledger, result: str | None = "1", **facts: Any) -> str:
    """A run whose effect has happened."""
    run = sent(ledger, **facts)
    assert ledger.runs.finish(run.id, claimed(ledger, run).fence, result=result)
    return run.id


def retried(ledger: Ledger, **facts: Any) -> str:
    """A run that waits for its next attempt, in an hour."""
    run = sent(ledger, **facts)
    assert ledger.runs.try_again(
        run.id, fence=claimed(ledger, run).fence, reason="retry in 1 h: ConnectionError: token=hunter2", error=STACK,
        retry_count=1, delay_seconds=3600.0,
    )  # fmt: skip
    return run.id


def inserted(ledger: Ledger, **facts: Any) -> str:
    """A run as it stands, however odd."""
    own = str(facts.pop("id", None) or uuid.uuid4())
    values = {"task": "t", "service": "s", "queue": "s", "idempotency_key": own, "message": {}, "body": "[]"}
    with ledger.database.transaction() as connection:
        connection.execute(sa.insert(runs), {"id": own, **values, **facts})
    return own


def ago(**by: float) -> datetime:
    return datetime.now(UTC) - timedelta(**by)


def state_of(ledger: Ledger, run: str) -> str:
    found = ledger.story.run(run)
    assert found is not None
    return str(found["state"])
