"""Promise: whatever goes wrong, its owner is told once, by its own name, and told when it is over."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.acceptance.installation import Shop
from tests.eventually import eventually
from tests.receivers.web import WebReceiver

# So short that a test need not wait long, and so long that a slow machine is not taken for a broken one.
SOON = {
    "STEADYBEAT_WATCH_SECONDS": "0.5",
    "STEADYBEAT_STALLED_SECONDS": "4",
    "STEADYBEAT_STUCK_SECONDS": "3",
    "STEADYBEAT_LEADERLESS_SECONDS": "4",
    "STEADYBEAT_SLOWER_SECONDS": "3",
    "STEADYBEAT_CANARY_SECONDS": "15",
}
OWNERS = ("payments", "stock", "post", "artists")

FAULTS = {
    ("failed", "orders.invoice"): "payments",
    ("running_too_long", "shop.orders.freeze"): "payments",
    ("stuck", "shop.orders.knot"): "stock",
    ("slower", "orders.crawl"): "stock",
    ("empty", "orders.gather"): "stock",
    ("paused", "orders.archive"): "stock",
    ("no_consumer", "mail"): "post",
    ("worker_silent", "canvas"): "artists",
}
"""What is wrong, and who is told of it."""

# Ten runs of a tenth of a second, one a day.
_HISTORY = """
    INSERT INTO steadybeat.runs (id, task, service, queue, idempotency_key, schedule, scheduled_for, state, message,
                                 body, attempt_count, enqueued_at, started_at, finished_at, items_done)
    SELECT gen_random_uuid(), 'shop.' || :name, 'orders', 'orders', gen_random_uuid()::text, :name, day, 'succeeded',
           '{}', '', 1, day, day, day + interval '0.1 second', 3
      FROM generate_series(now() - interval '10 days', now() - interval '1 day', interval '1 day') AS day
"""


@pytest.fixture
def people() -> Iterator[WebReceiver]:
    """Everybody's telephone."""
    with WebReceiver() as receiver:
        yield receiver


@pytest.fixture
def watched(ledger_url: str, redis_url: str, people: WebReceiver, open_shop: Callable[..., Shop]) -> Shop:
    """An installation whose watchdog tells each owner what is theirs, and everybody the rest."""
    names = [*OWNERS, "everybody", "boss"]
    routes: list[dict[str, Any]] = [{"owner": owner, "to": [owner]} for owner in OWNERS]
    routes[0]["escalate"] = [{"after": "2s", "to": ["boss"]}]
    told = {
        "STEADYBEAT_ALERT_CHANNELS": json.dumps({name: people.channel(name) for name in names}),
        "STEADYBEAT_ALERT_ROUTES": json.dumps([*routes, {"to": ["everybody"]}]),
    }
    return open_shop(ledger_url, redis_url, **SOON, **told)


def alerts_of(shop: Shop) -> list[Any]:
    """Every alert that people are told of: none that is a consequence of another."""
    return shop.rows("SELECT * FROM steadybeat.alerts WHERE cause_id IS NULL ORDER BY id")


def named(alert: Any) -> tuple[str, str]:
    """Return rule and subject; a worker is known by its queue here."""
    if alert.rule == "worker_silent":
        return alert.rule, ",".join(alert.facts["queues"])
    return alert.rule, alert.subject


def told_of(people: WebReceiver, name: str, *words: str) -> list[str]:
    """What somebody's telephone has got, where it has these words in its title."""
    titles = [each.document["title"] for each in people.taken if each.path == f"/{name}"]
    return [title for title in titles if all(word in title for word in words)]


def test_each_fault_raises_its_own_alert_once_to_its_owner_and_is_over_when_it_is_cured(
    watched: Shop, people: WebReceiver
) -> None:
    shop = watched
    for name in ("orders.freeze", "orders.crawl"):
        shop.rows(_HISTORY, name=name)
    shop.celery("schedules", "apply", SHOP_SCHEDULES="orders.archive")  # which also tells whose tasks are
    frozen = shop.worker("canvas", concurrency=1)
    nodes = [shop.worker("orders", "billing", concurrency=6), shop.beat(), shop.watchdog(), frozen]
    assert all(node.ready() for node in nodes)
    shop.deploy("orders.archive", "canvas.paint")
    frozen.pause()
    everything = [f"orders.{name}" for name in ("invoice", "freeze", "knot", "crawl", "gather", "archive")]
    shop.deploy(*everything, "mail.post", "canvas.paint")
    shop.interventions.pause("orders.archive", who="ann", reason="stock-taking")

    def all_open() -> bool:
        assert {named(each) for each in alerts_of(shop)} >= {*FAULTS}
        return True

    eventually(all_open)
    # Nobody has answered: the next one is told, of that alone.
    eventually(lambda: len(told_of(people, "boss")) >= 1)
    (failing,) = [each for each in alerts_of(shop) if each.rule == "failed"]
    shop.celery("alerts", "ack", str(failing.id), "--reason", "the bank is on the telephone")

    for gate in ("invoice", "freeze", "knot", "crawl", "gather"):
        shop.open(gate)
    shop.interventions.resume("orders.archive", who="ann", reason="counted")
    frozen.unpause()
    mailman = shop.worker("mail", concurrency=1)
    assert mailman.ready()

    def all_over() -> bool:
        assert [named(each) for each in alerts_of(shop) if each.state != "resolved"] == []
        return True

    eventually(all_over, 90)
    eventually(lambda: shop.rows("SELECT count(*) FROM steadybeat.notices WHERE sent_at IS NULL")[0].count == 0)
    assert Counter(named(each) for each in alerts_of(shop)) == Counter({*FAULTS})
    for (rule, subject), owner in FAULTS.items():
        (alert,) = [each for each in alerts_of(shop) if named(each) == (rule, subject)]
        assert alert.reopened_count == 0, alert
        sent = shop.rows(
            "SELECT channel, kind FROM steadybeat.notices WHERE alert = :alert ORDER BY id", alert=alert.id
        )
        to_owner = [each.kind for each in sent if each.channel == owner and each.kind != "acknowledged"]
        assert to_owner == ["opened", "resolved"], (rule, subject, sent)


def test_when_every_beat_is_killed_somebody_is_told_without_any_scheduler_and_without_redis(
    ledger_url: str, people: WebReceiver, own_redis: Any, open_shop: Callable[..., Shop]
) -> None:
    told = {"STEADYBEAT_ALERT_CHANNELS": json.dumps({"everybody": people.channel("everybody")})}
    shop = open_shop(ledger_url, own_redis.url, **SOON, **told)
    beats, dog = [shop.beat(), shop.beat()], shop.watchdog()
    assert all(node.ready() for node in (*beats, dog))
    shop.deploy("tick")
    shop.leader()

    for beat in beats:
        beat.kill("SIGKILL")
    own_redis.stop()
    dog.restart()  # which an orchestrator may do at any time

    eventually(lambda: told_of(people, "everybody", "no leader"))
    own_redis.start()
    beats[0].restart()
    eventually(lambda: shop.rows("SELECT FROM steadybeat.alerts WHERE rule = 'no_leader' AND state = 'resolved'"))
    eventually(lambda: len(told_of(people, "everybody", "no leader")) == 2)
    assert len(told_of(people, "everybody", "no leader")) == 2
