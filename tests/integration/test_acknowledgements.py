"""What is acknowledged leaves Redis with the next delivery, or soon, or when the channel closes; never later."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis as redis_client
from celery import Celery
from kombu import Queue
from kombu.asynchronous import Hub

import steadybeat


@pytest.fixture
def client(redis_url: str) -> Iterator[redis_client.Redis]:
    with redis_client.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def connection(redis_url: str) -> Iterator[Any]:
    app: Any = Celery("acknowledging", set_as_current=False)
    app.conf.update(steadybeat_redis_url=redis_url, steadybeat_database_url="postgresql://127.0.0.1:1/none")
    steadybeat.install(app)
    with app.connection_for_read() as connection:
        yield connection
    app.close()


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.close()


@pytest.fixture
def queue(connection: Any) -> Queue:
    queue = Queue("parcels", channel=connection.default_channel)
    queue.declare()
    producer = connection.Producer(serializer="json")
    for number in range(3):
        producer.publish(number, routing_key="parcels")
    return queue


def taken(queue: Queue) -> Any:
    message = queue.get(no_ack=False)
    assert message is not None
    return message


def unacknowledged(client: redis_client.Redis) -> set[str]:
    kept, index = {*client.hkeys("unacked")}, {*client.zrange("unacked_index", 0, -1)}
    assert kept == index
    return {each.decode() for each in kept}


def test_without_an_event_loop_it_leaves_at_once(queue: Queue, client: redis_client.Redis) -> None:
    message = taken(queue)
    assert unacknowledged(client) == {message.delivery_tag}
    message.ack()
    assert unacknowledged(client) == set()


def test_it_goes_with_the_next_delivery(queue: Queue, client: redis_client.Redis, connection: Any, hub: Hub) -> None:
    connection.register_with_event_loop(hub)
    first, second = taken(queue), taken(queue)
    first.ack()
    assert unacknowledged(client) == {first.delivery_tag, second.delivery_tag}
    third = taken(queue)
    assert unacknowledged(client) == {second.delivery_tag, third.delivery_tag}


def test_it_does_not_wait_for_a_delivery_that_does_not_come(
    queue: Queue, client: redis_client.Redis, connection: Any, hub: Hub
) -> None:
    connection.register_with_event_loop(hub)
    messages = [taken(queue) for _ in range(3)]
    for message in messages[:2]:
        message.ack()
    [entry] = [each for _, _, each in hub.timer.queue if each.fun.__name__ == "_write_alone"]
    entry()
    assert unacknowledged(client) == {messages[2].delivery_tag}


def test_what_another_thread_acknowledges_leaves_at_once(
    queue: Queue, client: redis_client.Redis, connection: Any, hub: Hub
) -> None:
    connection.register_with_event_loop(hub)
    message = taken(queue)
    thread = threading.Thread(target=message.ack)
    thread.start()
    thread.join()
    assert unacknowledged(client) == set()


def test_a_channel_that_closes_gives_back_only_what_is_not_acknowledged(
    queue: Queue, client: redis_client.Redis, connection: Any, hub: Hub
) -> None:
    connection.register_with_event_loop(hub)
    done, left = taken(queue), taken(queue)
    done.ack()
    connection.default_channel.close()
    assert unacknowledged(client) == set()
    assert client.llen("parcels") == 2
    assert left.delivery_tag.encode() in b"".join(client.lrange("parcels", 0, -1))
    assert done.delivery_tag.encode() not in b"".join(client.lrange("parcels", 0, -1))


def test_a_channel_closes_although_redis_does_not_take_what_is_acknowledged(
    queue: Queue, client: redis_client.Redis, connection: Any, hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    connection.register_with_event_loop(hub)
    taken(queue).ack()
    client.delete("unacked_index")
    client.set("unacked_index", "no sorted set")
    connection.default_channel.close()
    assert "what is done comes again" in caplog.text


def test_an_acknowledgement_that_redis_did_not_take_is_tried_again(
    queue: Queue, client: redis_client.Redis, connection: Any, hub: Hub
) -> None:
    connection.register_with_event_loop(hub)
    first = taken(queue)
    first.ack()
    client.rename("unacked_index", "unacked_index:away")
    client.set("unacked_index", "no sorted set")
    with pytest.raises(redis_client.ResponseError):
        taken(queue)
    client.rename("unacked_index:away", "unacked_index")
    taken(queue)
    assert first.delivery_tag.encode() not in {*client.hkeys("unacked"), *client.zrange("unacked_index", 0, -1)}
