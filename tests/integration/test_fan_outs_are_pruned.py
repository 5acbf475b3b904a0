"""What is forgotten of a fan-out, and when."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from steadybeat import Permanent, eligible
from tests.integration.shop_of_tenants import TENANTS, Shop, counts
from tests.integration.working import working

ANN = {"who": "ann", "reason": "the bank is back"}
LONG_AGO = (
    "UPDATE steadybeat.runs SET finished_at = finished_at - interval '90 days'",
    "UPDATE steadybeat.fan_outs SET ended_at = ended_at - interval '90 days'",
)


@pytest.fixture
def shop(ledger_url: str, redis_url: str) -> Iterator[Shop]:
    with working(ledger_url, redis_url) as work:
        yield Shop(work)


def pruned(shop: Shop) -> dict[str, int]:
    """Forget what may be, long after everything has ended."""
    for statement in LONG_AGO:
        shop.work.ledger.database.execute(sa.text(statement))
    return shop.work.ledger.prune()


def test_it_is_forgotten_once_the_last_of_its_runs_is(shop: Shop) -> None:
    shop.work.ledger.tenants.rule("digest", ["t1"], "excluded", **ANN, until=None)
    shop.tenants = eligible("digest", TENANTS)
    shop.errors = {"t2": Permanent("no")}
    run = shop.fanned_out()
    shop.finish(run)
    deleted = pruned(shop)
    assert (deleted["skipped_tenants"], deleted["fan_outs"]) == (0, 0)
    assert shop.work.tenants(run) == {"t2": "dead"}
    assert shop.work.run(run)["state"] == "succeeded"

    shop.work.ledger.dead.discard([str(shop.work.rows(run)[0].id)], **ANN)
    pruned(shop)
    deleted = pruned(shop)
    assert shop.work.run(run) is None
    assert (deleted["skipped_tenants"], deleted["fan_outs"]) == (1, 1)


@pytest.mark.parametrize("served", [True, False])
def test_a_tenant_that_is_requeued_when_the_others_are_forgotten_is_not_all_of_them(shop: Shop, served: bool) -> None:
    shop.errors = {"t2": Permanent("no")}
    run = shop.fanned_out()
    shop.finish(run)
    pruned(shop)
    shop.errors = {} if served else shop.errors
    shop.work.ledger.dead.requeue([str(shop.work.rows(run)[0].id)], **ANN)
    shop.work.app.steadybeat.fan_outs()
    ended = shop.finish(run)
    found = counts(succeeded=1) if served else counts(failed=1)
    assert (ended["state"], ended["result"]) == ("succeeded", {**found, "pruned": 39})


def test_one_whose_own_run_is_not_there_is_wound_down_and_ends(shop: Shop) -> None:
    shop.options["concurrency"] = 1
    run = shop.fanned_out()
    shop.work.ledger.database.execute(
        sa.text("DELETE FROM steadybeat.runs WHERE id = CAST(:run AS uuid) RETURNING id"), {"run": run}
    )
    shop.work.app.steadybeat.fan_outs()
    assert set(shop.work.tenants(run).values()) == {"cancelled"}
    assert {row.reason for row in shop.work.rows(run)} == {"the fan-out was given up: its own run has ended without it"}
    assert shop.work.ledger.fan_outs.whole(run).ended_at is not None
