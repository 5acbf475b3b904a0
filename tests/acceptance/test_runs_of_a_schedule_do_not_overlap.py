"""Promise: a fire that is due while an earlier run goes on does what the schedule's overlap policy says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.acceptance.installation import Shop
from tests.eventually import eventually

ASKED_FOR = datetime(2025, 1, 1, tzinfo=UTC)
DISPATCHED, WAITING, SKIPPED = ("dispatched", None), ("waiting", "overlap"), ("skipped", "overlap")


@pytest.fixture
def working(shop: Shop) -> Callable[[str], None]:
    """Starts a schedule whose first run waits at a gate."""

    def start(overlap: str) -> None:
        nodes = [shop.worker("orders", concurrency=3), shop.beat(), shop.beat()]
        assert all(node.ready() for node in nodes)
        shop.leader()
        shop.deploy(overlap)
        eventually(lambda: shop.starts(overlap))

    return start


def fires(shop: Shop, name: str) -> list[Any]:
    """All fires of a schedule, that which a person asked for first."""
    return shop.fires(name, ASKED_FOR - timedelta(seconds=1))


def outcomes(shop: Shop, name: str) -> Counter[tuple[str, str | None]]:
    """What became of the fires that were due: how many of each state and cause."""
    return Counter((fire.state, fire.cause) for fire in fires(shop, name) if fire.state != "expected")


def trigger(shop: Shop, name: str) -> Any:
    """Ask for a fire by hand, and return it once something has become of it."""
    assert shop.interventions.ask(name, [ASKED_FOR], kind="trigger", who="ann", reason="a customer waits")
    eventually(lambda: fires(shop, name)[0].state != "expected")
    fire = fires(shop, name)[0]
    assert fire.scheduled_for == ASKED_FOR
    return fire


def accounted_for(shop: Shop, name: str) -> None:
    """Stop the schedule, let the rest finish, and hold every fire against its effects."""
    eventually(lambda: not any(fire.state == "waiting" for fire in fires(shop, name)))
    shop.deploy()
    shop.settle()
    had = Counter(effect.scheduled_for for effect in shop.effects(name))
    due = [fire for fire in fires(shop, name) if fire.state != "superseded"]
    assert had == Counter(fire.scheduled_for for fire in due if fire.state == "dispatched")
    assert {(fire.state, fire.cause) for fire in due} <= {DISPATCHED, ("dispatched", "overlap"), SKIPPED}


def test_skip_skips_every_fire_until_the_run_has_ended(shop: Shop, working: Callable[[str], None]) -> None:
    working("skip")
    eventually(lambda: outcomes(shop, "skip")[SKIPPED] >= 3)
    asked_for = trigger(shop, "skip")
    assert (asked_for.state, asked_for.cause) == SKIPPED
    assert "overlap=skip" in asked_for.reason
    assert {*outcomes(shop, "skip")} == {DISPATCHED, SKIPPED}
    assert outcomes(shop, "skip")[DISPATCHED] == len(shop.starts("skip")) == 1

    shop.open("shelf")
    eventually(lambda: len(shop.effects("skip")) >= 2)
    accounted_for(shop, "skip")


def test_queue_all_lets_every_fire_wait_for_its_turn(shop: Shop, working: Callable[[str], None]) -> None:
    working("queue_all")
    eventually(lambda: outcomes(shop, "queue_all")[WAITING] >= 2)
    assert trigger(shop, "queue_all").state == "waiting"
    eventually(lambda: outcomes(shop, "queue_all")[WAITING] >= 4)
    assert {*outcomes(shop, "queue_all")} == {DISPATCHED, WAITING}
    assert outcomes(shop, "queue_all")[DISPATCHED] == len(shop.starts("queue_all")) == 1
    waiting = {fire.scheduled_for for fire in fires(shop, "queue_all") if fire.state == "waiting"}

    shop.open("shelf")
    eventually(lambda: waiting <= {effect.scheduled_for for effect in shop.effects("queue_all")})
    accounted_for(shop, "queue_all")
    assert not outcomes(shop, "queue_all")[SKIPPED]


def test_queue_one_lets_one_fire_wait_and_skips_the_others(shop: Shop, working: Callable[[str], None]) -> None:
    working("queue_one")
    eventually(lambda: outcomes(shop, "queue_one")[SKIPPED] >= 2)
    asked_for = trigger(shop, "queue_one")
    assert (asked_for.state, asked_for.cause) == SKIPPED
    assert "overlap=queue_one" in asked_for.reason
    found = outcomes(shop, "queue_one")
    assert (found[DISPATCHED], found[WAITING]) == (1, 1)
    assert {*found} == {DISPATCHED, WAITING, SKIPPED}
    (waits,) = [fire for fire in fires(shop, "queue_one") if fire.state == "waiting"]

    shop.open("shelf")
    eventually(lambda: waits.scheduled_for in [effect.scheduled_for for effect in shop.effects("queue_one")])
    accounted_for(shop, "queue_one")


def test_cancel_running_ends_the_run_and_the_later_fire_follows(shop: Shop, working: Callable[[str], None]) -> None:
    working("cancel_running")
    eventually(lambda: len(shop.starts("cancel_running")) >= 3)
    trigger(shop, "cancel_running")
    eventually(lambda: fires(shop, "cancel_running")[0].state == "dispatched")
    asked_for = str(fires(shop, "cancel_running")[0].run_id)
    eventually(lambda: shop.run(asked_for).state == "cancelled")
    assert not shop.effects("cancel_running")

    shop.open("shelf")
    eventually(lambda: shop.effects("cancel_running"))
    shop.deploy()
    shop.settle()
    runs = shop.rows("SELECT state, reason, scheduled_for FROM steadybeat.runs WHERE schedule = 'cancel_running'")
    assert {run.state for run in runs} == {"succeeded", "cancelled"}
    had = Counter(effect.scheduled_for for effect in shop.effects("cancel_running"))
    assert had == Counter(run.scheduled_for for run in runs if run.state == "succeeded")
    assert not {state for state, _ in outcomes(shop, "cancel_running")} - {"dispatched", "superseded"}
