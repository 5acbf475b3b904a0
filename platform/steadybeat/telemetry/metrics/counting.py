"""Counting: what the rest of the platform calls. While metrics are off, it looks at one attribute and returns."""

from __future__ import annotations

from typing import Protocol

from steadybeat.telemetry.metrics.table import Metric

OTHERS = "(others)"
"""The schedule under which all those are counted that have no series of their own."""

Change = tuple[str, Metric, tuple[str, ...], float]
"""How (``inc``, ``observe``, ``set``, ``raise``), what, the values of its labels, and by or to how much."""


class Recorder(Protocol):
    """What takes changes; see `recording`."""

    def put(self, change: Change) -> None:
        """Record a change."""


class State:
    """What this process records with; None: nothing."""

    recorder: Recorder | None = None


def count(metric: Metric, *labels: str, by: float = 1.0) -> None:
    """Add to a counter.

    Args:
        metric: The counter.
        *labels: Values of its labels, in their order.
        by: How much.
    """
    recorder = State.recorder
    if recorder is not None:
        recorder.put(("inc", metric, labels, by))


def observe(metric: Metric, *labels: str, value: float) -> None:
    """Add a value to a histogram.

    Args:
        metric: The histogram.
        *labels: Values of its labels, in their order.
        value: In the metric's unit.
    """
    recorder = State.recorder
    if recorder is not None:
        recorder.put(("observe", metric, labels, value))


def show(metric: Metric, *labels: str, value: float) -> None:
    """Set a gauge.

    Args:
        metric: The gauge.
        *labels: Values of its labels, in their order.
        value: In the metric's unit.
    """
    recorder = State.recorder
    if recorder is not None:
        recorder.put(("set", metric, labels, value))


def raise_to(metric: Metric, *labels: str, value: float) -> None:
    """Set a gauge, unless it shows more already.

    Args:
        metric: The gauge.
        *labels: Values of its labels, in their order.
        value: In the metric's unit.
    """
    recorder = State.recorder
    if recorder is not None:
        recorder.put(("raise", metric, labels, value))


class Bounded:
    """Names that have series of their own, so many at the most: the first ones that are met.

    Args:
        count: How many.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._names: set[str] = set()

    def of(self, name: str) -> str:
        """Return a name if it is among them, else what all the others are called."""
        if name not in self._names:
            if len(self._names) >= self._count:
                return OTHERS
            self._names.add(name)
        return name
