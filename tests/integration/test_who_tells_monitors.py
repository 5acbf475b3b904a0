"""Promise: whoever sees what becomes of a scheduled run tells its monitor: Beat, rescue, relay, a claim, a fan-out."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from steadybeat import every
from steadybeat.delivery import Rescuer
from steadybeat.ledger.connection import sql
from steadybeat.telemetry import heartbeats
from steadybeat.telemetry.heartbeats import Heartbeat
from tests.integration.playing import app_of, declare, played
from tests.integration.records import claim, new_run, recorded
from tests.integration.shop_of_tenants import TENANTS, Shop
from tests.integration.working import Work, working

PAY = "shop.orders.pay"
AT = datetime(2026, 1, 1, tzinfo=UTC)
FIRE = {"steadybeat_schedule": "settle", "steadybeat_scheduled_for": AT.isoformat()}
_CRASHED = sql("UPDATE steadybeat.runs SET crash_count = CAST(:count AS integer)")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Heartbeat]:
    """What monitors would be told, by whatever app of this process."""
    found: list[Heartbeat] = []
    monkeypatch.setattr(heartbeats.Sender, "tell", lambda _sender, heartbeat: found.append(heartbeat))
    return found


@pytest.fixture
def work(ledger_url: str, redis_url: str, told: list[Heartbeat]) -> Iterator[Work]:
    with working(ledger_url, redis_url) as work:
        yield work


def events(told: list[Heartbeat]) -> list[str]:
    return [each.event for each in told]


def test_a_beat_tells_why_a_fire_has_no_run(
    ledger_url: str, redis_url: str, tmp_path: Path, told: list[Heartbeat]
) -> None:
    app = app_of("shop", ledger_url, redis_url, tmp_path)
    declare(app, PAY, schedule=every(timedelta(minutes=1)))
    with played(app, redis_url) as play:
        play.apply()
        play.tick()
        play.ledger.interventions.pause(PAY, who="ann", reason="the bank is away")
        play.tick(timedelta(minutes=1))
        assert events(told) == ["log"]
        assert told[0].schedule == PAY
        assert "skipped: " in told[0].text
        assert "the bank is away" in told[0].text


@pytest.mark.parametrize(("crashes", "event", "said"), [(0, "log", "its worker was lost"), (2, "fail", "3 times")])
def test_a_rescue_tells_what_becomes_of_a_run_whose_worker_is_gone(
    work: Work, told: list[Heartbeat], crashes: int, event: str, said: str
) -> None:
    run = recorded(work.ledger, schedule="settle", scheduled_for=AT)
    assert claim(work.ledger, run, str(uuid.uuid4())).verdict == "claimed"
    work.ledger.database.execute(_CRASHED, {"count": crashes})
    now = [0.0]
    rescuer = Rescuer(work.app, lambda: now[0])
    for now[0] in range(1, 18):
        rescuer()
    assert events(told) == [event]
    assert (told[0].schedule, told[0].run) == ("settle", run.id)
    assert said in told[0].text


def test_the_relay_tells_of_a_run_whose_message_can_never_be_sent(work: Work, told: list[Heartbeat]) -> None:
    message = {"headers": {"steadybeat_schedule": "settle"}, "properties": {"delivery_info": 5}}
    for _ in range(2):
        run = new_run(message=message, body="[[], {}, {}]", schedule="settle", scheduled_for=AT, not_before=AT)
        work.ledger.runs.record(run, outbox_reason="delayed")
        message = {"headers": 5, "properties": {}}  # whose schedule only the run's row says
    work.app.steadybeat.relay()
    assert events(told) == ["fail", "fail"]
    assert {each.schedule for each in told} == {"settle"}
    assert all("cannot be sent" in each.text for each in told)


@pytest.fixture
def shop(work: Work) -> Shop:
    return Shop(work)


def sent(shop: Shop, task: Any, **headers: str) -> str:
    return str(task.apply_async(headers={**FIRE, **headers}).id)


def test_an_attempt_tells_when_it_begins_and_a_claim_that_turns_a_dead_run_away_why(
    shop: Shop, told: list[Heartbeat]
) -> None:
    declare(shop.work.app, "shop.plain.nothing")
    nothing = shop.work.app.tasks["shop.plain.nothing"]
    run = sent(shop, nothing)
    shop.work.work("plain")
    assert [(each.event, each.run) for each in told] == [("start", run), ("success", run)]
    told.clear()
    sent(shop, nothing, steadybeat_scheduled_for=(AT + timedelta(days=1)).isoformat())
    shop.work.ledger.database.execute(_CRASHED, {"count": 3})
    shop.work.work("plain")
    assert events(told) == ["fail"]
    assert "workers died under it" in told[0].text


def test_a_backfill_tells_nothing(shop: Shop, told: list[Heartbeat]) -> None:
    declare(shop.work.app, "shop.plain.nothing")
    sent(shop, shop.work.app.tasks["shop.plain.nothing"], steadybeat_asked="backfill")
    shop.work.work("plain")
    assert not told


def test_a_fan_out_has_succeeded_when_its_last_tenant_has_ended(shop: Shop, told: list[Heartbeat]) -> None:
    run = sent(shop, shop.everybody)
    shop.work.work("main")
    assert events(told) == ["start", "log"]
    shop.work.work("mail")
    assert events(told) == ["start", "log", "success"]
    assert {each.run for each in told} == {run}
    assert told[-1].items_count == len(TENANTS)
