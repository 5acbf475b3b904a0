"""A Beat executes what the ledger has, whether its own code knows it or not."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
import sqlalchemy as sa
from celery import Celery
from celery.beat import Service
from celery.schedules import schedule
from redbeat import RedBeatSchedulerEntry
from redbeat.schedulers import REDBEAT_REDIS_KEY, RedBeatScheduler

import steadybeat
from steadybeat import every
from steadybeat.beat import SteadyScheduler, definitions
from steadybeat.telemetry.logs import line_of
from tests.eventually import eventually


def tick(scheduler: SteadyScheduler) -> bool:
    scheduler.tick()
    return True


def app_of(name: str, database_url: str, redis_url: str, folder: Path) -> Any:
    app: Any = Celery(name, set_as_current=False)
    app.conf.update(
        steadybeat_database_url=database_url, steadybeat_redis_url=redis_url, steadybeat_health_folder=str(folder)
    )
    steadybeat.install(app)
    return app


@pytest.fixture
def older(ledger_url: str, redis_url: str, tmp_path: Path) -> Iterator[Any]:
    """A release that knows no service at all, after a newer one has applied the schedule of a service."""
    newer, older = (app_of(name, ledger_url, redis_url, tmp_path) for name in ("newer", "older"))

    @newer.task(name="shop.parcels.track", schedule=every(timedelta(seconds=1)), shared=False)
    def track() -> None: ...

    newer.steadybeat.ledger.schedules.apply(definitions(newer), newer.steadybeat.own_services())
    yield older
    for app in (newer, older):
        app.steadybeat.ledger.database.close()
        app.close()


def test_a_beat_sends_to_a_service_that_a_newer_release_has_brought_in(older: Any, redis_url: str) -> None:
    scheduler = SteadyScheduler(older, lazy=True)
    with redis_client.Redis.from_url(redis_url) as client:
        try:
            eventually(lambda: tick(scheduler) and client.llen("parcels"))
        finally:
            scheduler.close()


def test_a_beat_says_whose_run_it_has_sent_and_for_which_fire(
    older: Any, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "steadybeat.beat.leading")
    test_a_beat_sends_to_a_service_that_a_newer_release_has_brought_in(older, redis_url)
    said = line_of(next(record for record in caplog.records if record.msg == "fire dispatched"))
    run = older.steadybeat.ledger.story.run(said["run_id"])
    assert (said["task"], said["service"], said["schedule"]) == (run["task"], "parcels", "shop.parcels.track")
    assert said["correlation_id"] == run["correlation_id"] == said["run_id"].replace("-", "")
    assert said["scheduled_for"] == run["scheduled_for"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_a_beat_without_a_time_zone_of_its_own_leads_all_the_same(older: Any, redis_url: str) -> None:
    older.conf.update(enable_utc=False, timezone=None)
    test_a_beat_sends_to_a_service_that_a_newer_release_has_brought_in(older, redis_url)


def test_what_is_saved_with_redbeats_tools_while_a_beat_leads_is_named_once(
    older: Any, caplog: pytest.LogCaptureFixture
) -> None:
    RedBeatSchedulerEntry("customer-42", "shop.parcels.track", schedule(60), app=older).save()

    def warnings() -> list[str]:
        return [record.schedule for record in caplog.records if "is not executed" in record.getMessage()]

    scheduler = SteadyScheduler(older, lazy=True)
    try:
        eventually(lambda: tick(scheduler) and warnings())
        learner = scheduler._leader._learner
        learner._looked.clear()
        scheduler.tick()
        with redis_away(older):
            learner._warn_of_strangers()
        learner._warn_of_strangers()
    finally:
        scheduler.close()
    assert warnings() == ["customer-42"]


@contextmanager
def redis_away(app: Any) -> Iterator[None]:
    """RedBeat's tools and the projection find no Redis; Beats hold their lock with a client of their own."""
    known = getattr(app, REDBEAT_REDIS_KEY)
    with redis_client.Redis(port=1) as nobody:
        setattr(app, REDBEAT_REDIS_KEY, nobody)
        try:
            yield
        finally:
            setattr(app, REDBEAT_REDIS_KEY, known)


def test_a_schedule_that_somebody_is_editing_keeps_the_others_from_nothing(older: Any, redis_url: str) -> None:
    ledger = older.steadybeat.ledger
    scheduler = SteadyScheduler(older, lazy=True)
    with redis_client.Redis.from_url(redis_url) as client:
        try:
            eventually(lambda: tick(scheduler) and client.llen("parcels"))
            with ledger.database.transaction() as connection:
                ledger.interventions.pause("shop.parcels.track", who="ann", reason="a look", connection=connection)
                put_by_another_hand(ledger, "beside")
                eventually(lambda: tick(scheduler) and ledger.story.nearest_fires("beside", datetime.now(UTC)))
                assert not scheduler._troubled
            eventually(lambda: tick(scheduler) and "skipped" in states(ledger, "shop.parcels.track"))
        finally:
            scheduler.close()


def put_by_another_hand(ledger: Any, name: str) -> None:
    found = next(row for row in ledger.schedules.all() if row.name == "shop.parcels.track")
    ledger.interventions.put(replace(found, name=name), who="bob", reason="another")


def states(ledger: Any, schedule: str) -> set[str]:
    found = ledger.database.execute(sa.text("SELECT state FROM steadybeat.fires WHERE schedule = :s"), {"s": schedule})
    return {row.state for row in found}


def test_sentry_flower_and_celery_see_a_fire_as_beats_own(
    older: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    older.conf.task_send_sent_event = True
    asked: list[tuple[Any, ...]] = []
    theirs = RedBeatScheduler.apply_async

    def as_sentry_does(*args: Any, **kwargs: Any) -> Any:
        asked.append(args)
        return theirs(*args, **kwargs)

    monkeypatch.setattr(RedBeatScheduler, "apply_async", as_sentry_does)
    scheduler = SteadyScheduler(older, lazy=True)
    with redis_client.Redis.from_url(redis_url) as client, client.pubsub() as events:
        events.psubscribe("*celeryev*")
        try:
            eventually(lambda: tick(scheduler) and client.llen("parcels"))
            headers = json.loads(client.lindex("parcels", -1))["headers"]
            sent = eventually(lambda: [each for each in [events.get_message()] if each and each["type"] == "pmessage"])
        finally:
            scheduler.close()
    assert (headers["periodic_task_name"], headers["celery_beat_task"]) == ("shop.parcels.track", True)
    assert [(each[0] is scheduler, each[1].name) for each in asked[:1]] == [(True, "shop.parcels.track")]
    assert b'"task.sent"' in sent[0]["data"]


def test_a_beat_that_is_told_to_stop_finishes_its_tick_and_gives_the_lock_back_once(
    older: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(older, scheduler_cls=SteadyScheduler, remote_control=False)
    held: list[bool] = []

    def stopped_meanwhile() -> None:
        signal.raise_signal(signal.SIGTERM)
        with redis_client.Redis.from_url(redis_url) as client:
            held.append(bool(client.exists(service.scheduler.lock_key)))

    monkeypatch.setattr(older.steadybeat, "rescue", stopped_meanwhile)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        service.start()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert held == [True]
    with redis_client.Redis.from_url(redis_url) as client:
        assert not client.exists(service.scheduler.lock_key)
