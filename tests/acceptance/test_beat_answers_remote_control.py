"""Promise: a Beat answers `celery inspect ping` as workers do, and that never holds it up."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

import pytest

from steadybeat.dev.servers import RedisServer
from tests.acceptance.installation import Shop
from tests.acceptance.project.timetable import TICK
from tests.eventually import eventually

HOST = socket.gethostname()


@pytest.fixture
def shop(ledger_url: str, own_redis: RedisServer, open_shop: Callable[..., Shop]) -> Shop:
    return open_shop(ledger_url, own_redis.url)


def test_every_beat_answers_whether_it_leads_or_not(shop: Shop) -> None:
    first, second, other = shop.beat("-n", "first@%h"), shop.beat("-n", "second@%h"), shop.beat()
    for beat in (first, second, other):
        assert beat.ready()

    eventually(lambda: shop.answering() == {f"first@{HOST}", f"second@{HOST}", f"celerybeat@{HOST}"})
    assert shop.answering("-d", f"second@{HOST}") == {f"second@{HOST}"}
    second.kill()
    assert shop.answering("-d", f"second@{HOST}") == set()


def test_a_broker_that_hangs_holds_up_neither_the_ticks_nor_the_end_of_a_beat(
    shop: Shop, own_redis: RedisServer
) -> None:
    worker, beat, other = shop.worker(), shop.beat("-n", "beat@%h"), shop.beat("-n", "other@%h")
    since = shop.deploy("tick")
    for node in (worker, beat, other):
        assert node.ready()
    eventually(lambda: shop.fired("tick", since) and shop.answering("-d", f"beat@{HOST}"))

    assert own_redis.child is not None
    own_redis.child.send(signal.SIGSTOP)
    eventually(lambda: not beat.leads and not other.leads)
    other.container.process.stop(timeout=20)
    assert other.container.process.ending == "ended with exit code 0"

    own_redis.child.send(signal.SIGCONT)
    eventually(lambda: shop.answering("-d", f"beat@{HOST}"))
    so_far = len(shop.fired("tick", since))
    eventually(lambda: len(shop.fired("tick", since)) >= so_far + 3)
    shop.keeps_its_promise({"tick": TICK}, since)


def test_a_beat_answers_again_after_redis_was_away(shop: Shop, own_redis: RedisServer) -> None:
    beat = shop.beat("-n", "beat@%h")
    assert beat.ready()
    eventually(shop.answering)

    own_redis.kill()
    eventually(lambda: "beat pidbox: Connection error" in beat.logs())
    own_redis.start()

    eventually(lambda: shop.answering() == {f"beat@{HOST}"})
    assert beat.status == "running"
