"""A schedule that is changed while its leader writes fires ahead keeps none of the old ones, and loses none."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from steadybeat import every
from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import ScheduleRow
from steadybeat.schedule.policies import Policies
from tests.eventually import eventually

ROW = ScheduleRow(
    name="s",
    task="shop.orders.tick",
    service="orders",
    spec=every(timedelta(seconds=1)).to_json(),
    policies=Policies().to_json(),
    args=[],
    kwargs={},
    options={},
)
CHANGED = replace(ROW, spec=every(timedelta(hours=1)).to_json())


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    ledger.schedules.apply([ROW], ["orders"])
    return ledger


@contextmanager
def while_a_leader_writes(ledger: Ledger, fire: datetime) -> Iterator[sa.Connection]:
    """Yield in the transaction of a leader that writes a fire and moves the watermark, as one statement of it does."""
    with ledger.database.engine.begin() as leader:
        values = {"fire": fire}
        leader.execute(sa.text("UPDATE steadybeat.schedules SET expected_until = :fire"), values)
        leader.execute(
            sa.text(
                "INSERT INTO steadybeat.fires (schedule, scheduled_for, due_at, revision) VALUES ('s', :fire, :fire, 1)"
            ),
            values,
        )
        yield leader


def changing(pool: ThreadPoolExecutor, ledger: Ledger) -> Future[object]:
    """Change the schedule in a thread of its own, and return once that waits for the leader."""
    change = pool.submit(ledger.schedules.apply, [CHANGED], ["orders"])
    waiting = sa.text("SELECT 1 FROM pg_locks WHERE NOT granted")
    eventually(lambda: ledger.database.execute(waiting))
    return change


def state(ledger: Ledger) -> str:
    return str(ledger.database.execute(sa.text("SELECT state FROM steadybeat.fires"))[0].state)


def test_a_fire_of_the_old_rule_that_is_just_being_written_is_superseded(ledger: Ledger) -> None:
    with ThreadPoolExecutor(1) as pool:
        with while_a_leader_writes(ledger, datetime.now(UTC) + timedelta(minutes=1)):
            change = changing(pool, ledger)
        change.result()
    assert state(ledger) == "superseded"


def test_a_fire_that_comes_due_while_the_change_waits_is_not_lost(ledger: Ledger) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    with while_a_leader_writes(ledger, soon):
        pass
    with ThreadPoolExecutor(1) as pool:
        with ledger.database.engine.begin() as leader:
            leader.execute(sa.text("SELECT FROM steadybeat.schedules FOR UPDATE"))
            change = changing(pool, ledger)
            eventually(lambda: datetime.now(UTC) > soon)
        change.result()
    assert state(ledger) == "expected"
