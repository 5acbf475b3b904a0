"""Promise: a canary is answered by a worker that really works, whatever its pool, and costs nobody a thought."""

from __future__ import annotations

import os
import signal
from datetime import timedelta

from steadybeat.watchdog.looking import Look
from tests.acceptance.installation import Shop
from tests.eventually import eventually

LONG = timedelta(hours=1)


def test_a_pool_answers_until_it_stands_still_and_again_when_it_goes_on(shop: Shop) -> None:
    platform = shop.caller.steadybeat
    ledger, canaries = platform.ledger, platform.ledger.canaries
    workers = [shop.worker("orders"), shop.worker("mail", pool="threads"), shop.worker("billing", pool="solo")]
    assert all(worker.ready() for worker in workers)
    queues = ["billing", "mail", "orders"]

    def ask(*names: str) -> None:
        for queue, number in canaries.due(list(names), timedelta(0)).items():
            platform.canaries.send(queue, number)
            canaries.sent(queue, number)

    def answered() -> list[str]:
        return [row.queue for row in shop.rows("SELECT queue FROM steadybeat.canaries WHERE unanswered_since IS NULL")]

    ask(*queues)
    eventually(lambda: sorted(answered()) == queues)
    assert "canary" not in "".join(worker.logs() for worker in workers)
    assert shop.rows("SELECT FROM steadybeat.runs") == shop.rows("SELECT FROM steadybeat.foreign_messages") == []

    shop.rows("UPDATE steadybeat.instances SET started_at = started_at - interval '10 minutes'")
    children = workers[0].children()
    for child in children:
        os.kill(child.pid, signal.SIGSTOP)
    ask("orders")
    ask("orders")
    shop.rows("UPDATE steadybeat.canaries SET unanswered_since = unanswered_since - interval '2 minutes'")
    assert [*Look(ledger, ledger.settings, LONG).unanswered] == ["orders"]
    for child in children:
        os.kill(child.pid, signal.SIGCONT)
    eventually(lambda: sorted(answered()) == queues)
    assert shop.redis.llen("orders") == 0
