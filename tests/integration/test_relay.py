"""The relay on real servers: everything that is due is sent, and no row, queue or death of a relay is in the way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from celery import Celery

import steadybeat
from steadybeat.delivery.relay import BATCH
from steadybeat.errors import BrokerUnavailable
from steadybeat.ledger import Ledger
from tests.eventually import eventually
from tests.integration.records import all_at_once, claim, new_run, recorded

MESSAGE = {"headers": {"task": "shop.orders.pay", "retries": 0}, "properties": {"correlation_id": "x"}}
_DUE = datetime(2026, 1, 1, tzinfo=UTC)


class Post:
    """A relay, what the outbox holds for it, and the queues."""

    def __init__(self, app: Any, client: Any) -> None:
        self.app, self.redis = app, client
        self.ledger = Ledger.of(app)

    def due(self, count: int = 1, **facts: Any) -> list[str]:
        """Record runs that are due, and return their ids in the order in which they are."""
        runs = []
        for number in range(count):
            at = _DUE + timedelta(milliseconds=number)
            run = new_run(**{"message": MESSAGE, "body": "[[], {}, {}]", "not_before": at, **facts})
            assert self.ledger.runs.record(run, outbox_reason="delayed")
            runs.append(run.id)
        return runs

    def sent(self, queue: str = "orders") -> list[Any]:
        """The messages of a queue, the first to be taken first."""
        return [json.loads(item) for item in reversed(self.redis.lrange(queue, 0, -1))]

    def waiting(self) -> int:
        return int(self.ledger.database.execute(sa.text("SELECT count(*) FROM steadybeat.outbox"))[0].count)

    def states(self) -> Counter[str]:
        return Counter(run["state"] for run in self.ledger.story.runs(limit=10_000))


@pytest.fixture
def post(ledger_url: str, redis_url: str) -> Iterator[Post]:
    app: Any = Celery("shop", set_as_current=False)
    app.conf.update(steadybeat_database_url=ledger_url, steadybeat_redis_url=redis_url)
    steadybeat.install(app)
    with redis.Redis.from_url(redis_url) as client:
        yield Post(app, client)
    app.steadybeat.ledger.database.close()
    app.close()


def test_one_call_sends_all_that_is_due_in_its_order_and_nothing_else(post: Post) -> None:
    count = 2 * BATCH + 7
    runs = post.due(count)
    post.due(not_before=datetime.now(UTC) + timedelta(hours=1))
    assert post.app.steadybeat.relay(timedelta(minutes=1)) == count
    assert not post.app.steadybeat.relay.is_behind
    assert post.waiting() == 1
    assert len(post.sent()) == count
    assert post.states() == {"enqueued": count, "waiting": 1}
    assert len(runs) == count


def test_a_message_is_as_it_was_recorded_under_its_delivery_number(post: Post) -> None:
    for number, run in enumerate(post.due(2)):
        post.ledger.database.execute(
            sa.text("UPDATE steadybeat.runs SET retry_count = 3, body = :body WHERE id = CAST(:run AS uuid)"),
            {"run": run, "body": f"[[{number}], {{}}, {{}}]"},
        )
    post.app.steadybeat.relay()
    first, second = post.sent()
    assert first["headers"] == {"task": "shop.orders.pay", "retries": 3, "steadybeat_delivery": 1}
    assert (first["content-type"], first["content-encoding"]) == ("application/json", "utf-8")
    properties = first["properties"]
    assert (properties["correlation_id"], properties["delivery_mode"], properties["priority"]) == ("x", 2, 0)
    assert properties["delivery_info"] == {"exchange": "", "routing_key": "orders"}
    assert properties["delivery_tag"] != second["properties"]["delivery_tag"]
    with post.app.connection_for_read() as connection:
        channel = connection.default_channel
        taken = [channel.basic_get("orders", no_ack=True).payload for _ in range(2)]
    assert taken == [[[0], {}, {}], [[1], {}, {}]]


def test_what_is_rescued_stands_in_front_of_what_waits(post: Post) -> None:
    waiting = post.due(3)
    lost = recorded(post.ledger)
    claim(post.ledger, lost, str(uuid.uuid4()))
    post.app.steadybeat.relay()
    assert len(post.sent()) == len(waiting)
    assert [each.run for each in post.ledger.rescue.lost()] == [lost.id]
    post.due()
    assert post.app.steadybeat.relay() == 2
    assert len(post.sent()) == 5
    assert [each["headers"]["steadybeat_delivery"] for each in post.sent()] == [2, 1, 1, 1, 1]


def test_a_message_goes_to_the_list_of_its_priority_and_its_queue_is_bound(post: Post) -> None:
    post.due(queue="nobody", message={**MESSAGE, "properties": {"priority": 6}})
    post.app.steadybeat.relay()
    assert len(post.sent("nobody\x06\x166")) == 1
    assert any(b"nobody" in each for each in post.redis.smembers("_kombu.binding.celery"))


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"headers": None, "properties": {}},
        {"headers": {}, "properties": [1]},
        {"headers": {}, "properties": {"delivery_info": 5}},
    ],
    ids=str,
)
def test_a_message_that_cannot_be_sent_is_a_dead_letter_and_the_others_are_sent(
    post: Post, message: dict[str, Any]
) -> None:
    (first,), (broken,), (last,) = post.due(), post.due(message=message), post.due()
    assert post.app.steadybeat.relay() == 2
    assert post.app.steadybeat.relay() == 0
    found = post.ledger.story.run(broken)
    assert found is not None
    assert found["state"] == "dead"
    assert found["reason"].startswith("its message cannot be sent: ")
    assert post.waiting() == 0
    assert len(post.sent()) == 2
    assert {first, last} == {str(each["id"]) for each in post.ledger.story.runs(state="enqueued")}


def test_a_number_that_python_does_not_read_stops_nothing(post: Post) -> None:
    (broken,), _ = post.due(), post.due()
    huge = f'{{"headers": {{"x": {"7" * 5000}}}, "properties": {{}}}}'
    post.ledger.database.execute(
        sa.text("UPDATE steadybeat.runs SET message = CAST(:huge AS jsonb) WHERE id = CAST(:run AS uuid)"),
        {"huge": huge, "run": broken},
    )
    assert post.app.steadybeat.relay() == 1
    assert post.states() == {"dead": 1, "enqueued": 1}


def test_a_queue_that_redis_cannot_write_to_is_put_off_and_the_others_are_sent(post: Post) -> None:
    post.redis.set("orders", "somebody else's")
    post.due(3)
    post.due(2, queue="mail")
    assert post.app.steadybeat.relay() == 2
    assert post.app.steadybeat.relay() == 0
    assert (len(post.sent("mail")), post.waiting()) == (2, 3)
    post.redis.delete("orders")
    post.ledger.database.execute(sa.text("UPDATE steadybeat.outbox SET publish_at = clock_timestamp()"))
    assert post.app.steadybeat.relay() == 3
    assert len(post.sent()) == 3


def test_nothing_is_marked_while_redis_refuses(post: Post) -> None:
    post.due(3)
    used = post.redis.info("memory")["used_memory"]
    post.redis.config_set("maxmemory", used // 2)
    try:
        with pytest.raises(BrokerUnavailable):
            post.app.steadybeat.relay()
    finally:
        post.redis.config_set("maxmemory", 0)
    assert (post.waiting(), post.states()) == (3, {"waiting": 3})
    assert post.app.steadybeat.relay() == 3


def test_what_was_overtaken_goes_unsent(post: Post) -> None:
    (ended,), (again,), (gone,), _ = post.due(), post.due(), post.due(), post.due()
    post.ledger.cancelling.request([ended], "x")
    execute = post.ledger.database.execute
    execute(sa.text("UPDATE steadybeat.runs SET delivery_no = 2 WHERE id = CAST(:run AS uuid)"), {"run": again})
    execute(sa.text("DELETE FROM steadybeat.runs WHERE id = CAST(:run AS uuid)"), {"run": gone})
    assert post.app.steadybeat.relay() == 1
    assert (len(post.sent()), post.waiting()) == (1, 0)


def test_any_number_of_relays_send_each_message_once(post: Post) -> None:
    count = 3 * BATCH
    post.due(count)
    sent = all_at_once(*[lambda: post.app.steadybeat.relay(timedelta(minutes=1))] * 4)
    assert sum(sent) == count
    tags = [each["properties"]["delivery_tag"] for each in post.sent()]
    assert (len(tags), len({*tags}), post.waiting()) == (count, count, 0)


def test_a_relay_waits_for_nobody_who_has_a_run_and_leaves_that_to_the_next_call(post: Post) -> None:
    (held,), _ = post.due(), post.due()
    with post.ledger.database.transaction() as somebody:
        somebody.execute(sa.text("SELECT FROM steadybeat.runs WHERE id = CAST(:run AS uuid) FOR UPDATE"), {"run": held})
        assert post.app.steadybeat.relay() == 1
        assert post.app.steadybeat.relay() == 0
        assert post.waiting() == 1
    assert post.app.steadybeat.relay() == 1


def test_a_relay_that_is_killed_in_the_middle_loses_nothing(post: Post, ledger_url: str, redis_url: str) -> None:
    runs = post.due(2 * BATCH)
    code = """if True:
        import datetime, os, signal, sys, celery, steadybeat
        from steadybeat.channel import Channel
        app = celery.Celery("shop")
        app.conf.update(steadybeat_database_url=sys.argv[1], steadybeat_redis_url=sys.argv[2])
        steadybeat.install(app)
        send, batches = Channel.execute_each, []
        def die_after_the_second(self, commands):
            send(self, commands)
            batches.append(commands)
            if len(batches) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
        Channel.execute_each = lambda self, commands: die_after_the_second(self, commands) or {}
        app.steadybeat.relay(datetime.timedelta(minutes=1))
    """
    ended = subprocess.run([sys.executable, "-c", code, ledger_url, redis_url], timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    eventually(lambda: post.waiting() == BATCH)  # what it had sent and not marked is there again
    eventually(lambda: post.app.steadybeat.relay() == BATCH)
    # Each was sent, the second batch twice, under one delivery number: the claim takes the first of them.
    assert len(post.sent()) == 3 * BATCH
    assert post.waiting() == 0
    assert post.states() == {"enqueued": len(runs)}


def test_a_relay_says_when_it_wants_to_be_called_again(post: Post) -> None:
    relay, longest = post.app.steadybeat.relay, timedelta(seconds=30)
    relay()
    assert relay.pause(longest) == longest
    post.due(not_before=datetime.now(UTC) + timedelta(seconds=10))
    relay()
    assert timedelta(seconds=1) < relay.pause(longest) <= timedelta(seconds=10)
    post.due(3 * BATCH)
    assert relay(timedelta(0)) == BATCH
    assert relay.pause(longest) == timedelta(0)
