"""Several processes, started in order, kept running, and stopped in reverse order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Self

from steadybeat.dev.process import Process, State
from steadybeat.errors import SteadybeatError

IDLE_TICK_SECONDS = 0.5
BUSY_TICK_SECONDS = 0.1
TAIL_BYTES = 4096


class StackError(SteadybeatError):
    """The local stack does not come up, or runs already."""

    exit_code = 1


class Supervisor:
    """Runs tiers of processes in a thread of its own.

    A tier starts when all that is awaited of the one before it is ready; they stop in reverse order.

    Args:
        tiers: The processes; those of one tier start and stop together.
        output: Called with one line of text for each event, from any thread.
    """

    def __init__(self, tiers: Sequence[Sequence[Process]], output: Callable[[str], None] = lambda line: None) -> None:
        self.tiers = [list(tier) for tier in tiers]
        self.output = output
        self.ready_after: timedelta | None = None
        self.failure: str | None = None
        self._stopping = threading.Event()
        self._hurry = threading.Event()
        self._settled = threading.Event()
        self._thread = threading.Thread(target=self._run, name="steadybeat-supervisor", daemon=True)
        for process in self.processes:
            process.announce = self._announcer(process.name)

    @property
    def processes(self) -> list[Process]:
        """All processes, in the order in which they start."""
        return [process for tier in self.tiers for process in tier]

    def process(self, name: str) -> Process:
        """Return the process of that name.

        Raises:
            StackError: There is none, with the names there are.
        """
        for process in self.processes:
            if process.name == name:
                return process
        names = ", ".join(process.name for process in self.processes)
        raise StackError(f"There is no process {name!r}; there are {names}.", name=name)

    def start(self) -> None:
        """Start the first tier now and the others when their turn comes; return at once."""
        self._thread.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_ready(self, timeout: timedelta) -> None:
        """Return when every process is ready.

        Raises:
            StackError: One of them has failed, or time is up, with the last lines of its log.
        """
        in_time = self._settled.wait(timeout.total_seconds())
        if self.failure:
            raise StackError(self.failure)
        if not in_time or self.ready_after is None:
            late = [f"{each.name} is {each.state}" for each in self.processes if not each.settled]
            raise StackError(f"Not ready after {timeout.total_seconds():g} s: {', '.join(late)}.")

    def stop(self) -> None:
        """Stop every process in reverse order and return when all are gone, within 15 s at worst."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1)
        for tier in reversed(self.tiers):
            if tier:
                with ThreadPoolExecutor(len(tier)) as pool:
                    list(pool.map(lambda process: process.stop(self._hurry), tier))
        self._settled.set()

    @property
    def stopping(self) -> bool:
        """Whether `stop` has been called."""
        return self._stopping.is_set()

    def tell(self, line: str) -> None:
        """Pass one event on."""
        self.output(line)

    def hurry(self) -> None:
        """Make a `stop` that is under way ask less patiently."""
        self._hurry.set()

    def _announcer(self, name: str) -> Callable[[str], None]:
        def announce(text: str) -> None:
            self.tell(f"{name} {text}")

        return announce

    def _run(self) -> None:
        began = time.monotonic()
        for tier in self.tiers:
            for process in tier:
                process.start()
            if not self._bring_up([process for process in tier if process.awaited]):
                break
        else:
            if self._bring_up(self.processes):
                self.ready_after = timedelta(seconds=time.monotonic() - began)
                self.tell(f"everything ready in {self.ready_after.total_seconds():.1f} s")
        self._settled.set()
        while not self.failure and not self._stopping.wait(self._tick()):
            pass

    def _bring_up(self, awaited: list[Process]) -> bool:
        """Return whether all of them became ready; keep the earlier ones running meanwhile."""
        while not all(process.settled for process in awaited):
            pause = self._tick()
            for process in self.processes:
                if process.state is State.FAILED:
                    self.failure = f"{process.name} failed: {process.note}.{last_lines(process)}"
                    return False
            if self._stopping.wait(pause):
                return False
        return True

    def _tick(self) -> float:
        """Look at every process; return how many seconds the next look may wait."""
        for process in self.processes:
            if not self._stopping.is_set():
                process.tick()
        busy = any(process.busy for process in self.processes)
        return BUSY_TICK_SECONDS if busy else IDLE_TICK_SECONDS


def last_lines(process: Process, count: int = 8) -> str:
    """Return the last lines of a process's log, each on an indented line of its own, or an empty text."""
    if process.log is None or not process.log.exists():
        return ""
    with process.log.open("rb") as file:
        file.seek(max(0, process.log.stat().st_size - TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    return "".join(f"\n  {line}" for line in lines[-count:] if line.strip())
