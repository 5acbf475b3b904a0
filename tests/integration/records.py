"""What tests write into a ledger by hand: runs, workers, schedules, fires."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import Claim, Envelope, FireRow, NewRun, ScheduleRow


def new_run(**facts: Any) -> NewRun:
    run = facts.pop("id", None) or str(uuid.uuid4())
    defaults = {"task": "shop.orders.pay", "service": "orders", "queue": "orders", "idempotency_key": run}
    return NewRun(id=run, message={"headers": {}, "properties": {}}, body="[]", **{**defaults, **facts})


def recorded(ledger: Ledger, **facts: Any) -> NewRun:
    run = new_run(**facts)
    assert ledger.runs.record(run)
    return run


def alive(ledger: Ledger) -> str:
    instance = str(uuid.uuid4())
    ledger.instances.sign_of_life(instance, role="worker", host="here", pid=1, release="0")
    return instance


def claim(ledger: Ledger, run: NewRun, instance: str, delivery_no: int = 1) -> Claim:
    return ledger.runs.claim(run.id, delivery_no=delivery_no, instance=instance, time_limit_seconds=60, crash_limit=3)


def relayed(ledger: Ledger) -> list[Envelope]:
    sent: list[Envelope] = []
    ledger.outbox.relay(sent.extend, 100)
    return sent


def a_schedule(**facts: Any) -> ScheduleRow:
    defaults: dict[str, Any] = {"name": "s", "task": "t", "service": "orders", "spec": {"every": 1}, "policies": {}}
    return ScheduleRow(**{**defaults, **facts})


def fires_of(ledger: Ledger, name: str, *times: datetime) -> list[FireRow]:
    return [FireRow(schedule=name, scheduled_for=at, due_at=at) for at in times]


def state_of(ledger: Ledger, at: datetime) -> tuple[str, str | None]:
    fire = ledger.story.fire("s", at)
    assert fire is not None
    return fire["state"], fire["reason"]
