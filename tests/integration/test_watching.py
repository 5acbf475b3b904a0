"""Promise: of several watchdogs one tells what it sees, and what it cannot judge changes nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from celery import Celery

from steadybeat.errors import BrokerUnavailable, LedgerUnavailable
from steadybeat.ledger import Ledger
from steadybeat.rules import RULES
from steadybeat.telemetry import vitals
from steadybeat.watchdog.seeing import SEEN_BY
from steadybeat.watchdog.watching import Watch
from tests.eventually import eventually
from tests.integration.looking import Taken, change, leads, older, worker
from tests.integration.playing import app_of
from tests.integration.records import every_minute, schedule_of

MadeApp = Callable[[], Any]


@pytest.fixture
def made_app(ledger_url: str, redis_url: str, tmp_path: Path) -> Iterator[MadeApp]:
    """Makes apps on one ledger and one Redis: each a process of its own, as far as the ledger knows."""
    made: list[Celery] = []

    def make(**settings: Any) -> Any:
        app: Any = app_of("shop", ledger_url, redis_url, tmp_path, **settings)
        app.steadybeat.become("watchdog")
        made.append(app)
        return app

    yield make
    for app in made:
        app.steadybeat.ledger.database.close()
        app.close()


def fails(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def test_of_two_watchdogs_one_acts_and_the_other_takes_over_when_it_is_killed(made_app: MadeApp) -> None:
    one, other = Taken(), Taken()
    first, second = Watch(made_app(), one), Watch(made_app(), other)
    assert first.tick()
    assert not second.tick()
    assert first.tick()
    assert (len(one.passes), one.work_count, len(other.passes)) == (2, 2, 0)
    older(first._ledger, "duties", "until", 60)
    assert second.tick()
    assert not first.tick()
    assert len(other.passes) == 1


def test_a_watchdog_that_ends_leaves_its_duty(made_app: MadeApp) -> None:
    first, second = Watch(made_app(), Taken()), Watch(made_app(), Taken())
    first.start()
    eventually(lambda: first._memory is not None)
    first.stop()
    assert second.tick()


def test_every_rule_has_a_function_and_each_of_them_is_tested_seen_and_not_seen() -> None:
    assert {*SEEN_BY} == {*RULES} - {"ledger_away", "channel_failing"}
    tests = "".join(each.read_text() for each in Path(__file__).parent.glob("test_watched_*.py"))
    for rule in SEEN_BY:
        assert f'one("{rule}")' in tests or f'len(eyes.see("{rule}")) == ' in tests, rule
        assert f'see("{rule}") == []' in tests or f'len(eyes.see("{rule}")) == count' in tests, rule


def test_a_rule_that_cannot_be_judged_leaves_the_others_alone(
    made_app: MadeApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    taken = Taken()
    watch = Watch(made_app(), taken)
    monkeypatch.setattr(watch._ledger.watched_runs, "dead", fails(ValueError("broken")))
    with caplog.at_level(logging.ERROR):
        assert watch.tick()
    ((findings, judged),) = taken.passes
    too_early = {"no_leader", "worker_silent", "no_consumer", "not_consuming", "queue_stalled", "relay_stalled"}
    too_early |= {"missed", "late", "never_started", "running_too_long", "stuck"}
    assert (findings, {*SEEN_BY} - judged) == ([], {"dead_letter", *too_early})
    assert "rule not judged" in caplog.text


def test_alerts_that_fail_end_no_watchdog(made_app: MadeApp, caplog: pytest.LogCaptureFixture) -> None:
    taken: Any = Taken()
    taken.work = fails(ValueError("broken"))
    watch = Watch(made_app(), taken)
    with caplog.at_level(logging.ERROR):
        assert not watch.tick()
    taken.work = lambda: None
    assert watch.tick()


def test_a_ledger_that_is_away_is_told_of_at_once_and_again_when_it_answers(
    made_app: MadeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = Taken(), Taken()
    acts, stands_by = Watch(made_app(), one), Watch(made_app(), other)
    assert acts.tick()
    assert not stands_by.tick()
    with monkeypatch.context() as broken:
        for watch in (acts, stands_by):
            broken.setattr(watch._ledger.duties, "take", fails(LedgerUnavailable("gone")))
            watch.tick()
        assert (one.emergencies, other.emergencies) == ([], [])
        acts.tick()
        stands_by.tick()
        assert [each and each.rule for each in one.emergencies] == ["ledger_away"]
        assert other.emergencies == []
        stands_by._away_since = datetime.now(UTC) - timedelta(minutes=3)
        stands_by.tick()
        assert len(other.emergencies) == 1
    acts.tick()
    assert [each and each.rule for each in one.emergencies] == ["ledger_away"]
    assert acts._answering_since is not None
    acts._answering_since -= 15
    acts.tick()
    assert [each and each.rule for each in one.emergencies] == ["ledger_away", None]
    assert len(one.passes) == 3
    assert acts._memory is not None
    assert acts._memory.gap is not None


def test_silence_counts_only_from_when_the_ledger_answers_again(
    made_app: MadeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = Taken()
    watch = Watch(made_app(), taken)
    every_minute(watch._ledger)
    leads(watch._ledger, 60)
    for _ in range(2):
        watch.tick()
        assert watch._answering_since is not None
        watch._answering_since -= 60
        watch.tick()
        assert [each.rule for each in taken.passes[-1][0]] == ["no_leader"]
        with monkeypatch.context() as broken:
            broken.setattr(watch._ledger.duties, "take", fails(LedgerUnavailable("gone")))
            watch.tick()
        watch.tick()
        assert "no_leader" not in taken.passes[-1][1]


def test_fires_are_written_ahead_while_nobody_leads_and_by_nobody_else(made_app: MadeApp) -> None:
    watch = Watch(made_app(), Taken())
    ledger: Ledger = watch._ledger
    every_minute(ledger)
    change(ledger, "schedules SET expected_until = clock_timestamp() - interval '5 minutes'")
    before = schedule_of(ledger).expected_until
    term = leads(ledger)
    watch.tick()
    assert watch._answering_since is not None
    watch._answering_since -= 60
    watch.tick()
    assert schedule_of(ledger).expected_until == before
    older(ledger, "leaderships", "renewed_at", 60, f"term = {term}")
    watch.tick()
    until = schedule_of(ledger).expected_until
    assert until is not None
    assert until > datetime.now(UTC)
    assert len(ledger.fires.due(datetime.now(UTC), 100)) == 5
    leads(ledger)
    watch.tick()
    assert watch._expecting is None


def test_a_canary_lies_in_front_of_its_queue_and_once(made_app: MadeApp, redis_url: str) -> None:
    app = made_app(steadybeat_services=["orders"], steadybeat_canary_seconds=60)
    watch = Watch(app, Taken())
    worker(watch._ledger, "orders")
    with redis_client.Redis.from_url(redis_url) as client:
        client.lpush("orders", "first", "second")
        for number in (1, 2, 3):
            watch.tick()
            older(watch._ledger, "canaries", "sent_at", 60)
            assert client.llen("orders") == 3
            assert watch._ledger.canaries.due(["orders"], timedelta(seconds=60)) == {"orders": number + 1}
        front: Any = client.lindex("orders", -1)
        assert json.loads(front)["headers"]["task"] == "steadybeat.canary"


def test_no_canary_is_sent_where_a_worker_might_not_know_it(made_app: MadeApp, redis_url: str) -> None:
    watch = Watch(made_app(), Taken())
    worker(watch._ledger, "orders")
    worker(watch._ledger, "mail")
    change(watch._ledger, "instances SET queues = NULL WHERE queues = '{mail}'")
    watch.tick()
    with redis_client.Redis.from_url(redis_url) as client:
        assert client.llen("orders") == 0


def test_a_redis_that_is_away_is_told_of_with_what_stands_still(
    made_app: MadeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(made_app(), Taken())
    worker(watch._ledger, "orders")
    monkeypatch.setattr(watch._platform.canaries, "send", fails(BrokerUnavailable("Redis does not answer")))
    watch.tick()
    assert watch._redis_error() == "Redis does not answer"
    monkeypatch.undo()
    assert watch._ledger.canaries.due(["orders"], timedelta(seconds=60)) == {"orders": 1}
    watch.tick()
    assert watch._redis_error() is None


def test_a_question_that_takes_too_long_is_not_a_ledger_that_is_away(
    made_app: MadeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = Taken()
    watch = Watch(made_app(), taken)
    monkeypatch.setattr(watch._ledger.watched_runs, "dead", fails(LedgerUnavailable("statement timeout")))
    monkeypatch.setattr(watch._ledger.watched_schedules, "ended_since", fails(LedgerUnavailable("statement timeout")))
    for _ in range(3):
        assert watch.tick()
    assert not taken.passes[-1][1] & {"dead_letter", "slower", "empty", "late"}
    assert {"paused", "failed", "lost"} <= taken.passes[-1][1]
    assert taken.emergencies == []


def test_a_watch_that_stands_still_is_not_well(made_app: MadeApp) -> None:
    app = made_app()
    watch = Watch(app, Taken())
    watch.tick()
    (vital,) = [each for each in vitals(app.steadybeat.settings, "watchdog") if "watch" in each.parts]
    until = vital.parts["watch"]
    assert until is not None
    assert "watch" in vital.silent(until + 1)
