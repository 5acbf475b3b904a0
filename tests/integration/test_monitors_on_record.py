"""Promise: how monitors stand is on record, and the platform's own hears each minute that all goes on, or nothing."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery

import steadybeat
from steadybeat import cron
from steadybeat.beat import definitions
from steadybeat.errors import LedgerUnavailable
from steadybeat.ledger import Ledger
from steadybeat.ledger.connection import sql
from steadybeat.ledger.monitors import Moving, Noted
from steadybeat.settings import Settings
from steadybeat.telemetry import heartbeats
from steadybeat.watchdog import Watchdog
from steadybeat.watchdog.heartbeat import NAME, PlatformHeartbeat
from tests.eventually import eventually
from tests.receivers.healthchecks import Healthchecks

NOW = datetime(2026, 6, 1, 6, tzinfo=UTC)
_A_MINUTE_LATER = sql("UPDATE steadybeat.duties SET done_at = done_at - interval '61 seconds'")
_LEADER_FELL_SILENT = sql("UPDATE steadybeat.leaderships SET renewed_at = renewed_at - interval '1 hour'")
_OVERDUE = sql("""
    INSERT INTO steadybeat.outbox (publish_at, run, delivery_no, reason)
    VALUES (clock_timestamp() - interval '2 minutes', gen_random_uuid(), 1, 'retry')
""")


@pytest.fixture
def hc() -> Iterator[Healthchecks]:
    with Healthchecks() as server:
        yield server


@pytest.fixture
def app(ledger_url: str, redis_url: str, hc: Healthchecks) -> Iterator[Any]:
    app = Celery("shop", set_as_current=False)
    platform = f"healthchecks+{hc.url}/{hc.check('platform').code}"
    app.conf.update(
        steadybeat_database_url=ledger_url,
        steadybeat_redis_url=redis_url,
        steadybeat_platform_heartbeat_url=platform,
        steadybeat_heartbeat_url=hc.of_all,
    )
    steadybeat.install(app)

    @app.task(name="shop.mail.digest", schedule=cron("0 6 * * *"), time_limit=90, soft_time_limit=60, shared=False)
    def digest() -> None: ...

    yield app
    app.steadybeat.ledger.database.close()
    app.close()


def leads(ledger: Ledger) -> None:
    ledger.leaderships.renew(ledger.fires.next_term(), instance=str(uuid.uuid4()), host="here")


def test_a_monitor_is_failing_since_the_first_heartbeat_that_it_did_not_take(ledger: Ledger) -> None:
    minute, book = timedelta(minutes=1), ledger.monitors
    book.note(Noted(name="digest", kind="cronitor", error=None, at=NOW))
    book.note(Noted(name="digest", kind="cronitor", error="answered 500", at=NOW + minute))
    book.note(Noted(name="digest", kind="cronitor", error="refuses connections", at=NOW + 2 * minute))
    (row,) = book.all()
    assert (row.sent_at, row.failing_since, row.failure_count) == (NOW, NOW + minute, 2)
    assert row.error == "refuses connections"
    book.note(Noted(name="digest", kind="cronitor", error=None, at=NOW + 3 * minute))
    (row,) = book.all()
    assert (row.sent_at, row.failing_since, row.failure_count, row.error) == (NOW + 3 * minute, None, 0, None)


def test_what_is_older_than_what_is_on_record_changes_nothing(ledger: Ledger) -> None:
    ledger.monitors.note(Noted(name="digest", kind="cronitor", error=None, at=NOW))
    ledger.monitors.note(Noted(name="digest", kind="cronitor", error="answered 500", at=NOW - timedelta(seconds=1)))
    assert ledger.monitors.all()[0].failing_since is None


def test_only_monitors_that_are_still_wanted_count_as_failing(app: Any) -> None:
    book = Ledger.of(app)
    book.schedules.apply(definitions(app), ["mail"])
    for name in ("shop.mail.digest", "gone", NAME):
        book.monitors.note(Noted(name=name, kind="healthchecks", error="answered 500", at=NOW))
    assert [row.name for row in book.monitors.failing()] == [NAME, "shop.mail.digest"]
    nobody = Ledger(Settings(database_url=book.settings.database_url))
    assert nobody.monitors.failing() == []
    nobody.database.close()


def test_what_a_monitor_was_told_is_kept_beside_how_it_stands(ledger: Ledger) -> None:
    ledger.monitors.synced("digest", kind="healthchecks", told={"grace": 60})
    ledger.monitors.note(Noted(name="digest", kind="healthchecks", error=None, at=NOW))
    (row,) = ledger.monitors.all()
    assert (row.synced, row.sent_at) == ({"grace": 60}, NOW)
    assert row.synced_at is not None


def test_a_sender_knows_a_schedule_as_the_ledger_has_it(app: Any) -> None:
    book = Ledger.of(app)
    book.schedules.apply(definitions(app), ["mail"])
    found = app.steadybeat.heartbeats.setup.schedules(["shop.mail.digest", "gone"])
    assert {*found} == {"shop.mail.digest"}
    assert found["shop.mail.digest"].spec["expression"] == "0 6 * * *"
    assert found["shop.mail.digest"].time_limit_seconds == 600  # nobody has said what its task is
    note = heartbeats.Note(name="shop.mail.digest", kind="healthchecks", error="", at=NOW)
    app.steadybeat.heartbeats.setup.note([note])
    assert book.monitors.all()[0].sent_at == NOW


# The platform's own


def test_the_platforms_monitor_hears_each_minute_that_all_goes_on(app: Any, hc: Healthchecks) -> None:
    book, check, now = Ledger.of(app), hc.check("platform"), [0.0]
    one, other = PlatformHeartbeat(app, lambda: now[0]), PlatformHeartbeat(app, lambda: now[0])
    leads(book)
    for _ in range(3):
        one()
        other()
        now[0] += 10
    book.database.execute(_A_MINUTE_LATER)
    other()
    eventually(lambda: len(check.pings) == 2)
    assert check.actions == ["success", "success"]
    assert eventually(book.monitors.all)[0].name == NAME


@pytest.mark.parametrize(
    ("break_it", "said"),
    [(None, "no Beat leads"), (_LEADER_FELL_SILENT, "has been silent for 3"), (_OVERDUE, "the relay stands still")],
)
def test_it_hears_once_what_stands_still_and_then_nothing(app: Any, hc: Healthchecks, break_it: Any, said: str) -> None:
    book, check, now = Ledger.of(app), hc.check("platform"), [0.0]
    heartbeat = PlatformHeartbeat(app, lambda: now[0])
    if break_it is not None:
        leads(book)
        book.database.execute(break_it)
    for _ in range(5):
        heartbeat()
        now[0] += 10
        book.database.execute(_A_MINUTE_LATER)
    eventually(lambda: check.pings)
    book.database.execute(sql("DELETE FROM steadybeat.outbox"))
    leads(book)
    heartbeat()
    eventually(lambda: len(check.pings) == 2)
    assert check.actions == ["fail", "success"]
    assert said in check.pings[0].body


def test_what_could_say_nothing_while_the_ledger_was_away_does_not_stand_still(app: Any, hc: Healthchecks) -> None:
    book, check, now = Ledger.of(app), hc.check("platform"), [0.0]
    heartbeat = PlatformHeartbeat(app, lambda: now[0])
    leads(book)
    heartbeat()
    for away in (heartbeat.ledger_away, lambda: now.append(now.pop() + 20)):
        book.database.execute(_LEADER_FELL_SILENT)
        book.database.execute(_A_MINUTE_LATER)
        away()
        for _ in range(2):
            now[0] += 7
            heartbeat()
        leads(book)
        now[0] += 7
        heartbeat()
    eventually(lambda: len(check.pings) == 3)
    assert check.actions == ["success"] * 3


def test_a_watchdog_is_who_tells_it(app: Any, hc: Healthchecks) -> None:
    leads(Ledger.of(app))
    watchdog = Watchdog(app)
    for _ in range(2):
        watchdog.tick()
    eventually(lambda: hc.check("platform").actions == ["success"])


def test_it_hears_nothing_while_the_ledger_is_away(app: Any, hc: Healthchecks, monkeypatch: pytest.MonkeyPatch) -> None:
    heartbeat = PlatformHeartbeat(app)

    def away() -> Moving:
        raise LedgerUnavailable("nobody answers")

    monkeypatch.setattr(app.steadybeat.ledger.monitors, "platform", away)
    with pytest.raises(LedgerUnavailable):
        heartbeat()
    assert not hc.asked
