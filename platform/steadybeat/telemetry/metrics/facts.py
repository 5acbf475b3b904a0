"""Facts: what is not counted but read now and then, by one thread, and shown at every scrape until it is read again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from steadybeat.telemetry.metrics.counting import Bounded
from steadybeat.telemetry.metrics.table import Metric


class Sample(NamedTuple):
    """One number: of which metric, with which values of its labels in their order."""

    metric: Metric
    labels: tuple[str, ...]
    value: float


class Facts:
    """What was read last. One thread writes, any may read.

    Args:
        age: The gauge that says how long ago that was.
        schedule_count: So many schedules have series of their own.
        clock: Seconds of a clock that never jumps.
    """

    def __init__(self, age: Metric, schedule_count: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._age = age
        self._clock = clock
        self._read_at = clock()
        self._samples: Mapping[str, list[Sample]] = {}
        self._schedules = Bounded(schedule_count)

    def put(self, read: Mapping[str, Iterable[Sample]], *, complete: bool) -> None:
        """Show these from now on, and nothing of what was shown before.

        Args:
            read: By the name of the fact.
            complete: Whether all could be read; else they are as old as they were.
        """
        self._samples = {fact: self._merged(samples) for fact, samples in read.items()}
        if complete:
            self._read_at = self._clock()

    def samples(self) -> list[Sample]:
        """Return what is shown now."""
        found = [sample for samples in self._samples.values() for sample in samples]
        return [*found, Sample(self._age, (), self._clock() - self._read_at)]

    def _merged(self, samples: Iterable[Sample]) -> list[Sample]:
        """Return samples with those added up whose schedules have no series of their own."""
        found: dict[tuple[Metric, tuple[str, ...]], float] = {}
        for metric, labels, value in samples:
            shown = labels
            if "schedule" in metric.labels:
                at = metric.labels.index("schedule")
                shown = (*labels[:at], self._schedules.of(labels[at]), *labels[at + 1 :])
            found[metric, shown] = found.get((metric, shown), 0.0) + value
        return [Sample(metric, shown, value) for (metric, shown), value in found.items()]
