"""One supervised process of the local stack: its state, its health, and its return after a crash."""

from __future__ import annotations

import enum
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from steadybeat.dev.leash import Child, StopSteps
from steadybeat.errors import SteadybeatError

BACKOFF_FIRST = timedelta(seconds=0.5)
BACKOFF_LONGEST = timedelta(seconds=30)
HEALTHY_AFTER = timedelta(minutes=1)
CHECK_EVERY = timedelta(seconds=10)
STILLBORN_COUNT = 3


class State(enum.StrEnum):
    """What a process of the stack is doing."""

    PENDING = "pending"  # its turn has not come
    STARTING = "starting"  # runs, and has not answered yet
    READY = "ready"  # answered its last health check
    SILENT = "silent"  # runs, and no longer answers
    RESTARTING = "restarting"  # has crashed; waits for its back-off
    DONE = "done"  # has done its work and ended well; steps of preparation only
    FAILED = "failed"  # gave up: never became ready, or a step of preparation ended badly
    STOPPED = "stopped"  # was told to


class Process:
    """One process that is kept running, or one step that runs once.

    Args:
        name: What it is called on the screen and in the log folder.
        launch: Starts it and returns at once; None for a server that somebody else runs.
        check: Whether it is healthy; called while it runs, and may take a few seconds at worst.
        log: File that holds its output, where there is one.
        stop: How it is asked to end.
        once: It is a step that runs to its end, instead of a process that is kept running.
        awaited: Whether what comes after it waits until it is ready.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(
        self,
        name: str,
        launch: Callable[[], Child] | None,
        *,
        check: Callable[[Process], bool] = lambda _: True,
        log: Path | None = None,
        stop: StopSteps = ((signal.SIGTERM, 2.0),),
        once: bool = False,
        awaited: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.log = log
        self.once = once
        self.awaited = awaited
        self.state = State.PENDING
        self.restarts = 0
        self.note = ""
        self.announce: Callable[[str], None] = lambda text: None
        self._launch = launch
        self._check = check
        self._stop = stop
        self._clock = clock
        self._child: Child | None = None
        self._since = 0.0
        self._check_at = 0.0
        self._retry_at = 0.0
        self._backoff = BACKOFF_FIRST
        self._crashes = 0
        self._was_ready = False
        self._lock = threading.RLock()

    @property
    def pid(self) -> int | None:
        """Process id, or None while it does not run."""
        child = self._child
        return child.pid if child is not None and child.alive else None

    @property
    def uptime(self) -> timedelta | None:
        """How long it has been running, or None while it does not run."""
        return timedelta(seconds=self._clock() - self._since) if self.pid is not None else None

    @property
    def settled(self) -> bool:
        """Whether what comes after it may start."""
        return self.state is (State.DONE if self.once else State.READY)

    @property
    def busy(self) -> bool:
        """Whether its state is about to change, so that it deserves a closer look."""
        return self.state in {State.STARTING, State.RESTARTING}

    def start(self) -> None:
        """Start it, unless it was started or stopped before; its health shows in `state` from `tick` on."""
        with self._lock:
            if self.state is State.PENDING:
                self._begin()

    def tick(self) -> None:
        """Look at it once, and act: note its health, note a crash, start it again when its back-off is over."""
        with self._lock:
            now = self._clock()
            child = self._child
            if self.state is State.RESTARTING and now >= self._retry_at:
                self.restarts += 1
                self._begin()
            if self.state not in {State.STARTING, State.READY, State.SILENT}:
                return
            if child is not None and not child.alive and child is self._child:
                self._ended(child)
                return
            if self.once or now < self._check_at:
                return
        healthy = self._check(self)  # takes its time, so a stop need not wait for it
        with self._lock:
            if child is self._child and self.state in {State.STARTING, State.READY, State.SILENT}:
                self._note_health(healthy, now)

    def stop(self, hurry: threading.Event | None = None) -> None:
        """End it, and everything in its group, for good.

        Args:
            hurry: When set, no step of asking takes longer than half a second.
        """
        with self._lock:
            ran = self.pid is not None
            if self._child is not None:
                self._child.end(self._stop, hurry)
            if self.state not in {State.DONE, State.FAILED}:
                self.state = State.STOPPED
            if ran:
                self.announce("stopped")

    def restart(self) -> None:
        """Stop it in good order and start it again at once."""
        with self._lock:
            if self._child is not None:
                self._child.end(self._stop)
            self.restarts += 1
            self.announce("restarts")
            self._begin()

    def kill(self) -> None:
        """End its group with SIGKILL, as a crash of its machine would; the supervisor starts it again."""
        self._signal_group(signal.SIGKILL)

    def pause(self) -> None:
        """Stop its group with SIGSTOP, as a stalled machine would, until `resume`."""
        self._signal_group(signal.SIGSTOP)

    def resume(self) -> None:
        """Let its group go on after `pause`."""
        self._signal_group(signal.SIGCONT)

    def _signal_group(self, number: signal.Signals) -> None:
        child = self._child
        if child is not None and child.alive:
            child.send_group(number)

    def _begin(self) -> None:
        self._since = self._check_at = self._clock()
        self.state = State.STARTING
        self.note = ""
        if self._launch is None:
            return
        try:
            self._child = self._launch()
        except (OSError, SteadybeatError) as error:
            self._child = None
            self._crashed(str(error))

    def _note_health(self, healthy: bool, now: float) -> None:
        if not healthy:
            if self.state is State.READY:
                self.state = State.SILENT
                self.announce("does not answer")
            return
        if self.state is not State.READY:
            again = self.state is State.SILENT
            self.state = State.READY
            self.announce("answers again" if again else f"ready in {now - self._since:.1f} s")
        self._was_ready = True
        self._crashes = 0
        self._check_at = now + CHECK_EVERY.total_seconds()
        if now - self._since >= HEALTHY_AFTER.total_seconds():
            self._backoff = BACKOFF_FIRST

    def _ended(self, child: Child) -> None:
        child.end(())  # what its group has left behind
        if self.once and child.succeeded:
            self.state = State.DONE
            self.announce(f"done in {self._clock() - self._since:.1f} s")
        else:
            self._crashed(child.ending)

    def _crashed(self, reason: str) -> None:
        self._crashes += 1
        if self.once or (self._crashes >= STILLBORN_COUNT and not self._was_ready):
            self.state = State.FAILED
            self.note = reason
            self.announce(f"failed: {reason}")
            return
        pause = self._backoff
        self._retry_at = self._clock() + pause.total_seconds()
        self._backoff = min(self._backoff * 2, BACKOFF_LONGEST)
        self.state = State.RESTARTING
        self.note = f"{reason}; again in {pause.total_seconds():g} s"
        self.announce(self.note)
