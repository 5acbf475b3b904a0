"""Crash points: where a process ends itself with SIGKILL when a test has armed it.

A point is armed by ``steadybeat_crash_at="after_effect:tasks.royalties.pay_royalty:2"``: which point, for which task
(``*`` or nothing: any), how often in all (once unless given); several stand side by side. Crashes are counted by
files in ``steadybeat_crash_folder``, one for each, so that all processes count together and a test can see what has
happened. Without that folder nothing can be armed: one setting that is left behind crashes no one.

``steadybeat_crash_at="written"``: the points stand in the file ``points`` of that folder, which is read whenever a run
comes by; so the probes of the audit arm other points for each task, in processes that go on.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

from steadybeat.errors import ConfigurationError, did_you_mean
from steadybeat.settings import Settings

logger = logging.getLogger(__name__)

POINTS = {
    "after_record": "a run is on record, and its message is not sent",
    "after_outbox": "the relay has sent a message, and has not marked it as sent",
    "after_claim": "an attempt has its lease, and the task's code has not begun",
    "halfway": "the task's code is at work for as long as the file ``halfway`` of the folder says, in seconds",
    "before_commit": "the task's own code is about to commit a transaction of its own; in probes only",
    "after_commit": "that transaction is committed, and the task's code goes on; in probes only",
    "after_effect": "an effect has happened, and the task's code does not know yet",
    "before_finish": "the task's code has ended, and its outcome is not written",
    "before_ack": "the outcome is written, and the message is not acknowledged",
    "before_end": "the last tenant of a fan-out has ended, and the end of the fan-out's own run is not written",
}
"""Every point, in the order in which a run comes by, and what lies on either side of it."""

WRITTEN = "written"
"""What stands in the place of points that a file names."""


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """One point that is armed.

    Attributes:
        name: One of `POINTS`.
        task: Name of the task for which it counts; None: any.
        times: How often it ends a process, all processes together.
    """

    name: str
    task: str | None
    times: int

    @classmethod
    def read(cls, text: str) -> CrashPoint:
        """Return the point that a text such as ``after_claim:tasks.royalties.settle:2`` means.

        Raises:
            ConfigurationError: There is no such point, or it has no such form.
        """
        name, _, rest = text.partition(":")
        task, _, times = rest.partition(":")
        if name not in POINTS:
            near = did_you_mean(name, POINTS) or f" It must be one of {', '.join(POINTS)}."
            raise ConfigurationError(f"steadybeat_crash_at={text!r}: there is no point {name!r}.{near}", value=text)
        if times and not (times.isdecimal() and int(times) > 0):
            raise ConfigurationError(
                f"steadybeat_crash_at={text!r}: must be of the form point:task:times, such as after_claim:*:2.",
                value=text,
            )
        return cls(name, None if task in ("", "*") else task, int(times or 1))


class CrashPoints:
    """The points that are armed in this process.

    Args:
        points: Which.
        folder: Where crashes are counted: files ``<point>-<number>``, in each the process id.

    Raises:
        ConfigurationError: The folder does not exist.
    """

    def __init__(self, points: tuple[CrashPoint, ...], folder: Path) -> None:
        if not folder.is_dir():
            raise ConfigurationError(
                f"steadybeat_crash_folder={str(folder)!r}: must be a folder that exists.", value=str(folder)
            )
        self._points = points
        self._folder = folder

    def reach(self, name: str, task: str | None) -> None:
        """End this process here if the point is armed, and has not ended processes often enough.

        Args:
            name: One of `POINTS`.
            task: Name of the task whose run comes by.
        """
        for point in self._points:
            if point.name == name and point.task in (None, task) and self._takes_a_turn(point):
                os.kill(os.getpid(), signal.SIGKILL)

    def _takes_a_turn(self, point: CrashPoint) -> bool:
        for number in range(1, point.times + 1):
            try:
                with (self._folder / f"{point.name}-{number}").open("x") as file:
                    file.write(f"{os.getpid()}\n")
            except FileExistsError:
                continue
            return True
        return False


class WrittenPoints(CrashPoints):
    """The points that the file ``points`` of the folder names at the moment, one a line; none while there is no file.

    Args:
        folder: Where it is, and where crashes are counted.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__((), folder)
        self._halfway: threading.Timer | None = None

    def reach(self, name: str, task: str | None) -> None:
        """End this process here if the file names the point, and it has not ended processes often enough."""
        if self._halfway is not None and name in ("after_claim", "before_finish"):
            self._halfway.cancel()
        with contextlib.suppress(FileNotFoundError):
            self._points = tuple(map(CrashPoint.read, (self._folder / "points").read_text().split()))
            super().reach(name, task)
            if name == "after_claim" and any(point.name == "halfway" for point in self._points):
                seconds = float((self._folder / "halfway").read_text())
                self._halfway = threading.Timer(seconds, self.reach, ["halfway", task])
                self._halfway.daemon = True
                self._halfway.start()


def armed(settings: Settings) -> CrashPoints | None:
    """Return the points that the settings arm, or None, and say loudly that there are any.

    Raises:
        ConfigurationError: A point does not exist, or there is no folder to count in.
    """
    points = tuple(CrashPoint.read(text) for text in settings.crash_at if text != WRITTEN)
    if not settings.crash_at:
        return None
    if not settings.crash_folder:
        raise ConfigurationError(
            f"steadybeat_crash_at={' '.join(settings.crash_at)!r}: kills processes, for tests only, and counts in"
            " steadybeat_crash_folder, which is not set. Set that as well, or neither.",
            name="crash_at",
        )
    folder = Path(settings.crash_folder)
    found = WrittenPoints(folder) if WRITTEN in settings.crash_at else CrashPoints(points, folder)
    logger.warning("crash points armed: processes will kill themselves", extra={"crash_at": [*settings.crash_at]})
    return found
