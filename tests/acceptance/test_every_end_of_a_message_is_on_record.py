"""Promise: in whatever way Celery ends a message, the ledger says what became of its run, and why."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from celery import Celery

from tests.acceptance.installation import Shop
from tests.eventually import eventually

# How the first attempt ends: state of the run after all, outcomes of its attempts, the reason where one stays.
ENDS = {
    "ignore": ("cancelled", ["cancelled"], "the task raised Ignore: there is no such order any more"),
    "reject": ("dead", ["failed"], "the task rejected its message: not here"),
    "requeue": ("succeeded", ["retried", "succeeded"], None),
    "never": (
        "dead",
        ["retried", "retried", "retried", "failed"],
        "the task rejected its message: not here; no retry is left (max_retries=3)",
    ),
    "soft": ("succeeded", ["timed_out", "succeeded"], None),
    "hard": ("succeeded", ["timed_out", "succeeded"], None),
    "lost": ("succeeded", ["lost", "succeeded"], None),
}

# The parent learns of a child's death some seconds later; the limits of the others would come first.
LIMITS = {"lost": {"soft_time_limit": 50, "time_limit": 60}}


@pytest.fixture
def plain(shop: Shop) -> Iterator[Celery]:
    """A program that knows nothing of steadybeat."""
    app = Celery("plain", broker=shop.env["STEADYBEAT_REDIS_URL"], set_as_current=False)
    yield app
    app.close()


def standing(shop: Shop, run: str) -> tuple[str, list[str], str | None]:
    found = shop.run(run)
    return found.state, shop.outcomes(run), found.reason


def test_what_a_task_raises_or_suffers_is_on_record(shop: Shop) -> None:
    worker, beat = shop.worker("billing", concurrency=4), shop.beat()
    assert worker.ready()
    assert beat.ready()
    runs = {how: shop.send("billing.end", how, how=how, options=LIMITS.get(how)) for how in ENDS}
    shop.settle()
    assert {how: standing(shop, run) for how, run in runs.items()} == ENDS
    assert {how: len(shop.effects(how)) for how in runs} == {how: int(ENDS[how][0] == "succeeded") for how in ENDS}


def test_what_people_and_clocks_end_is_on_record(shop: Shop, plain: Celery) -> None:
    late = shop.send("billing.end", "late", how="wait", options={"expires": 0.05})
    long_ago = {"expires": datetime.now(UTC) - timedelta(seconds=1), "queue": "billing", "task_id": str(uuid4())}
    plain_late = plain.send_task("shop.billing.end", ["plain late", "wait"], **long_ago).id
    plain_lost = plain.send_task("shop.billing.end", ["plain lost", "lost"], queue="billing", **LIMITS["lost"]).id
    worker, beat = shop.worker("billing", concurrency=1), shop.beat()
    assert worker.ready()
    assert beat.ready()
    eventually(lambda: shop.rows("SELECT FROM steadybeat.runs WHERE finished_at IS NOT NULL")[2:])

    control = shop.caller.control
    terminated = {signal: shop.send("billing.end", signal, how="terminate") for signal in ("SIGTERM", "SIGKILL")}
    for signal, run in terminated.items():
        eventually(lambda run=run: shop.run(run).state == "running")
        if signal == "SIGTERM":
            waiting = shop.send("billing.end", "revoked", how="revoke")
            control.revoke(waiting)
        control.revoke(run, terminate=True, signal=signal)
        eventually(lambda run=run: shop.run(run).state == "cancelled")
    shop.settle()

    assert standing(shop, late)[:2] == ("cancelled", [])
    assert "deadline" in shop.run(late).reason
    assert standing(shop, plain_late) == ("cancelled", [], "expired through Celery")
    assert standing(shop, plain_lost)[:2] == ("succeeded", ["lost", "succeeded"])
    assert standing(shop, waiting) == ("cancelled", [], "revoked through Celery")
    for run in terminated.values():
        assert standing(shop, run) == ("cancelled", ["cancelled"], "terminated through Celery")
    assert not any(shop.effects(name) for name in ("late", "plain late", "revoked", *terminated))
