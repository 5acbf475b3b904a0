"""Usual: what earlier runs say of the next one. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

LEAST_COUNT = 8
"""Fewer runs say nothing of what is usual."""


@dataclass(frozen=True, slots=True)
class Usual:
    """What is usual for a schedule, or for a task.

    Attributes:
        count: From so many runs.
        p95_seconds: 95 % of them took no longer. The longest never counts, so that one run that was slow does not
            make the next one like it usual.
        median_seconds: Half of them took no longer.
        median_items: Half of them processed no more.
    """

    count: int
    p95_seconds: float
    median_seconds: float
    median_items: float

    @classmethod
    def of(cls, durations: Sequence[float], items: Sequence[int] = ()) -> Usual | None:
        """Return what runs say that took so many seconds and processed so many items; None where they are too few."""
        count = len(durations)
        if count < LEAST_COUNT:
            return None
        rank = min(math.ceil(0.95 * count), count - 1)
        median_items = statistics.median(items) if items else 0.0
        return cls(count, sorted(durations)[rank - 1], statistics.median(durations), float(median_items))

    def longest_seconds(self, factor: float, least_seconds: float) -> float:
        """Return how long a run may take.

        Args:
            factor: So many times as long as usual.
            least_seconds: However quick it usually is.
        """
        return max(factor * self.p95_seconds, least_seconds)
