"""StopSignals: a process that is asked to stop finishes its tick first.

Celery closes a Beat from within its signal handler, wherever the signal happens to interrupt it. If the interrupted
code holds a lock that closing needs, both wait for each other until the process is killed. Here the handler does no
work, and nothing is interrupted but sleep.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """SIGTERM and SIGINT of a process that works in ticks and sleeps between them."""

    def __init__(self) -> None:
        self._asked = False
        self._at_work = False

    def install(self) -> None:
        """Take the place of the handlers that are there; in a thread, which may not, do nothing."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                signal.signal(number, self._stop)

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Let no signal interrupt the block; one that came meanwhile ends the process after it.

        Raises:
            SystemExit: The process was asked to stop.
        """
        self._at_work = True
        try:
            yield
        finally:
            self._at_work = False
        if self._asked:
            raise SystemExit

    def _stop(self, *_: Any) -> None:
        before, self._asked = self._asked, True
        if not (before or self._at_work):  # one is enough: the next must not interrupt the closing
            raise SystemExit
