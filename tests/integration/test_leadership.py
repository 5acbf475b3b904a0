from __future__ import annotations

import pytest
import redis as redis_client
from redis.exceptions import ConnectionError as RedisIsAway

from steadybeat.locks import Leadership


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def leadership(url: str, clock: Clock) -> Leadership:
    return Leadership(redis_client.Redis.from_url(url), "redbeat::lock", 3.0, clock)


def test_one_of_two_leads_and_the_other_follows_a_release(redis_url: str, clock: Clock) -> None:
    first, second = leadership(redis_url, clock), leadership(redis_url, clock)
    assert first.hold()
    assert not second.hold()
    assert first.hold()
    first.release()
    assert not first.held
    assert second.hold()


def test_a_stopped_process_finds_out_by_the_clock_alone_that_it_no_longer_leads(redis_url: str, clock: Clock) -> None:
    leader = leadership(redis_url, clock)
    leader.hold()
    clock.now += 2.9
    assert leader.held
    assert not leader.fresh
    clock.now += 0.2
    assert not leader.held


def test_a_lost_lock_demotes_and_can_be_taken_again(redis_url: str, clock: Clock) -> None:
    first, second = leadership(redis_url, clock), leadership(redis_url, clock)
    first.hold()
    with redis_client.Redis.from_url(redis_url) as client:
        client.flushall()
    assert second.hold()
    assert not first.hold()
    assert not first.held
    second.release()
    assert first.hold()


def test_a_leader_does_not_release_the_lock_of_another(redis_url: str, clock: Clock) -> None:
    first, second = leadership(redis_url, clock), leadership(redis_url, clock)
    first.hold()
    with redis_client.Redis.from_url(redis_url) as client:
        client.delete("redbeat::lock")
    second.hold()
    first.release()
    assert second.hold()


def test_a_redis_that_is_away_leaves_the_lock_as_long_as_it_would_have_lasted(redis_url: str, clock: Clock) -> None:
    leader = leadership(redis_url, clock)
    leader.hold()

    def away() -> bool:
        raise RedisIsAway("gone")

    leader._lock.reacquire = away  # type: ignore[method-assign,assignment]
    clock.now += 1
    assert leader.hold()
    assert isinstance(leader.error, RedisIsAway)
    clock.now += 2
    assert not leader.hold()
