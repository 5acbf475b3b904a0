"""The arithmetic of locks that most of several servers agree on, by a clock that a test moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from redis.exceptions import ConnectionError as RedisIsAway
from redis.exceptions import TimeoutError as RedisHangs

from steadybeat.errors import LocksUnavailable
from steadybeat.locks import Quorum

LOCK_SECONDS = 10.0
DRIFT_SECONDS = 0.102


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Server:
    """A server that takes its time, and may be away; its locks never lapse."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.shown = name
        self.locks: dict[str, str] = {}
        self.answer_seconds = 0.0
        self.error: Exception | None = None
        self.asked_count = 0
        self._clock = clock

    def _answer(self) -> None:
        self.asked_count += 1
        self._clock.now += self.answer_seconds
        if self.error is not None:
            raise self.error

    def holders(self, keys: Sequence[str]) -> list[str | None]:
        self._answer()
        return [self.locks.get(key) for key in keys]

    def take(self, key: str, token: str, seconds: float) -> bool:
        self._answer()
        return self.locks.setdefault(key, token) == token

    def extend(self, key: str, token: str, seconds: float) -> bool:
        self._answer()
        return self.locks.get(key) == token

    def release(self, key: str, token: str) -> bool:
        self._answer()
        return self.locks.get(key) == token and bool(self.locks.pop(key))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def servers(clock: Clock) -> list[Server]:
    return [Server(f"node-{number}", clock) for number in range(5)]


def quorum(servers: Sequence[Server], clock: Callable[[], float]) -> Quorum:
    return Quorum(servers, LOCK_SECONDS, clock)


def test_a_lock_is_held_for_its_time_less_what_the_asking_took_and_less_the_drift(
    servers: list[Server], clock: Clock
) -> None:
    for server in servers:
        server.answer_seconds = 0.5
    until = quorum(servers, clock).take("k", "mine")
    assert until == pytest.approx(100.0 + LOCK_SECONDS - DRIFT_SECONDS)
    assert until - clock.now == pytest.approx(LOCK_SECONDS - 5 * 0.5 - DRIFT_SECONDS)


def test_one_server_is_most_of_one(servers: list[Server], clock: Clock) -> None:
    assert quorum(servers[:1], clock).take("k", "mine")
    assert quorum(servers[:1], clock).take("k", "yours") is None


def test_three_of_five_are_enough(servers: list[Server], clock: Clock) -> None:
    servers[0].error = servers[1].error = RedisIsAway("refused")
    assert quorum(servers, clock).take("k", "mine")
    assert [server.locks for server in servers[2:]] == [{"k": "mine"}] * 3


def test_a_lock_that_half_of_them_give_is_given_back_everywhere(servers: list[Server], clock: Clock) -> None:
    for server in servers[:3]:
        server.locks["k"] = "yours"
    assert quorum(servers, clock).take("k", "mine") is None
    assert [server.locks for server in servers] == [{"k": "yours"}] * 3 + [{}, {}]


def test_without_a_majority_nothing_is_given_and_nothing_is_left_behind(servers: list[Server], clock: Clock) -> None:
    for server in servers[2:]:
        server.error = RedisIsAway("refused")
    with pytest.raises(LocksUnavailable, match=r"3 of node-0, node-1, .* not answer: .*refused"):
        quorum(servers, clock).take("k", "mine")
    assert [server.locks for server in servers[:2]] == [{}, {}]


def test_an_asking_that_took_longer_than_the_lock_lasts_is_no_lock(servers: list[Server], clock: Clock) -> None:
    for server in servers:
        server.answer_seconds = 1.98  # five times: longer than the lock less its drift
    with pytest.raises(LocksUnavailable, match="longer to answer than a lock lasts"):
        quorum(servers, clock).take("k", "mine")
    assert not any(server.locks for server in servers)


def test_an_extension_counts_from_when_it_was_asked_for(servers: list[Server], clock: Clock) -> None:
    locks = quorum(servers, clock)
    locks.take("k", "mine")
    clock.now += 4
    assert locks.extend("k", "mine") == (pytest.approx(104.0 + LOCK_SECONDS - DRIFT_SECONDS), False)


def test_servers_that_lost_a_lock_get_it_again_with_its_extension(servers: list[Server], clock: Clock) -> None:
    locks = quorum(servers, clock)
    locks.take("k", "mine")
    servers[0].locks.clear()
    assert locks.extend("k", "mine")[1] is False  # most of them had it all the time
    assert servers[0].locks == {"k": "mine"}
    for server in servers[:3]:
        server.locks.clear()
    assert locks.extend("k", "mine")[1] is True


def test_a_lock_that_somebody_else_has_on_most_servers_is_not_extended(servers: list[Server], clock: Clock) -> None:
    locks = quorum(servers, clock)
    locks.take("k", "mine")
    for server in servers[:3]:
        server.locks["k"] = "yours"
    assert locks.extend("k", "mine") == (None, False)
    assert [server.locks["k"] for server in servers[:3]] == ["yours"] * 3


def test_nobody_gives_back_the_lock_of_another(servers: list[Server], clock: Clock) -> None:
    for server in servers:
        server.locks["k"] = "yours"
    assert quorum(servers, clock).release("k", "mine") == []
    assert [server.locks for server in servers] == [{"k": "yours"}] * 5


def test_who_stands_in_the_way_is_asked_of_most_servers(servers: list[Server], clock: Clock) -> None:
    locks = quorum(servers[:3], clock)
    servers[0].locks |= {"a": "yours", "b": "yours"}
    servers[1].locks["b"] = "yours"
    assert locks.holders(["a", "b", "c"]) == [[], ["yours", "yours"], []]
    servers[2].error = RedisIsAway("refused")
    assert locks.holders(["a", "b", "c"]) == [["yours"], ["yours", "yours"], []]


def test_a_server_that_hangs_is_not_asked_again_for_two_seconds(servers: list[Server], clock: Clock) -> None:
    locks, hanging = quorum(servers[:3], clock), servers[0]
    hanging.error = RedisHangs("no answer")
    assert locks.take("a", "mine")
    assert locks.take("b", "mine")
    assert hanging.asked_count == 1
    clock.now += 2.1
    hanging.error = None
    assert locks.take("c", "mine")
    assert hanging.locks == {"c": "mine"}


def test_the_only_server_is_always_asked(servers: list[Server], clock: Clock) -> None:
    locks = quorum(servers[:1], clock)
    servers[0].error = RedisHangs("no answer")
    with pytest.raises(LocksUnavailable, match="Redis at node-0 does not answer: node-0: no answer"):
        locks.take("a", "mine")
    servers[0].error = None
    assert locks.take("a", "mine")
