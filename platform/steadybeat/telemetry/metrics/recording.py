"""Recording: what is counted goes into prometheus_client, from any thread and from signal handlers, and nobody waits.

A change is put in line, and whoever finds nobody at it works the line off. So a signal handler does not wait for the
thread that it has interrupted. A fork waits until nobody is at it: no child begins with a lock that nobody gives back.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from steadybeat.telemetry.metrics.counting import Bounded, Change, State
from steadybeat.telemetry.metrics.table import COUNTER, HISTOGRAM, Metric, counted_by

_FORK_SECONDS = 1.0
_LONGEST_LINE = 100_000


class Recording:
    """What this process has counted so far.

    Args:
        role: What this process is: its metrics are there from the start, others from when they are first counted.
        registry: Where the metrics are read; None where they are read from files.
        schedule_count: So many schedules have series of their own.
    """

    def __init__(self, role: str, registry: CollectorRegistry | None, schedule_count: int) -> None:
        self._registry = registry
        self._made = {each: _made(each, registry) for each in counted_by(role)}
        self._series: dict[tuple[Metric, tuple[str, ...]], Any] = {}
        self._line: deque[Change] = deque(maxlen=_LONGEST_LINE)
        self._turn = threading.Lock()
        self._waited = False
        self._schedules = Bounded(schedule_count)

    def put(self, change: Change) -> None:
        """Record a change, now or as soon as whoever is at it comes to it."""
        self._line.append(change)
        turn = self._turn
        while self._line and turn.acquire(blocking=False):
            try:
                while self._line:
                    self._apply(*self._line.popleft())
            finally:
                turn.release()

    def _apply(self, how: str, metric: Metric, labels: tuple[str, ...], value: float) -> None:
        series = self._series.get((metric, labels))
        if series is None:
            series = self._found(metric, labels)
        if how == "inc":
            series.inc(value)
        elif how == "observe":
            series.observe(value)
        elif how == "set" or value > series._value.get():
            series.set(value)

    def _found(self, metric: Metric, labels: tuple[str, ...]) -> Any:
        shown = tuple(
            self._schedules.of(label) if name == "schedule" else label
            for name, label in zip(metric.labels, labels, strict=True)
        )
        if metric not in self._made:
            self._made[metric] = _made(metric, self._registry)
        series = self._made[metric].labels(*shown) if shown else self._made[metric]
        if shown == labels:
            self._series[metric, labels] = series
        return series

    def before_fork(self) -> None:
        """Wait until nobody is at it."""
        self._waited = self._turn.acquire(timeout=_FORK_SECONDS)

    def after_fork(self) -> None:
        """Go on, in the parent."""
        if self._waited:
            self._turn.release()

    def in_child(self) -> None:
        """Begin anew, in the child: what was in line is the parent's to record."""
        self._turn = threading.Lock()
        self._line.clear()

    def end(self) -> None:
        """Record nothing more: the turn is nobody's from now on."""
        self._turn.acquire(timeout=_FORK_SECONDS)


def _made(metric: Metric, registry: CollectorRegistry | None) -> Any:
    given: dict[str, Any] = {"labelnames": metric.labels, "registry": registry}
    if metric.kind == HISTOGRAM:
        return Histogram(metric.name, metric.says, buckets=metric.buckets, **given)
    if metric.kind == COUNTER:
        return Counter(metric.name, metric.says, **given)
    return Gauge(metric.name, metric.says, multiprocess_mode="max", **given)


def _before_fork() -> None:
    if isinstance(State.recorder, Recording):
        State.recorder.before_fork()


def _after_fork() -> None:
    if isinstance(State.recorder, Recording):
        State.recorder.after_fork()


def _in_child() -> None:
    """Record nothing in a process that was forked: it would count into what is its parent's."""
    if isinstance(State.recorder, Recording):
        State.recorder.in_child()
    State.recorder = None


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)
