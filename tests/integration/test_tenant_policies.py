"""Who has a run of a fan-out, and who is left out, with the reason on record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from steadybeat import eligible
from steadybeat.ledger.tenants import Tenants
from tests.integration.shop_of_tenants import TENANTS, Shop, counts
from tests.integration.working import working

ANN: dict[str, Any] = {"who": "ann", "reason": "chargeback"}


@pytest.fixture
def shop(ledger_url: str, redis_url: str) -> Iterator[Shop]:
    with working(ledger_url, redis_url, tenants=lambda: iter(TENANTS)) as work:
        shop = Shop(work)
        shop.tenants = eligible("digest")
        yield shop


@pytest.fixture
def tenants(shop: Shop) -> Tenants:
    return shop.work.ledger.tenants


def exclude(tenants: Tenants, *names: str, kind: str = "excluded", until: datetime | None = None) -> None:
    tenants.rule("digest", names, kind, **ANN, until=until)


def test_everybody_is_in_while_nobody_has_said_otherwise(shop: Shop) -> None:
    run = shop.fanned_out()
    assert shop.finish(run)["result"] == counts(succeeded=40)
    assert shop.work.skipped(run) == {}


def test_who_is_excluded_or_paused_is_skipped_and_the_reason_is_on_record(shop: Shop, tenants: Tenants) -> None:
    exclude(tenants, "t1", "t2")
    exclude(tenants, "t3", kind="paused")
    run = shop.fanned_out()
    assert shop.finish(run)["result"] == counts(succeeded=37, skipped=3)
    assert shop.work.skipped(run) == {
        "t1": ("excluded", "excluded by ann: chargeback"),
        "t2": ("excluded", "excluded by ann: chargeback"),
        "t3": ("paused", "paused by ann: chargeback"),
    }
    assert not {"t1", "t2", "t3"} & {*shop.work.done}


def test_rules_of_one_policy_are_none_of_another(shop: Shop, tenants: Tenants) -> None:
    tenants.rule("invoices", ["t1"], "excluded", **ANN, until=None)
    tenants.pause("invoices", **ANN)
    assert shop.finish(shop.fanned_out())["result"] == counts(succeeded=40)


def test_a_rule_ends_when_it_expires_or_is_cleared(shop: Shop, tenants: Tenants) -> None:
    exclude(tenants, "t1", until=datetime.now(UTC) - timedelta(seconds=1))
    exclude(tenants, "t2", until=datetime.now(UTC) + timedelta(hours=1))
    exclude(tenants, "t3")
    assert tenants.clear("digest", ["t3", "t4"], **ANN) == ["t3"]
    assert [rule.tenant for rule in tenants.rules("digest", 10)] == ["t2"]
    run = shop.fanned_out()
    assert [*shop.work.skipped(run)] == ["t2"]


def test_while_a_policy_is_paused_everybody_is_out_with_its_reason(shop: Shop, tenants: Tenants) -> None:
    tenants.pause("digest", **ANN)
    exclude(tenants, "t1", kind="enabled")
    run = shop.fanned_out()
    ended = shop.work.run(run)
    assert (ended["state"], ended["result"]) == ("succeeded", counts(skipped=40))
    assert {*shop.work.skipped(run).values()} == {("paused", "the policy is paused by ann: chargeback")}

    tenants.resume("digest", **ANN)
    assert shop.finish(shop.fanned_out())["result"] == counts(succeeded=40)


def test_a_roll_out_has_always_the_same_in_and_grows_by_others(shop: Shop, tenants: Tenants) -> None:
    names = [f"account-{number}" for number in range(1000)]
    inside: list[set[str]] = []
    for percent in (0, 10, 50, 50, 100):
        tenants.roll_out("digest", percent, **ANN)
        judged = tenants.judge("digest", names)
        inside.append({name for name, out in judged.items() if out is None})
    nobody, tenth, half, again, everybody = inside
    assert nobody < tenth < half == again < everybody == {*names}
    assert 70 < len(tenth) < 130
    assert 450 < len(half) < 550
    share = {name: int(hashlib.md5(f"digest:{name}".encode()).hexdigest()[:8], 16) / 2**32 for name in names}
    assert half == {name for name in names if share[name] < 0.5}


def test_who_is_not_in_the_roll_out_is_skipped_unless_enabled(shop: Shop, tenants: Tenants) -> None:
    tenants.roll_out("digest", 0, **ANN)
    exclude(tenants, "t1", kind="enabled")
    run = shop.fanned_out()
    assert shop.finish(run)["result"] == counts(succeeded=1, skipped=39)
    assert shop.work.done == ["t1"]
    assert {*shop.work.skipped(run).values()} == {("rollout", "not in the roll-out of 0 %")}


def test_who_is_out_by_now_loses_a_turn_that_has_not_come(shop: Shop, tenants: Tenants) -> None:
    run = shop.fanned_out()
    begun, waiting = shop.work.rows(run)[0].tenant, shop.work.rows(run)[20].tenant
    exclude(tenants, begun, waiting)
    assert tenants.withdraw("invoices") == 0
    assert tenants.withdraw("digest") == 1
    assert shop.finish(run)["result"] == counts(succeeded=39, cancelled=1)
    (row,) = [row for row in shop.work.rows(run) if row.state == "cancelled"]
    assert (row.tenant, row.reason) == (waiting, "excluded by ann: chargeback")


def test_an_attempt_that_is_made_again_asks_the_policy_again(shop: Shop, tenants: Tenants) -> None:
    asked: list[str] = []

    def twice() -> Iterator[str]:
        asked.append("once")
        yield from TENANTS
        if len(asked) == 1:
            exclude(tenants, "t1")
            tenants.clear("digest", ["t2"], **ANN)
            raise ValueError("the source broke")

    exclude(tenants, "t2")
    shop.tenants = eligible("digest", twice)
    run = shop.fanned_out()
    shop.work.forward(timedelta(minutes=5))
    shop.work.app.steadybeat.relay()
    shop.work.work("main")
    result = shop.finish(run)["result"]
    assert result["succeeded"] + result["skipped"] == 40
    assert "t2" in shop.work.done
    assert {*shop.work.done} | {*shop.work.skipped(run)} == {*TENANTS}
    assert not {*shop.work.done} & {*shop.work.skipped(run)}


def test_what_people_say_is_on_record(shop: Shop, tenants: Tenants) -> None:
    exclude(tenants, "t1")
    tenants.roll_out("digest", 25, **ANN)
    tenants.pause("digest", **ANN)
    tenants.resume("digest", **ANN)
    tenants.clear("digest", ["t1"], **ANN)
    done = [(each["what"], each["who"]) for each in reversed(shop.work.ledger.history.operations("digest", limit=10))]
    assert done == [(f"tenants {what}", "ann") for what in ("exclude", "rollout 25", "pause", "enable", "clear")]


def test_policies_are_listed_that_anybody_has_used_or_told_anything(shop: Shop, tenants: Tenants) -> None:
    assert tenants.policies() == []
    shop.fanned_out()
    tenants.roll_out("invoices", 25, **ANN)
    tenants.rule("notices", ["t1", "t2"], "paused", **ANN, until=None)
    listed = {each.name: (each.rollout_percent, each.paused_count, each.used_at is None) for each in tenants.policies()}
    assert listed == {"digest": (100, 0, False), "invoices": (25, 0, True), "notices": (100, 2, True)}
