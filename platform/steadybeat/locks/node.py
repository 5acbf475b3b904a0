"""Node: one Redis that keeps locks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

from redis import Redis
from redis.exceptions import LockNotOwnedError
from redis.lock import Lock


class Node(Protocol):
    """One of the servers whose majority decides. Each method raises `RedisError` where it does not answer.

    Attributes:
        shown: Its URL, without a password.
    """

    shown: str

    def holders(self, keys: Sequence[str]) -> list[str | None]:
        """Return the token that each key holds."""

    def take(self, key: str, token: str, seconds: float) -> bool:
        """Take a lock that nobody holds."""

    def extend(self, key: str, token: str, seconds: float) -> bool:
        """Let a lock last from now on for so long, where the token is still its own."""

    def release(self, key: str, token: str) -> bool:
        """Give a lock back, where the token is still its own."""


class RedisNode:
    """A Redis server.

    Args:
        client: Its time-outs bound how long each answer may take.
        shown: Its URL, without a password.
    """

    def __init__(self, client: Redis, shown: str) -> None:
        self._client = client
        self.shown = shown

    def holders(self, keys: Sequence[str]) -> list[str | None]:
        """Return the token that each key holds."""
        found = cast("list[Any]", self._client.mget(keys))
        return [each.decode(errors="replace") if isinstance(each, bytes) else each for each in found]

    def take(self, key: str, token: str, seconds: float) -> bool:
        """Take a lock that nobody holds."""
        return bool(self._lock(key, seconds).acquire(blocking=False, token=token))

    def extend(self, key: str, token: str, seconds: float) -> bool:
        """Let a lock last from now on for so long, where the token is still its own."""
        try:
            return bool(self._lock(key, seconds, token).reacquire())
        except LockNotOwnedError:
            return False

    def release(self, key: str, token: str) -> bool:
        """Give a lock back, where the token is still its own."""
        try:
            self._lock(key, None, token).release()
        except LockNotOwnedError:
            return False
        return True

    def _lock(self, key: str, seconds: float | None, token: str | None = None) -> Lock:
        lock = Lock(self._client, key, timeout=seconds, blocking=False, thread_local=False)
        lock.local.token = None if token is None else token.encode()
        return lock
