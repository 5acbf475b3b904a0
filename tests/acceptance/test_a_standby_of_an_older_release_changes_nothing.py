"""Promise: a Beat whose code has other schedules than were deployed changes no schedule and no fire."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tests.acceptance.installation import Shop
from tests.acceptance.nodes import BeatNode
from tests.acceptance.project.timetable import CHARGE, TICK
from tests.eventually import eventually


def test_a_beat_of_an_older_release_changes_nothing_standing_by_or_leading(shop: Shop) -> None:
    worker, leader = shop.worker(), shop.beat()
    since = shop.deploy("tick", "charge")
    assert worker.ready()
    assert leader.ready()
    eventually(lambda: shop.fired("tick", since) and shop.fired("charge", since))
    eventually(lambda: len(projected(shop)) == 3)
    schedules, keys = defined(shop), projected(shop)

    older = shop.beat(SHOP_SCHEDULES="tick audit")
    eventually(lambda: has_ticked(shop, older))
    older.assert_log_exists("code differs from the ledger")
    assert leader.leads
    assert not older.leads
    assert defined(shop) == schedules
    assert projected(shop) == keys

    leader.kill("SIGKILL")
    eventually(lambda: older.leads)
    charges = len(shop.fired("charge", since))
    eventually(lambda: len(shop.fired("charge", since)) > charges)
    assert defined(shop) == schedules
    assert projected(shop) == keys
    assert not superseded(shop, since)
    shop.keeps_its_promise({"tick": TICK, "charge": CHARGE}, since)
    assert not shop.effects("audit")


def has_ticked(shop: Shop, beat: BeatNode) -> bool:
    """Whether a Beat has been at work for some ticks: time enough to change what it would change."""
    return bool(
        shop.rows(
            "SELECT id FROM steadybeat.instances WHERE pid = :pid AND expires_at > started_at + interval '5 seconds'",
            pid=beat.pid,
        )
    )


def defined(shop: Shop) -> list[Any]:
    """Every schedule, but for its watermark, which the leader moves."""
    return shop.rows(
        "SELECT name, task, service, spec, policies, source, revision, generation, retired_at, updated_at"
        " FROM steadybeat.schedules ORDER BY name"
    )


def projected(shop: Shop) -> dict[bytes, Any]:
    """RedBeat's keys, but for when schedules fire, which the leader writes."""
    keys = shop.redis.zrange("redbeat::schedule", 0, -1)
    entries = {key: shop.redis.hmget(key, "definition", "steadybeat_revision", "steadybeat_spec") for key in keys}
    return entries | {b"redbeat::schedule": sorted(keys)}


def superseded(shop: Shop, since: datetime) -> list[Any]:
    return shop.rows(
        "SELECT * FROM steadybeat.fires WHERE scheduled_for > :since AND state = 'superseded'", since=since
    )
