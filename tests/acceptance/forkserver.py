"""Starts `celery` processes by forking one that has imported celery and steadybeat already.

Importing takes a second of a core, and these tests start hundreds of processes. The forked process is what `python -m
celery` would be: its own session, environment, folder, output and arguments; the project's modules are imported by it
alone. What has to be there before the first import (`LD_PRELOAD`, gevent) needs a process from scratch, and so does the
catalogue: its commands are Celery's, so that it is imported with them.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

from steadybeat.dev.leash import Child, spawn
from steadybeat.task.keeper import die_with_parent

CELERY = (sys.executable, "-m", "celery")
PRELOADED = (
    "celery.bin.celery",
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.concurrency.prefork",
    "celery.events.state",
    "celery.worker.consumer",
    "celery.worker.strategy",
    "kombu.transport.redis",
    "redbeat",
    "sqlalchemy.dialects.postgresql.psycopg",
    "steadybeat.app",
    "steadybeat.beat",
    "steadybeat.canvas",
    "steadybeat.channel.transport",
    "steadybeat.task.consumer",
    "steadybeat.watchdog",
)
PROJECTS = {"shop", "depot"}
FROM_SCRATCH = ("LD_", "PYTHON", "REMAP_SIGTERM")
"""Variables that are read before a forked process could have its own; all but PYTHONPATH."""


def start(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path) -> Child:
    """Start a program as `leash.spawn` does: forked if it is `celery` as it is here, and anew otherwise."""
    if not _can_be_forked(argv, env):
        return spawn(argv, env=env, cwd=cwd, log=log)
    forked = _server().fork(argv, env, cwd, log, log)
    return Child(cast("subprocess.Popen[bytes]", forked))


def run(
    argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end as `subprocess.run` does, with its output as text."""
    if not _can_be_forked(argv, env):
        return subprocess.run(
            argv, env={**os.environ, **env}, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False
        )
    out, err = (os.memfd_create(name) for name in ("out", "err"))
    try:
        mine = Path(f"/proc/{os.getpid()}/fd")
        code = _server().fork(argv, env, cwd, mine / str(out), mine / str(err)).wait(timeout)
        said = [os.pread(each, os.fstat(each).st_size, 0).decode() for each in (out, err)]
        return subprocess.CompletedProcess([*argv], code, *said)
    finally:
        os.close(out)
        os.close(err)


def _can_be_forked(argv: Sequence[str], env: Mapping[str, str]) -> bool:
    changed = {name for name, value in env.items() if os.environ.get(name) != value} - {"PYTHONPATH"}
    too_late = any(name.startswith(FROM_SCRATCH) for name in changed) or {"gevent", "eventlet"} & {*argv}
    return (*argv[:4],) == (*CELERY, "-A") and argv[4] in PROJECTS and not too_late


class Forked:
    """What tests need of `subprocess.Popen`, for a process that another one has forked and waits for."""

    def __init__(self, argv: Sequence[str], pid: int) -> None:
        self.args = [*argv]
        self.pid = pid
        self.returncode: int | None = None
        self.has_ended = threading.Event()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if not self.has_ended.wait(timeout):
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def end(self, code: int) -> None:
        self.returncode = code
        self.has_ended.set()


class Server:
    """The process that forks, as seen from the one that asks it to."""

    def __init__(self) -> None:
        mine, its = socket.socketpair()
        argv = [sys.executable, __file__, str(its.fileno())]
        self._child = spawn(argv, keep_open=(its.fileno(),), log=Path(os.devnull))
        its.close()
        self._channel = mine.makefile("rw")
        self._turn = threading.Lock()
        self._asked: Sequence[str] = ()
        self._started: list[Forked] = []
        self._has_started = threading.Semaphore(0)
        threading.Thread(target=self._listen, name="forkserver", daemon=True).start()

    def fork(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path, out: Path, err: Path) -> Forked:
        """Start a process and return it."""
        asked = {
            "argv": [*argv[len(CELERY) :]],
            "env": {**os.environ, **env},
            "cwd": str(cwd),
            "out": str(out),
            "err": str(err),
        }
        with self._turn:
            self._asked = argv
            self._channel.write(json.dumps(asked) + "\n")
            self._channel.flush()
            if not self._has_started.acquire(timeout=60):
                raise RuntimeError(f"the fork server {self._child.ending}")
            return self._started.pop()

    def _listen(self) -> None:
        living: dict[int, Forked] = {}
        for line in self._channel:
            told = json.loads(line)
            if "code" in told:
                living.pop(told["pid"]).end(told["code"])
            else:
                forked = living[told["pid"]] = Forked(self._asked, told["pid"])
                self._started.append(forked)
                self._has_started.release()


@functools.cache
def _server() -> Server:
    return Server()


# From here on: the process that forks


def serve(channel: socket.socket) -> list[str] | None:
    """Fork for every request, and tell which processes have ended; return the arguments in each forked process."""
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker.fileno())
    server, requests = os.getpid(), channel.makefile("r")
    for line in iter(lambda: _next_request(channel, woken, requests), ""):
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for each in (requests, channel, woken, waker):
                each.close()
            request = json.loads(line)
            _become(request, server)
            return cast("list[str]", request["argv"])
        _tell(channel, {"pid": pid})
    return None


def _next_request(channel: socket.socket, woken: socket.socket, requests: IO[str]) -> str:
    while True:
        ready, _, _ = select.select([channel, woken], [], [])
        if woken in ready:
            woken.recv(1024)
            for ended in iter(_reaped, None):
                _tell(channel, ended)
        if channel in ready:
            return requests.readline()


def _tell(channel: socket.socket, fact: Mapping[str, int]) -> None:
    channel.sendall(json.dumps(fact).encode() + b"\n")


def _reaped() -> dict[str, int] | None:
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return {"pid": pid, "code": os.waitstatus_to_exitcode(status)} if pid else None


def _become(request: Mapping[str, Any], server: int) -> None:
    """Become what was asked for: on a leash, in its own session."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    die_with_parent(server)
    for number, name in ((1, "out"), (2, "err")):
        opened = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    os.chdir(request["cwd"])
    sys.path[0:1] = [request["cwd"], *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]


if __name__ == "__main__":
    for name in PRELOADED:
        importlib.import_module(name)
    assert threading.active_count() == 1
    gc.collect()
    gc.freeze()
    arguments = serve(socket.socket(fileno=int(sys.argv[1])))
    if arguments is not None:
        sys.argv[1:] = arguments
        runpy.run_module("celery", run_name="__main__", alter_sys=True)
