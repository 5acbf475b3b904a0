"""What becomes of a claim whose answer is lost, of one by a worker that stood still, and of an end that comes late."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from steadybeat.ledger import Ledger
from steadybeat.ledger.claim import CLAIM_AT_ONCE
from steadybeat.ledger.keys import Holder
from steadybeat.ledger.rows import Claim, NewRun
from steadybeat.settings import Settings
from tests.integration.records import alive, claim, recorded, relayed


def asked(ledger: Ledger, run: NewRun, instance: str, claim_id: str, delivery_no: int = 1) -> Claim:
    who = {"instance": instance, "claim_id": claim_id, "delivery_no": delivery_no}
    return ledger.runs.claim(run.id, time_limit_seconds=60, crash_limit=3, **who)


def expire(ledger: Ledger, instance: str) -> None:
    """Let a worker stand still for longer than its lease."""
    past = "UPDATE steadybeat.instances SET expires_at = clock_timestamp() - interval '1 second' WHERE id = :id"
    ledger.database.execute(sa.text(past), {"id": instance})


def test_a_claim_whose_answer_was_lost_is_answered_again(ledger: Ledger) -> None:
    run, worker, asking = recorded(ledger), alive(ledger), str(uuid.uuid4())
    first = asked(ledger, run, worker, asking)
    assert asked(ledger, run, worker, asking) == first
    assert claim(ledger, run, worker).verdict == "running", "another delivery of the same run is a duplicate"
    assert ledger.runs.finish(run.id, first.fence, result=None)
    assert asked(ledger, run, worker, asking).verdict == "ended"


def test_a_claim_on_a_connection_that_breaks_at_its_commit_is_granted_once(ledger_url: str) -> None:
    ledger = Ledger(Settings(database_url=ledger_url))
    run, worker = recorded(ledger), alive(ledger)
    cursor = ledger.database._express._cursor
    assert cursor is not None
    execute = cursor.execute

    class Breaks:
        """The session ends after its commit, before the answer has arrived."""

        connection = cursor.connection

        def execute(self, *statement: Any, **options: Any) -> Any:
            execute(*statement, **options)
            assert statement[0] == CLAIM_AT_ONCE.text
            ledger.database.execute(
                sa.text("SELECT pg_terminate_backend(CAST(:pid AS integer))"),
                {"pid": cursor.connection.info.backend_pid},
            )
            return execute("SELECT 1")

    ledger.database._express._cursor = Breaks()
    found = asked(ledger, run, worker, str(uuid.uuid4()))

    assert (found.verdict, found.attempt) == ("claimed", 1)
    assert ledger.runs.finish(run.id, found.fence, result=None)
    ledger.database.close()


def test_the_effect_of_an_attempt_whose_claim_is_answered_again_counts(ledger: Ledger) -> None:
    run, worker, asking = recorded(ledger), alive(ledger), str(uuid.uuid4())
    first = asked(ledger, run, worker, asking)
    holder = Holder(task=first.task, key=first.idempotency_key, run=run.id, fence=first.fence)
    with ledger.database.transaction() as connection:
        assert ledger.keys.commit_effect(connection, holder, "7")
    again = asked(ledger, run, worker, asking)
    assert (again.effect_done, again.effect_result) == (True, 7)


def test_nothing_is_granted_to_a_worker_that_stood_still_until_it_gives_a_sign_of_life(ledger: Ledger) -> None:
    run, worker, asking = recorded(ledger), alive(ledger), str(uuid.uuid4())
    expire(ledger, worker)
    assert asked(ledger, run, worker, asking).verdict == "lapsed"
    assert ledger.story.run(run.id)["attempts"] == []
    ledger.instances.sign_of_life(worker, role="worker", host="here", pid=1, release="0")
    assert asked(ledger, run, worker, asking).verdict == "claimed"


def test_a_claim_that_is_asked_again_after_a_rescue_finds_that_it_is_too_late(ledger: Ledger) -> None:
    run, worker, asking = recorded(ledger), alive(ledger), str(uuid.uuid4())
    asked(ledger, run, worker, asking)
    expire(ledger, worker)
    assert [each.run for each in ledger.rescue.lost()] == [run.id]
    ledger.instances.sign_of_life(worker, role="worker", host="here", pid=1, release="0")
    assert asked(ledger, run, worker, asking).verdict == "superseded"
    assert [each.delivery_no for each in relayed(ledger)] == [2]


def test_a_parent_ends_the_attempt_of_its_own_delivery_and_no_later_one(ledger: Ledger) -> None:
    run, worker = recorded(ledger), alive(ledger)
    first = claim(ledger, run, worker)
    again: dict[str, Any] = {"reason": "interrupted", "error": None, "retry_count": 0}
    assert ledger.runs.try_again(run.id, fence=first.fence, outcome="interrupted", **again)
    second = claim(ledger, run, worker, delivery_no=2)
    assert second.verdict == "claimed"

    lost: dict[str, Any] = {"reason": "lost", "error": "lost", "instance": worker}
    assert not ledger.runs.try_again(run.id, retry_count=0, outcome="lost", crashes=1, delivery_no=1, **lost)
    assert not ledger.runs.give_up(run.id, outcome="timed_out", delivery_no=1, **lost)
    assert ledger.runs.finish(run.id, second.fence, result=None)


def test_a_cancelled_run_whose_worker_is_gone_ends_and_frees_its_key(ledger: Ledger) -> None:
    run, worker = recorded(ledger, idempotency_key="sale:7"), alive(ledger)
    claim(ledger, run, worker)
    ask = "UPDATE steadybeat.runs SET cancel_requested_at = clock_timestamp() WHERE id = :id"
    ledger.database.execute(sa.text(ask), {"id": run.id})
    assert ledger.rescue.lost() == [], "its worker lives, and is asked to stop"
    expire(ledger, worker)

    assert [(each.run, each.state) for each in ledger.rescue.lost()] == [(run.id, "cancelled")]
    found = ledger.story.run(run.id)
    assert found is not None
    assert (found["state"], found["reason"]) == ("cancelled", "it was to be cancelled, and its worker was lost")
    assert [each["outcome"] for each in found["attempts"]] == ["lost"]
    assert not relayed(ledger)
    assert claim(ledger, recorded(ledger, idempotency_key="sale:7"), alive(ledger)).verdict == "claimed"
