"""Locks and places on real servers: one of each session, or three that a test may break."""

from __future__ import annotations

import itertools
import logging
import signal
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from steadybeat.address import Address
from steadybeat.channel import client
from steadybeat.dev.servers import RedisServer
from steadybeat.locks import Holding, Place, Places, Quorum, RedisNode, Refusal, Turn
from tests.eventually import eventually

LOCK = Turn("lock", "account:7")
BOUND = Turn("concurrency", "shop.pay:tenant:1", 3)
LONG, SHORT = 60.0, 1.0

_numbers = itertools.count(1)


def places(*urls: str, seconds: float = LONG) -> Places:
    clients = [(url, client(Address.read(url, "test"), timeout_seconds=0.3)) for url in urls]
    return Places(Quorum([RedisNode(opened, url) for url, opened in clients], seconds))


@pytest.fixture
def three(servers_folder: Path) -> Iterator[list[RedisServer]]:
    """Three servers that forget everything when they are restarted."""
    with ExitStack() as stack:
        folders = [servers_folder / f"locks-{next(_numbers)}" for _ in range(3)]
        yield [stack.enter_context(RedisServer(folder, append_only=False)) for folder in folders]


def taken(by: Places, *turns: Turn, run: str = "") -> Holding:
    held = by.take(turns, run=run or str(uuid.uuid4()), fence=1)
    assert isinstance(held, Holding), held
    return held


def refused(by: Places, *turns: Turn) -> str:
    held = by.take(turns, run=str(uuid.uuid4()), fence=1)
    assert isinstance(held, Refusal)
    return f"{held.turn}: {held.reason}"


def on(server: RedisServer) -> dict[str, str]:
    with client(Address.read(server.url, "test"), timeout_seconds=1) as redis:
        return {key.decode(): redis.get(key).decode() for key in redis.keys("steadybeat:*")}


def emptied(*servers: RedisServer) -> None:
    for server in servers:
        with client(Address.read(server.url, "test"), timeout_seconds=1) as redis:
            redis.flushall()


def tokens(held: Holding) -> list[str]:
    return [place.token for place in held.places]


def numbers(held: Sequence[Place]) -> list[int]:
    return [place.number for place in held]


def test_one_run_has_the_lock_and_the_next_gets_it_when_it_is_given_back(redis_url: str) -> None:
    first, second, run = places(redis_url), places(redis_url), str(uuid.uuid4())
    held = taken(first, LOCK, run=run)
    assert refused(second, LOCK) == f'lock "account:7": held by run {run}'
    first.release(held)
    second.release(taken(second, LOCK))


def test_as_many_runs_have_a_place_as_there_are_places(redis_url: str) -> None:
    by = places(redis_url)
    held = [taken(by, BOUND) for _ in range(3)]
    assert sorted(number for each in held for number in numbers(each.places)) == [0, 1, 2]
    assert refused(by, BOUND) == 'concurrency "shop.pay:tenant:1": all 3 places are held'
    by.release(held[1])
    again = taken(by, BOUND)
    assert numbers(again.places) == numbers(held[1].places)
    for each in (held[0], held[2], again):
        by.release(each)


def test_who_cannot_have_all_keeps_nothing(redis: RedisServer, redis_url: str) -> None:
    by = places(redis_url)
    held = [taken(by, BOUND) for _ in range(3)]
    assert refused(by, LOCK, BOUND).startswith("concurrency")
    assert not [key for key in on(redis) if key.startswith("steadybeat:lock:")]
    for each in held:
        by.release(each)


def test_what_an_earlier_attempt_of_the_same_run_has_left_behind_is_taken_over(redis_url: str) -> None:
    by, run = places(redis_url), str(uuid.uuid4())
    dead = taken(by, LOCK, BOUND, run=run)
    alive = taken(by, LOCK, BOUND, run=run)
    assert not {*tokens(dead)} & {*tokens(alive)}
    by.release(dead)  # it gives back nothing that it does not have
    assert refused(by, LOCK) == f'lock "account:7": held by run {run}'
    by.release(alive)


def test_the_parent_of_a_dead_attempt_finds_what_that_held(redis_url: str) -> None:
    by, run = places(redis_url), str(uuid.uuid4())
    dead, other = taken(by, LOCK, BOUND, run=run), taken(by, BOUND)
    dead._released.set()  # the dead extend nothing
    left = by.left_by([LOCK, BOUND], run)
    assert {each.token for each in left} == {*tokens(dead)}
    assert {each.fence for each in left} == {1}
    for each in left:
        by.give_back(each)
    assert by.left_by([LOCK, BOUND], run) == []
    by.release(other)
    by.release(taken(by, LOCK))


def test_a_lock_is_extended_for_as_long_as_it_is_held(redis: RedisServer, redis_url: str) -> None:
    by = places(redis_url, seconds=SHORT)
    held = taken(by, LOCK)
    first = held.places[0].until
    eventually(lambda: held.places[0].until > first + 2 * SHORT)
    assert not held.lost
    assert [*on(redis).values()] == tokens(held)
    by.release(held)
    assert on(redis) == {}


def test_a_lock_that_redis_has_forgotten_is_taken_again_if_nobody_has_it(
    redis: RedisServer, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    by = places(redis_url, seconds=SHORT)
    held = taken(by, LOCK)
    emptied(redis)
    eventually(lambda: [*on(redis).values()] == tokens(held))
    eventually(lambda: "lock had lapsed and was taken again" in caplog.messages)
    by.release(held)


def test_whoever_lost_its_lock_to_another_is_told_and_does_not_disturb_that(
    redis: RedisServer, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    by, other = places(redis_url, seconds=SHORT), places(redis_url)
    held = taken(by, LOCK)
    with held._extending:  # as in a process that is stopped
        emptied(redis)
        now = taken(other, LOCK)
    eventually(lambda: held.lost)
    eventually(lambda: ("lock lost", logging.ERROR) in [(each.message, each.levelno) for each in caplog.records])
    by.release(held)
    assert [*on(redis).values()] == tokens(now)
    other.release(now)


def test_a_lock_that_cannot_be_given_back_is_logged_counted_and_lapses(
    servers_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with RedisServer(servers_folder / f"locks-{next(_numbers)}", append_only=False) as server:
        by = places(server.url, seconds=LONG)
        held = taken(by, LOCK)
        server.stop()
        by.release(held)
    (said,) = [each for each in caplog.records if each.message == "lock not released: it lapses by itself"]
    assert vars(said)["not_released_count"] == by.not_released_count == 1
    assert vars(said)["error"].startswith('lock "account:7": redis://127.0.0.1')


@pytest.mark.parametrize("ends", [signal.SIGTERM, signal.SIGSTOP], ids=["down", "hung"])
def test_without_redis_nothing_is_given(servers_folder: Path, ends: signal.Signals) -> None:
    with RedisServer(servers_folder / f"locks-{next(_numbers)}", append_only=False) as server:
        assert server.child is not None
        by = places(server.url)
        if ends is signal.SIGTERM:
            server.stop()
        else:
            server.child.send(ends)
        assert f'lock "account:7": Redis at {server.url} does not answer: ' in refused(by, LOCK)
        if ends is signal.SIGSTOP:
            server.child.send(signal.SIGCONT)


def test_one_of_three_servers_down_changes_nothing_and_two_give_nothing(three: list[RedisServer]) -> None:
    urls = [server.url for server in three]
    by, other = places(*urls), places(*urls)
    three[0].stop()
    held = taken(by, LOCK)
    assert "held by run" in refused(other, LOCK)
    three[1].stop()
    assert "2 of redis://" in refused(other, BOUND)
    assert on(three[2]).keys() == {LOCK.key(0)}  # nothing of what was not given
    three[1].start()
    by.release(held)
    other.release(taken(other, LOCK))


def test_a_server_that_comes_back_empty_is_given_the_locks_that_are_held(three: list[RedisServer]) -> None:
    by = places(*(server.url for server in three), seconds=SHORT)
    held = taken(by, LOCK)
    three[0].stop()
    three[0].start()
    eventually(lambda: [*on(three[0]).values()] == tokens(held))
    assert not held.lost
    by.release(held)
    assert [on(server) for server in three] == [{}, {}, {}]


def test_most_servers_decide_between_two_who_ask_at_once(three: list[RedisServer]) -> None:
    urls = [server.url for server in three]
    by: Callable[[], Places] = lambda: places(*urls)  # noqa: E731 - a fresh client for each
    emptied(three[2])
    minority = places(urls[0])
    left_alone = taken(minority, LOCK)
    held = taken(by(), LOCK)
    assert "held by run" in refused(by(), LOCK)
    assert [*on(three[0]).values()] == tokens(left_alone)
    by().release(held)
    minority.release(left_alone)
