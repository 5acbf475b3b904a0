"""Pulse: how a process shows, on its own machine alone, that it is doing something.

    <folder>/<role>-<pid>.json    {"app": …, "role": …, "pid": …, "born": …, "parts": {name: seconds or null}}

A part is what must not stand still: a worker's event loop, a Beat's tick. Beside it stands until when it must be heard
of again, in seconds of the clock that runs since the machine was booted (CLOCK_MONOTONIC); null while it has a good
reason to be silent. `born` is when the process started, in the kernel's ticks, so that another process under the same
id is not taken for it. The file goes when its process ends well; what a killed one leaves is cleared away by the next
of its role. No server is asked: whoever checks the health of a process must not depend on the network.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from steadybeat.errors import ConfigurationError
from steadybeat.settings import Settings

logger = logging.getLogger(__name__)

EVENT_LOOP, KEEPER, TICK, WATCH = "event loop", "keeper", "tick", "watch"
MAIN_PARTS = {"worker": EVENT_LOOP, "beat": TICK, "watchdog": TICK}
"""Which part a process of a role must have been heard of before it counts as at work."""

_REWRITE_SECONDS = 1.0
"""A file is written at most this often for one part, however often the part is heard of."""


@dataclass(frozen=True, slots=True)
class Vital:
    """What one process shows of itself.

    Attributes:
        app: Name of its Celery app.
        role: ``worker``, ``beat`` or ``watchdog``.
        pid: Its process id.
        parts: Until when each part must be heard of again, in seconds of the monotonic clock; None: it may be silent.
    """

    app: str
    role: str
    pid: int
    parts: Mapping[str, float | None]

    def silent(self, now: float) -> dict[str, timedelta]:
        """Return the parts that should have been heard of by `now`, and how long ago that was."""
        return {
            part: timedelta(seconds=now - until)
            for part, until in self.parts.items()
            if until is not None and until < now
        }

    def is_well(self, now: float) -> bool:
        """Whether it has begun its work, and no part of it stands still."""
        return MAIN_PARTS.get(self.role) in self.parts and not self.silent(now)


class Pulse:
    """The pulse of this process. Safe to use from several threads, and from signal handlers.

    Args:
        settings: `health_folder` and `health_seconds` are used.
        app: Name of the Celery app.
        role: ``worker``, ``beat`` or ``watchdog``.
        clock: Seconds of a clock that never jumps and that all processes of the machine share.

    Raises:
        ConfigurationError: The folder cannot be written, or belongs to somebody else.
    """

    def __init__(self, settings: Settings, app: str, role: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._within = settings.health_seconds
        self._clock = clock
        self._facts = {"app": app, "role": role, "pid": os.getpid(), "born": born(os.getpid())}
        self._parts: dict[str, float | None] = {}
        self._written_at: dict[str, float] = {}
        self._lock = threading.RLock()  # a signal handler may interrupt the thread that has it
        self._writing = self._changed = self._ended = False
        folder = folder_of(settings)
        self._file = folder / f"{role}-{os.getpid()}.json"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.stat().st_uid != os.geteuid():
                raise PermissionError(errno.EPERM, "it belongs to another user")
            _clear_away(folder, role)
            self._write()
        except OSError as error:
            raise ConfigurationError(
                f"steadybeat_health_folder={str(folder)!r}: cannot be written: {error.strerror}. Point"
                " STEADYBEAT_HEALTH_FOLDER to a folder that can.",
                name="health_folder",
            ) from error

    def beat(self, part: str, *, within: timedelta | None = None) -> None:
        """Say that a part goes on.

        Args:
            part: What goes on: `EVENT_LOOP`, `KEEPER`, `TICK` or `WATCH`.
            within: How long it may now be silent; ``steadybeat_health_seconds`` unless given.
        """
        now = self._clock()
        if now - self._written_at.get(part, -_REWRITE_SECONDS) >= _REWRITE_SECONDS:
            self._put(part, now, now + (self._within if within is None else within.total_seconds()))

    def rest(self, part: str) -> None:
        """Say that a part has a good reason to be silent, until it is heard of again."""
        self._put(part, -_REWRITE_SECONDS, None)

    def end(self) -> None:
        """Take the file away: the process ends well."""
        with self._lock:
            self._ended = True
            self._show()

    def _put(self, part: str, now: float, until: float | None) -> None:
        with self._lock:
            self._written_at[part] = now
            self._parts[part] = until
            self._show()

    def _show(self) -> None:
        """Make the file say what is so; what changes meanwhile is left to whoever is at it already."""
        self._changed = True
        if self._writing:
            return
        self._writing = True
        try:
            while self._changed:
                self._changed = False
                self._take_away() if self._ended else self._write()
        except OSError as error:
            logger.warning("health not shown", extra={"file": str(self._file), "error": str(error)})
        finally:
            self._writing = False
        if self._changed:  # by a signal handler, after the last look
            self._show()

    def _write(self) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps({**self._facts, "parts": self._parts}))
        fresh.replace(self._file)

    def _take_away(self) -> None:
        for each in (self._file, self._file.with_suffix(".new")):
            each.unlink(missing_ok=True)


def folder_of(settings: Settings) -> Path:
    """Return the folder in which processes with these settings show their health."""
    return Path(settings.health_folder or Path(tempfile.gettempdir()) / f"steadybeat-{os.geteuid()}").absolute()


def vitals(settings: Settings, role: str) -> list[Vital]:
    """Return what the living processes of a role show on this machine, oldest first.

    Args:
        settings: `health_folder` is used.
        role: ``worker``, ``beat`` or ``watchdog``.
    """
    found = []
    for file in folder_of(settings).glob(f"{role}-*.json"):
        facts = _read(file)
        if facts is not None:
            found.append((facts["born"], Vital(facts["app"], facts["role"], facts["pid"], facts["parts"])))
    return [vital for _, vital in sorted(found, key=lambda each: each[0])]


def _read(file: Path) -> dict[str, Any] | None:
    """Return what a file says, or None where its process is gone or the file is none of ours."""
    try:
        facts = json.loads(file.read_text())
        alive = facts["born"] == born(facts["pid"]) != 0
        return facts if alive and isinstance(facts["parts"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _clear_away(folder: Path, role: str) -> None:
    for file in folder.glob(f"{role}-*.json"):
        if _read(file) is None:
            file.unlink(missing_ok=True)


def born(pid: int) -> int:
    """Return when a process started, in ticks since the machine was booted; 0 where it does not live.

    Source: proc(5), ``/proc/<pid>/stat``: field 3 is the state, 22 the start; field 2, the program's name, may hold
    anything but ``)``.
    """
    try:
        state, *later = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return 0
    return 0 if state in "ZX" else int(later[18])
