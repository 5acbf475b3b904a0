"""Promise: deploys forwards and backwards lose and double no fire, and leave what a person has changed as it is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from steadybeat import every
from steadybeat.ledger.rows import ScheduleRow
from tests.acceptance.installation import Shop
from tests.acceptance.nodes import BeatNode
from tests.acceptance.project.timetable import AUDIT, CHARGE, TICK
from tests.eventually import eventually

FIRST = ("tick", "audit", "charge", "count")
SECOND = ("tick", "audit:often", "charge", "count:often", "stock")
EDITED = every(timedelta(seconds=4))


def test_no_fire_is_lost_in_a_deploy_and_its_rollback_and_an_operators_changes_stay(shop: Shop) -> None:
    worker, beats = shop.worker(), [shop.beat(), shop.beat()]
    since = shop.deploy(*FIRST)
    assert all(node.ready() for node in (worker, *beats))
    eventually(lambda: len(shop.fired("audit", since)) >= 2 and shop.fired("charge", since))
    by = {"who": "ann", "reason": "stocktaking"}
    assert shop.interventions.pause("charge", **by)
    assert shop.interventions.put(replace(row(shop, "count"), spec=EDITED.to_json()), **by).verb == "changed"
    changed = datetime.now(UTC)

    forwards = rolled_out(shop, beats, *SECOND)
    eventually(lambda: len(shop.fired("audit", forwards[1])) >= 3 and shop.fired("stock", forwards[1]))
    backwards = rolled_out(shop, beats, *FIRST)
    eventually(lambda: len(shop.fired("audit", backwards[1])) >= 3 and len(shop.fired("count", changed)) >= 2)

    assert row(shop, "charge").paused_by == "ann"
    assert row(shop, "count").source == "operator"
    shop.keeps_its_promise({"tick": TICK}, since)
    for name, rule, start, end in (
        ("audit", AUDIT, since, forwards[0]),
        ("audit", TICK, forwards[1], backwards[0]),
        ("audit", AUDIT, backwards[1], shop.fired("audit", since)[-1]),
        ("count", EDITED, changed, shop.fired("count", since)[-1]),
        ("stock", CHARGE, forwards[1], shop.fired("stock", since)[-1]),
    ):
        assert effects(shop, name, start, end) == list(rule.between(start, end)), (name, start, end)
    assert not shop.fired("charge", changed)
    assert not shop.fired("stock", backwards[1])
    for name in (*FIRST, "stock"):
        had = shop.fired(name, since)
        assert len({*had}) == len(had), f"{name}: doubled: {had}"


def rolled_out(shop: Shop, beats: list[BeatNode], *schedules: str) -> tuple[datetime, datetime]:
    """Deploy a release and replace the Beats by its own, one at a time; return when it was applied, at the least and
    at the most."""
    before = datetime.now(UTC)
    after = shop.deploy(*schedules)
    for number, old in enumerate(beats):
        old.container.process.stop()
        beats[number] = shop.beat()
        assert beats[number].ready()
        new = (node for node in beats[: number + 1])
        assert not any(node.said("code differs from the ledger: `schedules apply` would change it") for node in new)
    shop.leader()
    return before, after


def row(shop: Shop, name: str) -> ScheduleRow:
    return next(each for each in shop.caller.steadybeat.ledger.schedules.all() if each.name == name)


def effects(shop: Shop, name: str, start: datetime, end: datetime) -> list[datetime]:
    return [at for at in shop.fired(name, start) if at <= end]
