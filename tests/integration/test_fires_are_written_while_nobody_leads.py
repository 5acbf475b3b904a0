"""Promise: what the watchdog writes ahead while nobody leads is decided by the next leader as if it had written it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from steadybeat import cron
from steadybeat.beat import Expecting
from tests.integration.playing import Play, app_of, declare, played

OUTAGE = timedelta(minutes=5)
LONG = timedelta(minutes=1)


def outage(play: Play, *, written: bool) -> None:
    """Nobody leads for five minutes; the watchdog writes fires ahead meanwhile, or does not."""
    play.tick()
    play.leader = None
    watchdog = Expecting(play.app, play.clock)
    for _ in range(int(OUTAGE / LONG)):
        play.clock.now += LONG
        if written:
            watchdog(LONG)


@pytest.mark.parametrize("catch_up", ["latest", "all", "none"])
def test_a_leader_that_comes_back_decides_the_same_of_what_was_written_without_it(
    new_database: Callable[[str | None], str], ledger_template: str, redis_url: str, tmp_path: Path, catch_up: str
) -> None:
    became: list[dict[datetime, str]] = []
    for written in (False, True):
        url = new_database(ledger_template)
        app = app_of("shop", url, redis_url, tmp_path)
        declare(app, "shop.orders.tick", schedule=cron("* * * * *", tz="UTC"), catch_up=catch_up, overlap="allow")
        with played(app, redis_url) as play:
            play.apply()
            outage(play, written=written)
            assert len(due(play)) == (5 if written else 1)
            play.tick()
            became.append(play.fires("shop.orders.tick"))
    first, second = ({at.minute - min(each).minute: state for at, state in each.items()} for each in became)
    assert first == second
    assert len(first) == 5


def test_a_leader_that_comes_back_finds_nothing_sent(ledger_url: str, redis_url: str, tmp_path: Path) -> None:
    app = app_of("shop", ledger_url, redis_url, tmp_path)
    declare(app, "shop.orders.tick", schedule=cron("* * * * *", tz="UTC"))
    with played(app, redis_url) as play:
        play.apply()
        outage(play, written=True)
        assert play.on("orders") == 0
        assert {fire.state for fire in due(play)} == {"expected"}


def test_a_schedule_that_changes_meanwhile_is_expected_as_it_is_by_then(
    ledger_url: str, redis_url: str, tmp_path: Path
) -> None:
    app = app_of("shop", ledger_url, redis_url, tmp_path)
    declare(app, "shop.orders.tick", schedule=cron("* * * * *", tz="UTC"))
    with played(app, redis_url) as play:
        play.apply()
        play.tick()
        play.leader = None
        watchdog = Expecting(app, play.clock)
        watchdog(LONG)
        play.ledger.interventions.pause("shop.orders.tick", who="me", reason="so")
        play.clock.now += OUTAGE
        watchdog(LONG)
        play.tick()
        assert set(play.fires("shop.orders.tick").values()) <= {"skipped", "superseded", "missed"}
        assert play.on("orders") == 0


def due(play: Play) -> list[Any]:
    return play.ledger.fires.due(play.clock.now, 100)
