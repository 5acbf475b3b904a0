"""Promise: what one of RedBeat's tools edits becomes an operator's change; what it deletes is written again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery.schedules import schedule
from redbeat import RedBeatSchedulerEntry

from steadybeat import every
from tests.acceptance.installation import Shop
from tests.acceptance.project.timetable import CHARGE, TICK
from tests.eventually import eventually

SCHEDULES = ("tick", "charge", "count")


@pytest.fixture
def since(shop: Shop) -> datetime:
    """Since when fires count, once Beats and a worker are at work and every schedule is in RedBeat's keys."""
    nodes = [shop.worker(), shop.beat(), shop.beat()]
    since = shop.deploy(*SCHEDULES)
    assert all(node.ready() for node in nodes)
    eventually(lambda: all(shop.redis.exists(f"redbeat:{name}") for name in SCHEDULES))
    eventually(lambda: shop.fired("count", since))
    return since


def edit(shop: Shop, name: str, change: Callable[[Any], Any]) -> int:
    """Edit an entry as RedBeat documents it, once; return the revision under which the ledger has it then."""
    before = ledgers(shop, name)
    entry = RedBeatSchedulerEntry.from_key(f"redbeat:{name}", app=shop.caller)
    change(entry)
    entry.save()
    eventually(lambda: ledgers(shop, name).revision > before.revision)
    eventually(lambda: revision_in_redis(shop, name) == ledgers(shop, name).revision)
    return int(ledgers(shop, name).revision)


def ledgers(shop: Shop, name: str) -> Any:
    return shop.rows("SELECT * FROM steadybeat.schedules WHERE name = :name", name=name)[0]


def revision_in_redis(shop: Shop, name: str) -> int:
    return int(shop.redis.hget(f"redbeat:{name}", "steadybeat_revision") or 0)


def test_an_edited_rule_and_edited_arguments_are_an_operators_and_survive_a_deploy(shop: Shop, since: datetime) -> None:
    def rule(entry: Any) -> None:
        entry.schedule = schedule(timedelta(seconds=3))

    def arguments(entry: Any) -> None:
        entry.args = ["recount"]

    edit(shop, "charge", rule)
    edit(shop, "count", arguments)
    edited = datetime.now(UTC)
    shop.deploy(*SCHEDULES)
    restarted = shop.beat()
    assert restarted.ready()

    eventually(lambda: len(shop.fired("charge", edited)) >= 3 and len(shop.fired("recount", edited)) >= 2)
    assert [ledgers(shop, name).source for name in SCHEDULES] == ["code", "operator", "operator"]
    assert not shop.fired("count", edited)
    changes = shop.rows("SELECT who, what, target FROM steadybeat.operations ORDER BY at")
    assert [*map(tuple, changes)] == [("redbeat", "schedules put", name) for name in ("charge", "count")]
    three = every(timedelta(seconds=3))
    had = shop.fired("charge", edited)
    assert had == list(three.between(edited, had[-1]))
    shop.keeps_its_promise({"tick": TICK}, since)


def test_a_disabled_entry_is_a_paused_schedule_until_it_is_enabled_again(shop: Shop, since: datetime) -> None:
    def enabled(value: bool) -> Callable[[Any], None]:
        return lambda entry: setattr(entry, "enabled", value)

    edit(shop, "charge", enabled(False))
    paused_at = ledgers(shop, "charge").paused_at
    assert paused_at is not None
    shop.deploy(*SCHEDULES)
    eventually(lambda: [fire.cause for fire in shop.fires("charge", paused_at)].count("paused") >= 2)
    assert not shop.fired("charge", paused_at)

    edit(shop, "charge", enabled(True))
    resumed = ledgers(shop, "charge")
    assert resumed.paused_at is None
    eventually(lambda: shop.fired("charge", paused_at))
    assert shop.fired("charge", paused_at)[0] > resumed.updated_at - timedelta(seconds=1)  # it fires every two
    shop.keeps_its_promise({"tick": TICK}, since)


def test_an_entry_that_is_deleted_in_redis_is_written_again_and_never_stops(shop: Shop, since: datetime) -> None:
    before = ledgers(shop, "charge")
    RedBeatSchedulerEntry.from_key("redbeat:charge", app=shop.caller).delete()
    assert not shop.redis.exists("redbeat:charge")

    eventually(lambda: revision_in_redis(shop, "charge") == before.revision)
    eventually(lambda: b"redbeat:charge" in shop.redis.zrange("redbeat::schedule", 0, -1))
    now = datetime.now(UTC)
    eventually(lambda: len(shop.fired("charge", now)) >= 2)
    after = ledgers(shop, "charge")
    assert (after.revision, after.retired_at, after.source) == (before.revision, None, "code")
    shop.keeps_its_promise({"tick": TICK, "charge": CHARGE}, since)
