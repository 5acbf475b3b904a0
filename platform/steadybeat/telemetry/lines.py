"""The lines of runs, kept where `runs show` finds them: off unless ``steadybeat_log_lines_count`` says how many.

A handler takes every line that carries a run, whoever wrote it and in whichever process, and a thread hands them on
in batches, each second and soon after an attempt has ended. Nothing of that slows or fails a run: what comes too fast,
or cannot be handed on for too long, is dropped, counted and said in ``lines not kept``.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from steadybeat.errors import LedgerUnavailable

CAPACITY = 5000
"""Lines that wait in one process at the most."""

PERIOD_SECONDS = 1.0
_LAST_SECONDS = 2.0
_SAID_SECONDS = 60.0
_BATCH = 500

_OWN_FIELDS = frozenset({"timestamp", "level", "event", "run_id"})

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a run.

    Attributes:
        run: Its id, a UUID.
        at: When it was written, aware.
        fields: All that it says beside these; nothing secret.
    """

    run: str
    at: datetime
    level: str
    event: str
    fields: dict[str, Any]


Sink = Callable[[Sequence[Line]], None]


class LineKeeper(logging.Handler):
    """Keeps lines of runs until a thread of its own has handed them on.

    Args:
        sink: Takes lines, a batch at a time; what it raises means that it took none.
        count: Lines of each run that matter: of more than these, written within one period, the first are dropped.
    """

    def __init__(self, sink: Sink, count: int) -> None:
        super().__init__()
        self._sink = sink
        self._count = count
        self._clear()

    def _clear(self) -> None:
        self._waiting: list[Line] = []
        self._of_run: Counter[str] = Counter()
        self._dropped = 0
        self._said_at = float("-inf")
        self._has_some = threading.Event()
        self._hurry = threading.Event()
        self._idle = threading.Condition()
        self._writing = False
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Take the record's line if it carries a run; never raises."""
        from steadybeat.telemetry.logs import take_line

        try:
            line = take_line(record)
            run = line.get("run_id")
            if not isinstance(run, str):
                return
            fields = {name: value for name, value in line.items() if name not in _OWN_FIELDS}
            at = datetime.fromtimestamp(record.created, UTC)
            self._take(Line(str(UUID(run)), at, line["level"], line["event"], fields))
        except Exception:  # noqa: BLE001 - a line that cannot be kept, of a run that is none, must not stop the work
            return

    def _take(self, line: Line) -> None:
        """Called with the handler's lock held, by whoever logs."""
        if len(self._waiting) >= CAPACITY or self._of_run[line.run] >= 2 * self._count:
            self._make_room(line.run)
        if len(self._waiting) >= CAPACITY:
            self._dropped += 1
            return
        self._waiting.append(line)
        self._of_run[line.run] += 1
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="steadybeat-lines", daemon=True)
            self._thread.start()
        self._has_some.set()

    def _make_room(self, run: str) -> None:
        """Drop the first lines of a run that has written more than are kept of it."""
        surplus = self._of_run[run] - self._count
        if surplus <= 0:
            return
        kept = []
        for line in self._waiting:
            if line.run == run and surplus > 0:
                surplus -= 1
            else:
                kept.append(line)
        self._waiting = kept
        self._of_run[run] = self._count

    def hurry(self) -> None:
        """Have what waits handed on at once: an attempt has ended. It does not wait for that."""
        if self._waiting:
            self._hurry.set()

    def flush(self) -> None:
        """Wait a moment until what waits is handed on: the process ends."""
        self._hurry.set()
        until = time.monotonic() + _LAST_SECONDS
        with self._idle:
            self._idle.wait_for(lambda: not (self._waiting or self._writing), max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        while True:
            self._has_some.wait()
            self._hurry.wait(PERIOD_SECONDS)
            self._hurry.clear()
            self._has_some.clear()
            self._hand_on()

    def _hand_on(self) -> None:
        with self.lock or threading.Lock():
            taken, self._waiting, self._of_run = self._waiting, [], Counter()
            self._writing = bool(taken)
        left = self._sent(taken)
        with self.lock or threading.Lock():
            room = max(0, CAPACITY - len(self._waiting))
            self._dropped += max(0, len(left) - room)
            self._waiting = [*left[len(left) - min(room, len(left)) :], *self._waiting]
            self._of_run.update(line.run for line in left)
            self._writing = False
            dropped, now = self._dropped, time.monotonic()
            says = bool(dropped) and now - self._said_at >= _SAID_SECONDS
            if says:
                self._dropped, self._said_at = 0, now
            if self._waiting:
                self._has_some.set()
        if says:
            _log.warning("lines not kept", extra={"dropped_count": dropped})
        with self._idle:
            self._idle.notify_all()

    def _sent(self, lines: list[Line]) -> list[Line]:
        """Hand lines on, and return those that were not taken; a batch that never will be is dropped line by line."""
        for start in range(0, len(lines), _BATCH):
            try:
                self._sink(lines[start : start + _BATCH])
            except LedgerUnavailable:
                return lines[start:]
            except Exception:  # noqa: BLE001 - whatever is wrong with them, the others are kept
                self._dropped += len(lines[start : start + _BATCH])
        return []

    def forget_after_fork(self) -> None:
        """Leave what waits to the parent, whose thread is not here."""
        self._clear()


_keepers: list[LineKeeper] = []


def keep(sink: Sink, count: int) -> None:
    """Keep the lines of runs from here on, in every process whose lines steadybeat writes.

    Args:
        sink: Takes lines; raises `LedgerUnavailable` where it should be asked again later.
        count: Lines of each run that are kept; 0: none.
    """
    _keepers[:] = [LineKeeper(sink, count)] if count else []


def keeper() -> LineKeeper | None:
    """Return what keeps lines in this process, or None."""
    return _keepers[0] if _keepers else None


def hurry() -> None:
    """Have the lines of an attempt that has ended handed on at once."""
    for each in _keepers:
        each.hurry()


def flush() -> None:
    """Wait a moment for lines to be handed on: the process ends."""
    for each in _keepers:
        each.flush()


def _forget_after_fork() -> None:
    for each in _keepers:
        each.forget_after_fork()


os.register_at_fork(after_in_child=_forget_after_fork)
atexit.register(flush)
