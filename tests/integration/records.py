"""What tests write into a ledger by hand: runs, workers, schedules, fires."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from steadybeat.ledger import Ledger
from steadybeat.ledger.fires import Expected
from steadybeat.ledger.rows import Claim, Envelope, FireRow, NewRun, ScheduleRow
from steadybeat.schedule import every, fire_key, run_id
from steadybeat.schedule.policies import POLICIES, policies


def new_run(**facts: Any) -> NewRun:
    run = facts.pop("id", None) or str(uuid.uuid4())
    defaults = {"task": "shop.orders.pay", "service": "orders", "queue": "orders", "idempotency_key": run}
    defaults |= {"message": {"headers": {}, "properties": {}}, "body": "[]"}
    return NewRun(id=run, **{**defaults, **facts})


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


def every_minute(ledger: Ledger, **given: Any) -> ScheduleRow:
    """A schedule of the code, due every minute; policies as a task names them, other facts as a row has them."""
    facts = {name: given.pop(name) for name in [*given] if name not in POLICIES}
    row = a_schedule(**{"spec": every(timedelta(minutes=1)).to_json(), "policies": policies(given).to_json(), **facts})
    ledger.schedules.apply([row], [])
    return schedule_of(ledger, row.name)


def schedule_of(ledger: Ledger, name: str = "s") -> ScheduleRow:
    (row,) = [each for each in ledger.schedules.all() if each.name == name]
    return row


def expect(ledger: Ledger, *times: datetime, name: str = "s") -> None:
    """Write fires ahead, as the Beat that leads does."""
    row = schedule_of(ledger, name)
    until = max(*times, row.expected_until or times[0]) + timedelta(microseconds=1)
    ledger.fires.expect([Expected(name, row.revision, until, fires_of(ledger, name, *times))])


def run_of(ledger: Ledger, at: datetime, name: str = "s", **facts: Any) -> NewRun:
    """Record the run of a fire, as it is before its message is sent."""
    fire = {"id": run_id(name, at), "idempotency_key": fire_key(name, at), "schedule": name, "scheduled_for": at}
    run = new_run(**{**fire, **facts})
    ledger.runs.record(run)
    return run


def sent(ledger: Ledger, at: datetime, name: str = "s") -> NewRun:
    """A fire whose message lies on its queue, and is marked."""
    expect(ledger, at, name=name)
    run = run_of(ledger, at, name)
    marked = FireRow(schedule=name, scheduled_for=at, due_at=at, state="dispatched")
    ledger.fires.mark(1, [(marked, run.id)])
    return run


def fire_of(ledger: Ledger, at: datetime, name: str = "s") -> tuple[str, str | None, str | None]:
    """State, cause and who asked for it."""
    fire = ledger.story.fire(name, at)
    assert fire is not None
    return fire["state"], fire["cause"], fire["asked"]


def state_of_run(ledger: Ledger, run: NewRun) -> str:
    found = ledger.story.run(run.id)
    assert found is not None
    return str(found["state"])


def operations_of(ledger: Ledger) -> list[tuple[str, str, str, str]]:
    """What people did: what, to what, who, why."""
    rows = ledger.database.execute(sa.text("SELECT what, target, who, reason FROM steadybeat.operations ORDER BY id"))
    return [tuple(row) for row in rows]


def all_at_once(*works: Callable[[], Any]) -> list[Any]:
    """Do some things in threads that begin together; return what each came to, its exception where it raised one."""
    start = threading.Barrier(len(works))

    def begin(work: Callable[[], Any]) -> Any:
        start.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        doing = [pool.submit(begin, work) for work in works]
        return [each.exception() or each.result() for each in doing]


def blocked(ledger: Ledger) -> bool:
    """Return whether somebody waits for a lock that somebody else has."""
    waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return bool(ledger.database.execute(sa.text(waiting)))
