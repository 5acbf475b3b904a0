"""What the local provider does wrong, on request: each request it gets takes the next word of a plan."""

from __future__ import annotations

import enum
import threading
from collections.abc import Sequence
from typing import Any

LONGEST_STALL_SECONDS = 600.0


class Trick(enum.StrEnum):
    """One way to treat a request."""

    WELL = "well"  # does it, and answers
    LOSE = "lose"  # does it, and closes the connection without a word
    DROP = "drop"  # closes the connection, and does nothing
    STALL = "stall"  # does it, and answers too late
    LATE = "late"  # waits, then does it and answers
    BUSY = "429"  # does nothing, answers 429 with Retry-After
    BROKEN = "500"  # does it, and answers 500
    AWAY = "503"  # does nothing, answers 503 with Retry-After
    GARBLE = "garble"  # does it, and answers 200 with something that is no JSON


class Mischief:
    """A plan: one word for each request, in their order; afterwards everything goes well.

    Args:
        plan: Words of `Trick`.
        repeat: Whether the plan begins again when it is used up.
        stall_seconds: How long `stall` and `late` take.

    Raises:
        ValueError: One of these cannot be; says which, and what can.
    """

    def __init__(self, plan: Sequence[str] = (), *, repeat: bool = False, stall_seconds: float = 30.0) -> None:
        known = [each.value for each in Trick]
        if wrong := [each for each in plan if each not in known]:
            raise ValueError(f"{wrong[0]!r} is nothing that the provider can do; it can {', '.join(known)}")
        if isinstance(stall_seconds, bool) or not isinstance(stall_seconds, int | float):
            raise ValueError(f"stall_seconds={stall_seconds!r}: must be a number of seconds")
        if not 0 <= stall_seconds <= LONGEST_STALL_SECONDS:
            raise ValueError(f"stall_seconds={stall_seconds!r}: must lie between 0 and {LONGEST_STALL_SECONDS:g}")
        self.plan = [Trick(each) for each in plan]
        self.repeat = repeat
        self.stall_seconds = float(stall_seconds)
        self.request_count = 0
        self._lock = threading.Lock()

    @classmethod
    def read(cls, told: Any) -> Mischief:
        """Return the plan that a JSON object names.

        Raises:
            ValueError: It names something else, or something that cannot be.
        """
        if not isinstance(told, dict) or not told.keys() <= {"plan", "repeat", "stall_seconds"}:
            raise ValueError('must be like {"plan": ["lose", "429"], "repeat": false, "stall_seconds": 30}')
        plan, repeat = told.get("plan", []), told.get("repeat", False)
        if not isinstance(plan, list) or not all(isinstance(each, str) for each in plan):
            raise ValueError(f"plan={plan!r}: must be a list of words")
        if not isinstance(repeat, bool):
            raise ValueError(f"repeat={repeat!r}: must be true or false")
        return cls(plan, repeat=repeat, stall_seconds=told.get("stall_seconds", 30.0))

    def next(self) -> Trick:
        """Return what to do with the request that has just come."""
        with self._lock:
            number = self.request_count
            self.request_count += 1
        if self.repeat and self.plan:
            return self.plan[number % len(self.plan)]
        return self.plan[number] if number < len(self.plan) else Trick.WELL

    def told(self) -> dict[str, Any]:
        """Return the plan as a JSON object, with the count of the requests that have come since it was made."""
        return {
            "plan": [each.value for each in self.plan],
            "repeat": self.repeat,
            "stall_seconds": self.stall_seconds,
            "request_count": self.request_count,
        }
