"""The one place where tests wait, and what they wait for of a process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def eventually(ask: Callable[[], T], seconds: float = 60.0) -> T:
    """Return what `ask` answers as soon as it is true; an `AssertionError` counts as "not yet".

    Args:
        ask: A question, or an assertion that returns something true.
        seconds: When to give up, with the last answer or the last assertion that failed. Generous: it bounds how
            long a broken promise takes, and says nothing of how long a kept one does.
    """
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while True:
        try:
            answer = ask()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        else:
            if answer:
                return answer
            assert time.monotonic() <= deadline, f"after {seconds:g} s it is still {answer!r}"
        pause.wait(0.05)


def gone(pid: int) -> bool:
    """Return whether a process has ended; one that nobody has waited for yet has ended too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
