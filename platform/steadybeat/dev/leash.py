"""One process on a leash: it leads its own group, and it does not outlive the process that started it.

Its own session keeps the terminal's Ctrl-C away from it, and lets a whole group be ended at once. On Linux the
kernel sends it a signal when its parent dies, even by SIGKILL (``prctl(PR_SET_PDEATHSIG)``). That signal is sent
when the *thread* that forked ends, so all processes are started by one thread that lives as long as the program.
Celery does the same for the children of its worker pools, and PostgreSQL for its backends.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launcher.py")

StopSteps = Sequence[tuple[signal.Signals, float]]
"""How a process is asked to end: each signal with the seconds it is given before the next; SIGKILL is the last."""


class Child:
    """A started process and its group.

    Attributes:
        pid: Its process id, which is the id of its group as well.
    """

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self.pid = popen.pid
        self._gone = False

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._popen.poll() is None

    @property
    def ending(self) -> str:
        """How it ended, in words: ``ended with exit code 1``, ``killed by SIGKILL``."""
        code = self._popen.poll()
        if code is None:
            return "runs"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    @property
    def succeeded(self) -> bool:
        """Whether it has ended with exit code 0."""
        return self._popen.poll() == 0

    def send(self, number: signal.Signals) -> None:
        """Signal the process alone."""
        if self.alive:
            self._popen.send_signal(number)

    def send_group(self, number: signal.Signals) -> None:
        """Signal every process of the group, also after its leader has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def wait(self, timeout_seconds: float) -> bool:
        """Return whether it ends within the time given."""
        try:
            self._popen.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self, steps: StopSteps, hurry: threading.Event | None = None) -> None:
        """End it and whatever its group still holds; return when it is gone.

        Args:
            steps: Signals to try and how long, in seconds, each may take. SIGKILL follows by itself.
            hurry: When set, also half-way, no step takes longer than half a second.
        """
        if self._gone:
            return  # the id of its group may be somebody else's by now
        for number, patience_seconds in steps:
            self.send(number)
            self.send_group(signal.SIGCONT)
            if self._ends_within(patience_seconds, hurry):
                break
        self.send_group(signal.SIGKILL)
        self._popen.wait()
        self._gone = True

    def _ends_within(self, patience_seconds: float, hurry: threading.Event | None) -> bool:
        began = time.monotonic()
        while (spent := time.monotonic() - began) < patience_seconds:
            if hurry is not None and hurry.is_set() and spent > 0.5:
                return False
            if self.wait(min(0.2, patience_seconds - spent)):
                return True
        return not self.alive


def spawn(
    argv: Sequence[str],
    *,
    death_signal: signal.Signals = signal.SIGKILL,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: Path | None = None,
    account: pwd.struct_passwd | None = None,
    keep_open: Sequence[int] = (),
) -> Child:
    """Start a program in a session of its own, on a leash.

    Args:
        argv: Program and arguments.
        death_signal: What it is sent when this process dies.
        env: Variables beside those of this process.
        cwd: Folder to run in.
        log: File that its output is appended to; nowhere unless given.
        account: System user to run as; this one unless given.
        keep_open: File descriptors it inherits.
    """
    user = f"{account.pw_uid}:{account.pw_gid}" if account else "-"
    leash = [sys.executable, "-I", "-S", str(LAUNCHER), str(int(death_signal)), str(os.getpid()), user]
    future = _spawner(os.getpid()).submit(_start, [*leash, *argv], env, cwd, log, tuple(keep_open))
    return Child(future.result())


@functools.cache
def _spawner(pid: int) -> ThreadPoolExecutor:
    """Return the one thread that forks; `pid` makes a forked copy of this program take one of its own."""
    return ThreadPoolExecutor(1, thread_name_prefix=f"steadybeat-spawner-{pid}")


def _start(
    argv: list[str],
    env: Mapping[str, str] | None,
    cwd: Path | None,
    log: Path | None,
    keep_open: tuple[int, ...],
) -> subprocess.Popen[bytes]:
    with contextlib.ExitStack() as stack:
        output = subprocess.DEVNULL if log is None else stack.enter_context(log.open("ab")).fileno()
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            start_new_session=True,
            pass_fds=keep_open,
        )
