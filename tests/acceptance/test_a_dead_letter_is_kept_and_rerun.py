"""Promise: a run that has given up is kept, with the reason, until a person runs it again."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.installation import Shop
from tests.eventually import eventually


@pytest.mark.parametrize(
    ("task", "outcomes", "reason"),
    [
        ("orders.refuse", ["failed"], "this order cannot be packed"),
        ("orders.poison", ["lost", "lost", "lost"], "workers died under it"),
    ],
)
def test_a_dead_letter_is_kept_until_it_is_rerun(shop: Shop, task: str, outcomes: list[str], reason: str) -> None:
    worker, beat = shop.worker("orders"), shop.beat()
    assert worker.ready()
    assert beat.ready()
    run = shop.send(task, "parcel", "mended")
    other = shop.send("orders.pack", "another parcel")

    eventually(lambda: shop.run(run).state == "dead")
    assert shop.outcomes(run) == outcomes
    assert reason in shop.run(run).reason
    assert not shop.effects("parcel")
    eventually(lambda: shop.run(other).state == "succeeded")
    shop.settle()
    assert shop.run(run).state == "dead"

    shop.open("mended")
    answer = json.loads(shop.celery("runs", "rerun", run, "--reason", "the address was mended", "--json"))
    assert answer["verdict"] == "sent"
    eventually(lambda: shop.run(answer["run"]).state == "succeeded")
    assert str(shop.run(answer["run"]).rerun_of) == run
    assert [str(each.run_id) for each in shop.effects("parcel")] == [answer["run"]]

    noted = shop.rows("SELECT what, target, reason FROM steadybeat.operations")
    assert noted == [("runs rerun", run, "the address was mended")]

    said = shop.celery("runs", "rerun", run, "--reason", "once more")
    assert "Nothing to do: the effect happened at" in said
    shop.settle()
    assert len(shop.effects("parcel")) == 1
    assert worker.status == "running"


def test_a_run_with_wrong_arguments_is_a_dead_letter_at_once_and_says_so(shop: Shop) -> None:
    assert shop.worker("orders").ready()
    run = shop.send("orders.pack", "one", "too", "many", "arguments")
    eventually(lambda: shop.run(run).state == "dead")
    assert shop.outcomes(run) == ["failed"]
    assert shop.run(run).reason.startswith("TypeError: ")
