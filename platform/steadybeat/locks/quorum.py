"""Quorum: a lock that most of several independent Redis servers agree on.

Redlock, as https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/ describes it: a lock is held where
most servers gave it, for its time less what the asking took and less the drift of clocks; else it is given back on all
of them. With one server, one is most of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisHangs

from steadybeat.errors import LocksUnavailable
from steadybeat.locks.node import Node

_Answer = TypeVar("_Answer")

_DRIFT_SHARE = 0.01
_DRIFT_SECONDS = 0.002
_REST_SECONDS = 2.0


class Quorum:
    """Takes, extends and gives back locks on most of its nodes.

    A node that lets a question run into its time-out is not asked again for two seconds, where there are others.

    Args:
        nodes: The servers.
        lock_seconds: How long a lock lasts without an extension.
        clock: Seconds of a clock that never jumps.
    """

    def __init__(self, nodes: Sequence[Node], lock_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._nodes = nodes
        self._clock = clock
        self._needed = len(nodes) // 2 + 1
        self._rests_until: dict[str, float] = {}
        self.lock_seconds = lock_seconds
        self.drift_seconds = lock_seconds * _DRIFT_SHARE + _DRIFT_SECONDS

    @property
    def shown(self) -> str:
        """The servers, without their passwords."""
        return ", ".join(node.shown for node in self._nodes)

    def holders(self, keys: Sequence[str]) -> list[list[str]]:
        """Return for each key the tokens of those that stand in the way of taking it; an empty list where none does.

        Raises:
            LocksUnavailable: Most nodes do not answer.
        """
        found = self._majority(self._ask(lambda node: node.holders(keys)))
        tokens = [[each for each in per_key if each is not None] for per_key in zip(*found, strict=True)]
        return [held if len(found) - len(held) < self._needed else [] for held in tokens]

    def take(self, key: str, token: str) -> float | None:
        """Take a lock on most nodes, or on none.

        Args:
            key: Of the lock.
            token: Of this taking, unlike any other.

        Returns:
            Until when it is ours, by the clock, unless it is extended; None where another was faster.

        Raises:
            LocksUnavailable: Most nodes do not answer, or the asking took longer than the lock lasts.
        """
        asked_at = self._clock()
        answers, error = self._ask(lambda node: node.take(key, token, self.lock_seconds))
        until = asked_at + self.lock_seconds - self.drift_seconds
        in_time = self._clock() < until
        if sum(answers) >= self._needed and in_time:
            return until
        self.release(key, token)
        if len(answers) < self._needed:
            self._majority((answers, error))
        if not in_time:
            raise LocksUnavailable(f"Redis at {self.shown} took longer to answer than a lock lasts.")
        return None

    def extend(self, key: str, token: str) -> tuple[float | None, bool]:
        """Let a lock last from now on; where a node has lost it, and nobody else has it there, take it again.

        Returns:
            Until when it is ours, or None where it is not ours any more; and whether it had to be taken again,
            because most nodes had lost it.

        Raises:
            LocksUnavailable: Most nodes do not answer; it may still be ours until its time has passed.
        """
        asked_at = self._clock()
        kept = 0

        def on(node: Node) -> bool:
            nonlocal kept
            extended = node.extend(key, token, self.lock_seconds)
            kept += extended
            return extended or node.take(key, token, self.lock_seconds)

        answers = self._majority(self._ask(on))
        until = asked_at + self.lock_seconds - self.drift_seconds
        if sum(answers) >= self._needed and self._clock() < until:
            return until, kept < self._needed
        return None, False

    def release(self, key: str, token: str) -> list[str]:
        """Give a lock back on every node; return which nodes did not answer, where it has to lapse."""
        silent = []
        for node in self._nodes:
            if not self._rests(node):
                try:
                    node.release(key, token)
                except RedisError as error:
                    silent.append(self._silent(node, error))
        return silent

    def _ask(self, question: Callable[[Node], _Answer]) -> tuple[list[_Answer], str]:
        """Return the answers of those that answer, and what the last of the others said."""
        answers, said = [], "it is not asked for two seconds, since it hangs"
        for node in self._nodes:
            if not self._rests(node):
                try:
                    answers.append(question(node))
                except RedisError as error:
                    said = self._silent(node, error)
        return answers, said

    def _majority(self, asked: tuple[list[_Answer], str]) -> list[_Answer]:
        answers, said = asked
        if len(answers) >= self._needed:
            return answers
        where = self.shown if len(self._nodes) == 1 else f"{len(self._nodes) - len(answers)} of {self.shown}"
        raise LocksUnavailable(f"Redis at {where} does not answer: {said}", url=self.shown)

    def _silent(self, node: Node, error: RedisError) -> str:
        if isinstance(error, RedisHangs) and len(self._nodes) > 1:
            self._rests_until[node.shown] = self._clock() + _REST_SECONDS
        return f"{node.shown}: {error}"

    def _rests(self, node: Node) -> bool:
        return self._rests_until.get(node.shown, float("-inf")) > self._clock()
