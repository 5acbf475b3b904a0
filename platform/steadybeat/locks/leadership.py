"""Leadership: the right to lead, among all Beats of an installation."""

from __future__ import annotations

import time
from collections.abc import Callable

from redis import Redis
from redis.exceptions import LockError, RedisError
from redis.lock import Lock


class Leadership:
    """The right to lead, among all Beats of an installation.

    Taken and renewed by `hold`, which never waits and never raises. Between two calls, `held` says by the monotonic
    clock alone whether the lock can still be ours: a process that was stopped finds out there, before it acts.

    Args:
        client: Redis; its socket time-outs bound how long `hold` takes.
        key: RedBeat's lock key.
        lock_seconds: How long the lock lasts without a renewal.
        clock: Seconds of a clock that never jumps.

    Attributes:
        acquired_count: How often the lock was taken; between two takings somebody else may have led.
        error: Why the last `hold` could not ask.
    """

    def __init__(
        self, client: Redis, key: str, lock_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lock = Lock(client, key, timeout=lock_seconds, blocking=False, thread_local=False)
        self._lock_seconds = lock_seconds
        self._clock = clock
        self._until = 0.0
        self.acquired_count = 0
        self.error: Exception | None = None

    @property
    def held(self) -> bool:
        """Whether the lock can still be ours."""
        return self._clock() < self._until

    @property
    def fresh(self) -> bool:
        """Whether less than half of the lock's time has gone by: no need to renew it yet."""
        return self._until - self._clock() > self._lock_seconds / 2

    def hold(self) -> bool:
        """Renew the lock, or take it if nobody has it; return whether it is ours now."""
        asked_at = self._clock()
        self.error = None
        try:
            mine = self._renewed() or self._acquired()
        except RedisError as error:
            self.error = error
            return self.held
        # The server counts from when it answered, which is later than when we asked: ours ends first.
        self._until = asked_at + self._lock_seconds if mine else 0.0
        return self.held

    def release(self) -> None:
        """Give the lock back, so that another need not wait for it to lapse."""
        self._until = 0.0
        try:
            if self._lock.local.token is not None:
                self._lock.release()
        except (LockError, RedisError):
            pass  # it lapsed, or it will

    def _acquired(self) -> bool:
        mine = bool(self._lock.acquire(blocking=False))
        self.acquired_count += mine
        return mine

    def _renewed(self) -> bool:
        if self._lock.local.token is None:
            return False
        try:
            return bool(self._lock.reacquire())
        except LockError:
            self._lock.local.token = None
            return False
