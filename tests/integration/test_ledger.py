from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from steadybeat.errors import ConfigurationError, LedgerUnavailable, SchemaTooOld
from steadybeat.ledger import Ledger
from steadybeat.ledger.all_tables import metadata
from steadybeat.ledger.keys import Holder
from steadybeat.ledger.rows import Envelope, NewRun
from steadybeat.settings import Settings
from tests.integration.records import alive, claim, new_run, recorded, relayed


@pytest.fixture
def worker(ledger: Ledger) -> str:
    return alive(ledger)


def test_the_tables_are_the_sum_of_the_migrations(ledger: Ledger) -> None:
    with ledger.database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "version_table_schema": "steadybeat",
                "compare_type": True,
                "compare_server_default": False,
                "include_name": lambda name, kind, _: kind != "schema" or name == "steadybeat",
            },
        )
        assert compare_metadata(context, metadata) == []


def test_a_schema_that_is_too_old_names_the_command_that_mends_it(postgres_url: str) -> None:
    ledger = Ledger(Settings(database_url=postgres_url))
    with pytest.raises(SchemaTooOld, match="run `celery -A … ledger upgrade` first"):
        ledger.require_schema()
    assert ledger.upgrade().pending == ("0001", "0002", "0003", "0004", "0005", "0006")
    ledger.require_schema()
    assert ledger.upgrade().pending == ()
    ledger.database.close()


def test_the_schema_of_a_newer_release_is_good_enough(ledger: Ledger) -> None:
    with ledger.database.transaction() as connection:
        connection.execute(sa.text("UPDATE steadybeat.alembic_version SET version_num = '9999'"))
    ledger.require_schema()


def test_a_postgres_that_does_not_answer_is_told_from_one_that_refuses(ledger: Ledger) -> None:
    away = Ledger(Settings(database_url="postgresql://nobody:secret@127.0.0.1:1/none"))
    with pytest.raises(LedgerUnavailable) as caught:
        away.ping()
    assert "postgresql://nobody:***@127.0.0.1:1/none does not answer" in str(caught.value)
    with pytest.raises(sa.exc.ProgrammingError):
        ledger.database.execute(sa.text("SELECT * FROM nothing_of_this_name"))


def test_a_url_of_another_database_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="must be a URL such as postgresql://"):
        Ledger(Settings(database_url="mysql://localhost/x"))


def test_a_run_is_recorded_once(ledger: Ledger) -> None:
    run = recorded(ledger)
    assert not ledger.runs.record(run)


def test_of_a_thousand_claims_on_one_key_one_wins(ledger: Ledger, worker: str) -> None:
    runs = [recorded(ledger, idempotency_key="the same") for _ in range(60)]
    verdicts: Counter[str] = Counter()
    start = threading.Barrier(len(runs))

    def go(run: NewRun) -> None:
        start.wait()
        verdicts[claim(ledger, run, worker).verdict] += 1

    threads = [threading.Thread(target=go, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verdicts == {"claimed": 1, "duplicate": 59}


def test_a_second_delivery_of_a_running_run_is_refused_and_changes_nothing(ledger: Ledger, worker: str) -> None:
    run = recorded(ledger)
    first = claim(ledger, run, worker)
    assert first.verdict == "claimed"
    assert claim(ledger, run, worker).verdict == "running"
    assert ledger.runs.finish(run.id, first.fence, result="1")
    assert claim(ledger, run, worker).verdict == "ended"


def test_a_dead_instance_holds_nothing(ledger: Ledger, worker: str) -> None:
    run = recorded(ledger)
    gone = str(uuid.uuid4())
    first = claim(ledger, run, gone)
    second = claim(ledger, run, worker)
    assert (second.verdict, second.attempt) == ("claimed", 2)
    assert second.fence > first.fence
    assert not ledger.runs.finish(run.id, first.fence, result=None)
    assert ledger.runs.finish(run.id, second.fence, result=None)
    story = ledger.story.run(run.id)
    assert story is not None
    assert [attempt["outcome"] for attempt in story["attempts"]] == ["lost", "succeeded"]


def test_another_run_may_take_the_key_of_a_dead_holder_only(ledger: Ledger, worker: str) -> None:
    lost, waiting = recorded(ledger, idempotency_key="k"), recorded(ledger, idempotency_key="k")
    claim(ledger, lost, str(uuid.uuid4()))
    assert claim(ledger, waiting, worker).verdict == "claimed"
    assert claim(ledger, lost, worker).verdict == "duplicate"


def test_a_run_that_waits_for_its_retry_keeps_its_key(ledger: Ledger, worker: str) -> None:
    first, second = recorded(ledger, idempotency_key="k"), recorded(ledger, idempotency_key="k")
    held = claim(ledger, first, worker)
    ledger.runs.try_again(first.id, fence=held.fence, reason="r", error=None, retry_count=1)
    found = claim(ledger, second, worker)
    assert found.verdict == "duplicate"
    assert first.id in found.detail


def test_a_dead_letter_frees_its_key(ledger: Ledger, worker: str) -> None:
    first, second = recorded(ledger, idempotency_key="k"), recorded(ledger, idempotency_key="k")
    held = claim(ledger, first, worker)
    assert ledger.runs.give_up(first.id, fence=held.fence, reason="why", error="stack")
    assert claim(ledger, second, worker).verdict == "claimed"


def test_an_effect_that_was_committed_is_not_made_again_by_the_next_attempt(ledger: Ledger, worker: str) -> None:
    run = recorded(ledger)
    first = claim(ledger, run, str(uuid.uuid4()))
    held = Holder(task=run.task, key=run.idempotency_key, run=run.id, fence=first.fence)
    with ledger.database.transaction() as connection:
        assert ledger.keys.commit_effect(connection, held)
    second = claim(ledger, run, worker)
    assert (second.verdict, second.effect_done) == ("claimed", True)
    with ledger.database.transaction() as connection:
        assert not ledger.keys.commit_effect(connection, held)


def test_what_follows_a_success_is_recorded_with_it_or_not_at_all(ledger: Ledger, worker: str) -> None:
    run, following = recorded(ledger), new_run()
    held = claim(ledger, run, worker)
    assert not ledger.runs.finish(run.id, held.fence + 1, result=None, next_runs=[following])
    assert ledger.story.run(following.id) is None
    assert ledger.runs.finish(run.id, held.fence, result=None, next_runs=[following])
    assert [envelope.run for envelope in relayed(ledger)] == [following.id]


def test_a_delayed_run_is_sent_when_it_is_time(ledger: Ledger) -> None:
    soon = recorded_later(ledger, timedelta(seconds=-1))
    recorded_later(ledger, timedelta(hours=1))
    assert [envelope.run for envelope in relayed(ledger)] == [soon.id]
    assert relayed(ledger) == []


def recorded_later(ledger: Ledger, delay: timedelta) -> NewRun:
    run = new_run(not_before=datetime.now(UTC) + delay)
    ledger.runs.record(run, outbox_reason="delayed")
    return run


def test_what_cannot_be_sent_stays_in_the_outbox(ledger: Ledger) -> None:
    run = recorded_later(ledger, timedelta(seconds=-1))

    def fail(_: Any) -> None:
        raise OSError("no broker")

    with pytest.raises(OSError, match="no broker"):
        ledger.outbox.relay(fail, 10)
    assert [envelope.run for envelope in relayed(ledger)] == [run.id]


def test_two_relays_do_not_send_the_same_message(ledger: Ledger) -> None:
    for _ in range(10):
        recorded_later(ledger, timedelta(seconds=-1))
    inner: list[Envelope] = []

    def meanwhile(envelopes: Any) -> None:
        ledger.outbox.relay(inner.extend, 10)
        assert {each.run for each in inner}.isdisjoint({each.run for each in envelopes})

    assert ledger.outbox.relay(meanwhile, 6) == (6, True)
    assert len(inner) == 4


def test_a_lost_run_is_sent_again_under_a_higher_delivery_number(ledger: Ledger, worker: str) -> None:
    run, healthy = recorded(ledger), recorded(ledger)
    claim(ledger, run, str(uuid.uuid4()))
    claim(ledger, healthy, worker)
    assert [rescued.run for rescued in ledger.rescue.lost()] == [run.id]
    (envelope,) = relayed(ledger)
    assert (envelope.run, envelope.delivery_no) == (run.id, 2)
    assert claim(ledger, run, worker, delivery_no=1).verdict == "superseded"
    assert claim(ledger, run, worker, delivery_no=2).verdict == "claimed"


def test_a_run_under_which_workers_keep_dying_becomes_a_dead_letter(ledger: Ledger) -> None:
    run = recorded(ledger)
    for delivery_no in (1, 2, 3):
        assert claim(ledger, run, str(uuid.uuid4()), delivery_no).verdict == "claimed"
        (rescued,) = ledger.rescue.lost()
        relayed(ledger)
    assert rescued.state == "dead"
    story = ledger.story.run(run.id)
    assert story is not None
    assert (story["state"], story["reason"]) == ("dead", "workers died under it 3 times")


@pytest.fixture
def impatient(ledger_url: str) -> Any:
    ledger = Ledger(Settings(database_url=ledger_url, grace_seconds=0.5))
    yield ledger
    ledger.database.close()


def aged(ledger: Ledger, run: NewRun, seconds: float) -> None:
    with ledger.database.transaction() as connection:
        connection.execute(
            sa.text(
                "UPDATE steadybeat.runs SET enqueued_at = clock_timestamp() - make_interval(secs => :s) WHERE id = :r"
            ),
            {"s": seconds, "r": uuid.UUID(run.id)},
        )


def test_an_unstarted_run_is_sent_again_only_if_its_queue_is_empty_or_it_was_overtaken(impatient: Ledger) -> None:
    run = recorded(impatient)
    aged(impatient, run, 2)
    assert impatient.rescue.overdue_queues() == ["orders"]
    assert impatient.rescue.unstarted(["orders"], []) == []
    younger = recorded(impatient)
    claim(impatient, younger, alive(impatient))
    assert [rescued.run for rescued in impatient.rescue.unstarted(["orders"], [])] == [run.id]
    other = recorded(impatient, queue="mail")
    aged(impatient, other, 2)
    assert [rescued.run for rescued in impatient.rescue.unstarted(["mail"], ["mail"])] == [other.id]
    assert impatient.rescue.unstarted(["mail"], ["mail"]) == []


def test_pruning_forgets_what_ended_long_ago_and_keeps_dead_letters(
    new_database: Callable[[str | None], str], ledger_template: str
) -> None:
    ledger = Ledger(Settings(database_url=new_database(ledger_template), retention_seconds=3600))
    worker = alive(ledger)
    old, dead, young = recorded(ledger), recorded(ledger), recorded(ledger)
    for run in (old, young):
        ledger.runs.finish(run.id, claim(ledger, run, worker).fence, result=None)
    ledger.runs.give_up(dead.id, fence=claim(ledger, dead, worker).fence, reason="r", error="e")
    with ledger.database.transaction() as connection:
        connection.execute(
            sa.text("UPDATE steadybeat.runs SET finished_at = now() - interval '2 hours' WHERE id = ANY(:ids)"),
            {"ids": [uuid.UUID(old.id), uuid.UUID(dead.id)]},
        )
    deleted = ledger.prune()
    assert (deleted["runs"], deleted["attempts"], deleted["processed_keys"]) == (1, 1, 0)
    assert ledger.story.run(old.id) is None
    assert ledger.story.run(dead.id) is not None
    ledger.database.close()


def test_pruning_keeps_the_last_fire_and_the_last_success_of_a_schedule_however_old(
    new_database: Callable[[str | None], str], ledger_template: str
) -> None:
    ledger = Ledger(Settings(database_url=new_database(ledger_template), retention_seconds=3600))
    worker, every_year = alive(ledger), [datetime(year, 1, 1, tzinfo=UTC) for year in (2023, 2024, 2025)]
    with ledger.database.transaction() as connection:
        for at in every_year:
            values = {"at": at}
            connection.execute(sa.text(_OLD_FIRE), values)
    runs = [recorded(ledger, schedule="s", scheduled_for=at) for at in every_year]
    for run in runs:
        ledger.runs.finish(run.id, claim(ledger, run, worker).fence, result=None)
    with ledger.database.transaction() as connection:
        connection.execute(sa.text("UPDATE steadybeat.runs SET finished_at = scheduled_for"))
    assert (ledger.prune()["fires"], ledger.story.fire("s", every_year[-1]) is not None) == (2, True)
    assert [ledger.story.run(run.id) is not None for run in runs] == [False, False, True]
    ledger.database.close()


_OLD_FIRE = """
    INSERT INTO steadybeat.fires (schedule, scheduled_for, due_at, revision, state)
    VALUES ('s', :at, :at, 1, 'dispatched')
"""
