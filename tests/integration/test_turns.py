"""What the ledger knows of locks: a run that waits for one has had no attempt, and only the last taker commits."""

from __future__ import annotations

import threading
import uuid
from datetime import UTC, datetime, timedelta

from steadybeat.ledger import Ledger
from steadybeat.ledger.turns import Turns
from tests.eventually import eventually
from tests.integration.records import alive, claim, recorded, relayed

TURN = "lock:account:7"


def row(ledger: Ledger, run: str) -> dict[str, object]:
    with ledger.database.transaction() as connection:
        found = connection.exec_driver_sql("SELECT * FROM steadybeat.runs WHERE id = %s", (run,)).one()
        return dict(found._mapping)


def counted(ledger: Ledger, statement: str) -> int:
    with ledger.database.transaction() as connection:
        return int(connection.exec_driver_sql(statement).scalar_one())


def due(ledger: Ledger) -> None:
    with ledger.database.transaction() as connection:
        connection.exec_driver_sql("UPDATE steadybeat.outbox SET publish_at = clock_timestamp()")


def test_a_claim_that_is_given_back_was_no_attempt(ledger: Ledger) -> None:
    worker, run = alive(ledger), recorded(ledger)
    before = row(ledger, run.id)
    for delivery_no in range(1, 6):
        found = claim(ledger, run, worker, delivery_no)
        assert (found.verdict, found.attempt) == ("claimed", 1)
        assert ledger.turns.wait(TURN, run=run.id, fence=found.fence, reason="waits")
        now = row(ledger, run.id)
        assert (now["state"], now["reason"], now["delivery_no"]) == ("waiting", "waits", delivery_no + 1)
        same = ("attempt_count", "crash_count", "retry_count", "started_at", "instance", "lease_until", "finished_at")
        assert {name: now[name] for name in same} == {name: before[name] for name in same}
        assert counted(ledger, "SELECT count(*) FROM steadybeat.attempts") == 0
        due(ledger)
        assert [(each.run, each.reason) for each in relayed(ledger)] == [(run.id, "lock")]
    found = claim(ledger, run, worker, 6)
    assert ledger.runs.finish(run.id, found.fence, result=None)


def test_a_run_that_was_tried_before_keeps_what_it_has_tried(ledger: Ledger) -> None:
    worker, run = alive(ledger), recorded(ledger)
    first = claim(ledger, run, worker)
    ledger.runs.try_again(run.id, fence=first.fence, reason="no answer", error="no answer", retry_count=1)
    with ledger.database.transaction() as connection:
        started_at = connection.exec_driver_sql("SELECT started_at FROM steadybeat.attempts").scalar_one()
    due(ledger)
    relayed(ledger)
    second = claim(ledger, run, worker, 2)
    assert second.attempt == 2
    ledger.turns.wait(TURN, run=run.id, fence=second.fence, reason="waits")
    now = row(ledger, run.id)
    assert (now["attempt_count"], now["retry_count"], now["started_at"]) == (1, 1, started_at)
    assert counted(ledger, "SELECT count(*) FROM steadybeat.attempts WHERE outcome = 'retried'") == 1


def test_only_the_holder_of_the_claim_gives_it_back(ledger: Ledger) -> None:
    worker, run = alive(ledger), recorded(ledger)
    found = claim(ledger, run, worker)
    assert not ledger.turns.wait(TURN, run=run.id, fence=found.fence - 1, reason="waits")
    assert row(ledger, run.id)["state"] == "running"


def test_the_more_wait_for_a_lock_the_longer_each_waits(ledger: Ledger) -> None:
    worker = alive(ledger)
    pauses = []
    for _ in range(60):
        run = recorded(ledger)
        found = claim(ledger, run, worker)
        ledger.turns.wait(TURN, run=run.id, fence=found.fence, reason="waits")
        not_before = row(ledger, run.id)["not_before"]
        assert isinstance(not_before, datetime)
        pauses.append(not_before - datetime.now(UTC))
    assert max(pauses[:3]) < timedelta(seconds=1.3)
    assert min(pauses[-3:]) > timedelta(seconds=1)
    assert max(pauses) < timedelta(seconds=4)


def test_whoever_took_a_lock_last_is_the_only_one_to_commit(ledger: Ledger) -> None:
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    ledger.turns.take(TURN, 0, run=first, fence=1)
    ledger.turns.take(TURN, 1, run=first, fence=1)
    with ledger.database.transaction() as connection:
        assert Turns.still(connection, TURN, 0, run=first, fence=1)
    ledger.turns.take(TURN, 0, run=second, fence=2)
    with ledger.database.transaction() as connection:
        assert not Turns.still(connection, TURN, 0, run=first, fence=1)
        assert Turns.still(connection, TURN, 0, run=second, fence=2)
        assert Turns.still(connection, TURN, 1, run=first, fence=1)


def test_a_lock_is_not_taken_while_the_effect_of_its_holder_is_being_committed(ledger: Ledger) -> None:
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    ledger.turns.take(TURN, 0, run=first, fence=1)
    taker = threading.Thread(target=lambda: ledger.turns.take(TURN, 0, run=second, fence=2))
    blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    with ledger.database.transaction() as connection:
        assert Turns.still(connection, TURN, 0, run=first, fence=1)
        taker.start()
        eventually(lambda: counted(ledger, blocked) == 1)
    taker.join()
    with ledger.database.transaction() as connection:
        assert not Turns.still(connection, TURN, 0, run=first, fence=1)


def test_what_nobody_took_for_a_retention_is_forgotten(ledger: Ledger) -> None:
    ledger.turns.take(TURN, 0, run=str(uuid.uuid4()), fence=1)
    ledger.turns.take("lock:account:8", 0, run=str(uuid.uuid4()), fence=2)
    with ledger.database.transaction() as connection:
        connection.exec_driver_sql(
            "UPDATE steadybeat.turns SET taken_at = taken_at - interval '31 days' WHERE name = 'lock:account:7'"
        )
    assert ledger.prune()["turns"] == 1
    assert counted(ledger, "SELECT count(*) FROM steadybeat.turns") == 1
