"""Promise: what is wrong with a worker is seen once, for its cause, until a worker does its work again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import NewRun
from steadybeat.watchdog.looking import NotJudged
from steadybeat.watchdog.remembering import Memory
from tests.integration.looking import Eyes, ago, change, ended, eyes_of, later, leads, older, running, silenced, worker
from tests.integration.records import every_minute, recorded


@pytest.fixture
def eyes(ledger: Ledger) -> Eyes:
    return eyes_of(ledger)


def waits(ledger: Ledger, seconds: float, **facts: str) -> NewRun:
    """A run has waited on its queue for so long."""
    run = recorded(ledger, task="t", **facts)
    older(ledger, "runs", "enqueued_at", seconds, f"id = '{run.id}'")
    return run


def test_a_worker_that_gives_no_sign_of_life_is_silent_until_it_does(eyes: Eyes) -> None:
    one = worker(eyes.ledger, "orders", node="orders@here")
    assert eyes.see("worker_silent") == []
    silenced(eyes.ledger, one)
    run = running(eyes.ledger, 5, instance=one)
    found = eyes.one("worker_silent")
    assert (found.subject, found.owner, found.service, found.severity) == (
        "orders@here",
        "packers",
        "orders",
        "critical",
    )
    assert (found.run, found.facts["without_consumer"]) == (run, ["orders"])
    change(eyes.ledger, "instances SET expires_at = clock_timestamp() + interval '15 seconds'")
    assert eyes.see("worker_silent") == []


def test_a_worker_that_signed_off_is_not_silent(eyes: Eyes) -> None:
    eyes.ledger.instances.leave(worker(eyes.ledger, "orders", node="orders@here"))
    assert eyes.see("worker_silent") == []


def test_a_silent_worker_is_forgotten_once_another_has_its_queues_or_its_name(eyes: Eyes) -> None:
    silenced(eyes.ledger, worker(eyes.ledger, "orders", "mail", node="one@here"))
    worker(eyes.ledger, "orders", node="two@here")
    assert len(eyes.see("worker_silent")) == 1
    worker(eyes.ledger, "mail", node="three@here")
    assert eyes.see("worker_silent") == []
    silenced(eyes.ledger, worker(eyes.ledger, "sync", node="sync@here"))
    assert len(eyes.see("worker_silent")) == 1
    worker(eyes.ledger, "orders", node="sync@here")
    assert eyes.see("worker_silent") == []


def test_a_worker_that_was_there_all_the_time_takes_nobodys_place(eyes: Eyes) -> None:
    silenced(eyes.ledger, worker(eyes.ledger, "orders", node="one@here"))
    worker(eyes.ledger, "orders", node="two@here")
    older(eyes.ledger, "instances", "started_at", 60, "node = 'two@here'")
    assert len(eyes.see("worker_silent")) == 1


def test_a_silent_worker_is_forgotten_after_an_hour(eyes: Eyes) -> None:
    silenced(eyes.ledger, worker(eyes.ledger, "orders", node="one@here"), 3599)
    assert len(eyes.see("worker_silent")) == 1
    older(eyes.ledger, "instances", "expires_at", 2)
    assert eyes.see("worker_silent") == []


def test_nobody_is_silent_while_nobody_could_give_a_sign_of_life(eyes: Eyes) -> None:
    silenced(eyes.ledger, worker(eyes.ledger, "orders", node="one@here"))
    waits(eyes.ledger, 70)
    for rule in ("worker_silent", "no_consumer", "queue_stalled", "not_consuming"):
        with pytest.raises(NotJudged):
            eyes.see(rule, answering=timedelta(seconds=14))


def test_what_stands_still_without_redis_is_its_consequence_and_has_time_to_move_again(eyes: Eyes) -> None:
    worker(eyes.ledger, "orders", node="orders@here", since=300)
    waits(eyes.ledger, 100)
    asked(eyes.ledger, 100)
    assert eyes.one("queue_stalled").cause == ("not_consuming", "orders")
    eyes.redis_error, eyes.redis_away_at = "Redis does not answer", ago(1)
    assert eyes.one("queue_stalled").cause == eyes.one("not_consuming").cause == ("relay_stalled", "platform")
    every_minute(eyes.ledger)
    leads(eyes.ledger, 60)
    assert eyes.one("queue_stalled").cause == eyes.one("not_consuming").cause == ("no_leader", "platform")
    eyes.redis_error, eyes.redis_away_at = None, ago(59)
    assert eyes.see("queue_stalled") == eyes.see("not_consuming") == []
    eyes.redis_away_at = ago(61)
    assert len(eyes.see("queue_stalled")) == len(eyes.see("not_consuming")) == 1


def test_a_queue_has_no_consumer_on_which_a_run_waits(eyes: Eyes) -> None:
    worker(eyes.ledger, "mail", node="mail@here")
    run = waits(eyes.ledger, 59)
    assert eyes.see("no_consumer") == []
    older(eyes.ledger, "runs", "enqueued_at", 2)
    found = eyes.one("no_consumer")
    assert (found.subject, found.run, found.owner, found.cause) == ("orders", run.id, "packers", None)
    assert eyes.see("queue_stalled") == []
    worker(eyes.ledger, "orders", node="orders@here")
    assert eyes.see("no_consumer") == []


def test_a_queue_whose_only_worker_fell_silent_is_its_consequence(eyes: Eyes) -> None:
    waits(eyes.ledger, 61)
    silenced(eyes.ledger, worker(eyes.ledger, "orders", node="orders@here"))
    assert eyes.one("no_consumer").cause == ("worker_silent", "orders@here")
    worker(eyes.ledger, "orders", node="again@here")
    assert eyes.see("no_consumer") == []


def test_a_queue_whose_worker_is_started_again_is_not_without_a_consumer_however_long_it_is(eyes: Eyes) -> None:
    waits(eyes.ledger, 3600)
    for _ in range(3):
        one = worker(eyes.ledger, "orders", node="orders@here")
        assert eyes.see("no_consumer") == []
        eyes.ledger.instances.leave(one)
        assert eyes.see("no_consumer") == []
        later(eyes.memory, 59)
        assert eyes.see("no_consumer") == []


def test_a_watchdog_that_has_just_come_does_not_know_for_how_long_nobody_has_consumed(eyes: Eyes) -> None:
    waits(eyes.ledger, 3600)
    eyes.memory = Memory(eyes.ledger)
    for rule in ("no_consumer", "never_started"):
        with pytest.raises(NotJudged):
            eyes.see(rule)
    later(eyes.memory, 60)
    assert len(eyes.see("no_consumer")) == 1


def test_whether_workers_of_an_older_release_consume_is_not_known(eyes: Eyes) -> None:
    waits(eyes.ledger, 61)
    worker(eyes.ledger, "mail")
    change(eyes.ledger, "instances SET queues = NULL")
    with pytest.raises(NotJudged):
        eyes.see("no_consumer")


def test_a_queue_stands_still_of_which_nothing_goes_on_although_a_worker_lives(eyes: Eyes) -> None:
    worker(eyes.ledger, "orders", node="orders@here", since=300)
    waits(eyes.ledger, 61)
    ended(eyes.ledger, 1, schedule=None, took=1, ago=30)
    older(eyes.ledger, "instances", "started_at", 61)
    assert eyes.see("queue_stalled") == []
    older(eyes.ledger, "runs", "started_at", 40)
    assert eyes.one("queue_stalled").subject == "orders"
    running(eyes.ledger, 300)
    assert eyes.see("queue_stalled") == []


def test_a_worker_that_has_just_come_or_come_back_has_time_to_do_its_work(eyes: Eyes) -> None:
    waits(eyes.ledger, 600)
    asked(eyes.ledger, 600)
    worker(eyes.ledger, "orders", node="orders@here", since=59)
    assert eyes.see("queue_stalled") == eyes.see("not_consuming") == []
    older(eyes.ledger, "instances", "started_at", 2)
    assert len(eyes.see("queue_stalled")) == len(eyes.see("not_consuming")) == 1
    eyes.memory.deserted_at["orders"] = ago(59)
    assert eyes.see("queue_stalled") == eyes.see("not_consuming") == []
    eyes.memory.deserted_at["orders"] = ago(61)
    assert len(eyes.see("queue_stalled")) == len(eyes.see("not_consuming")) == 1


def asked(ledger: Ledger, first_ago: float, last_ago: float = 1) -> None:
    """The canaries of the queue have not been answered for so long."""
    ledger.canaries.sent("orders", 1)
    older(ledger, "canaries", "unanswered_since", first_ago)
    ledger.canaries.sent("orders", 2)
    older(ledger, "canaries", "sent_at", last_ago)


def test_a_worker_does_not_consume_that_lives_and_answers_no_canary(eyes: Eyes) -> None:
    one = worker(eyes.ledger, "orders", node="orders@here", since=300)
    asked(eyes.ledger, 59)
    assert eyes.see("not_consuming") == []
    older(eyes.ledger, "canaries", "unanswered_since", 2)
    found = eyes.one("not_consuming")
    assert (found.subject, found.owner, found.facts["workers"]) == ("orders", "packers", ["orders@here"])
    waits(eyes.ledger, 61)
    older(eyes.ledger, "instances", "started_at", 61)
    assert eyes.one("queue_stalled").cause == ("not_consuming", "orders")
    eyes.ledger.canaries.answer("orders", 1, one)
    assert eyes.see("not_consuming") == []


def test_a_worker_whose_places_are_taken_has_no_time_for_canaries(eyes: Eyes) -> None:
    worker(eyes.ledger, "orders", node="orders@here", since=300)
    asked(eyes.ledger, 300)
    run = running(eyes.ledger, 1000)
    assert eyes.see("not_consuming") == []
    change(eyes.ledger, "runs SET state = 'waiting' WHERE id = CAST(:run AS uuid)", run=run)
    assert len(eyes.see("not_consuming")) == 1
    ended(eyes.ledger, 1, schedule=None, took=1, ago=100)
    assert eyes.see("not_consuming") == []


def test_a_worker_that_is_taken_up_by_another_of_its_queues_is_not_one_that_does_not_consume(eyes: Eyes) -> None:
    shared = worker(eyes.ledger, "mail", "orders", node="shared@here", since=300)
    waits(eyes.ledger, 100)
    asked(eyes.ledger, 100)
    assert len(eyes.see("not_consuming")) == len(eyes.see("queue_stalled")) == 1
    running(eyes.ledger, 200, queue="mail", instance=shared)
    assert eyes.see("not_consuming") == eyes.see("queue_stalled") == []
    eyes.ledger.canaries.answer("mail", 1, shared)  # so that it has a place left
    assert len(eyes.see("not_consuming")) == len(eyes.see("queue_stalled")) == 1
    worker(eyes.ledger, "orders", node="own@here", since=300)
    older(eyes.ledger, "canaries", "answered_at", 600, "queue = 'mail'")
    assert len(eyes.see("not_consuming")) == len(eyes.see("queue_stalled")) == 1


def test_a_canary_that_may_have_been_lost_with_redis_says_nothing(eyes: Eyes) -> None:
    worker(eyes.ledger, "orders", node="orders@here")
    eyes.ledger.canaries.sent("orders", 1)
    change(
        eyes.ledger, "canaries SET sent_at = sent_at - interval '1 hour', unanswered_since = sent_at - interval '1 h'"
    )
    assert eyes.see("not_consuming") == []


def test_a_canary_of_a_queue_that_nobody_has_says_nothing(eyes: Eyes) -> None:
    asked(eyes.ledger, 300)
    assert eyes.see("not_consuming") == []
    silenced(eyes.ledger, worker(eyes.ledger, "orders", node="orders@here"))
    assert eyes.see("not_consuming") == []


def test_a_queue_is_asked_every_minute_and_sooner_while_it_does_not_answer(ledger: Ledger) -> None:
    minute = timedelta(minutes=1)
    assert ledger.canaries.due(["mail", "orders"], minute) == {"mail": 1, "orders": 1}
    ledger.canaries.sent("orders", 1)
    older(ledger, "canaries", "sent_at", 29)
    assert ledger.canaries.due(["orders"], minute) == {}
    older(ledger, "canaries", "sent_at", 2)
    assert ledger.canaries.due(["orders"], minute) == {"orders": 2}
    ledger.canaries.answer("orders", 1, worker(ledger, "orders"))
    assert ledger.canaries.due(["orders"], minute) == {}
    older(ledger, "canaries", "sent_at", 30)
    assert ledger.canaries.due(["orders"], minute) == {"orders": 2}


def test_an_answer_may_come_before_it_is_written_that_the_queue_was_asked(ledger: Ledger) -> None:
    ledger.canaries.answer("orders", 1, worker(ledger, "orders"))
    ledger.canaries.sent("orders", 1)
    older(ledger, "canaries", "sent_at", 100)
    assert ledger.canaries.unanswered(timedelta()) == []
    assert ledger.canaries.due(["orders"], timedelta(minutes=1)) == {"orders": 2}
