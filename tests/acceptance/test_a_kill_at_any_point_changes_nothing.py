"""Promise: wherever a process is killed on the way of a run, the run has one effect and ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from steadybeat import testing
from tests.acceptance.installation import PROJECT, Shop
from tests.eventually import eventually

IN_TURN = ("after_outbox", "after_claim", "after_effect", "before_finish", "before_ack")


def test_a_run_that_dies_at_every_point_in_turn_has_one_effect(shop: Shop) -> None:
    signature = shop.caller.signature("shop.orders.pack", ("parcel",))
    env = {**shop.env, **testing.SHORT_TIMES, "STEADYBEAT_CRASH_COUNT": "9"}
    crashed = testing.crash(signature, at=IN_TURN, app="shop", env=env, cwd=PROJECT)

    assert (crashed.state, crashed.reason, crashed.crash_count) == ("succeeded", None, 5)
    assert crashed.attempts == ("lost", "lost", "lost", "succeeded")
    assert len(shop.effects("parcel")) == 1
    assert len(shop.starts("parcel")) == 1, "where the effect has happened the task's code does not run again"


def test_a_task_that_kills_its_whole_worker_each_time_is_a_dead_letter_that_says_so(shop: Shop) -> None:
    signature = shop.caller.signature("shop.orders.pack", ("parcel",))
    other = shop.send("billing.add", 1, 2, name="other")
    env = {**shop.env, **testing.SHORT_TIMES}
    crashed = testing.crash(signature, at="after_claim", times=3, app="shop", pool="solo", env=env, cwd=PROJECT)

    assert (crashed.state, crashed.reason) == ("dead", "workers died under it 3 times")
    assert crashed.attempts == ("lost",) * 3
    assert not shop.effects("parcel")
    assert shop.run(other).state == "succeeded"
    assert len(shop.effects("other")) == 1


def test_a_caller_that_dies_between_the_record_and_its_message_loses_no_run(shop: Shop, tmp_path: Path) -> None:
    worker, watchdog = shop.worker("orders"), shop.watchdog()
    crash_at = {"STEADYBEAT_CRASH_AT": "after_record", "STEADYBEAT_CRASH_FOLDER": str(tmp_path)}
    code, _ = shop.run_celery("call", "shop.orders.pack", "--args", '["parcel"]', **crash_at)
    assert code == -9
    assert worker.ready()
    assert watchdog.ready()

    eventually(lambda: shop.effects("parcel"))
    shop.settle()
    assert len(shop.effects("parcel")) == 1


def test_a_point_that_no_run_comes_by_fails_the_test_that_asked_for_it(shop: Shop) -> None:
    signature = shop.caller.signature("shop.billing.returning", ("a set",))
    with pytest.raises(AssertionError, match="after_effect was reached 0 times of 1, and the run is succeeded"):
        testing.crash(signature, at="after_effect", app="shop", env=shop.env, cwd=PROJECT)
