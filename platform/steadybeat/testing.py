"""Testing: what becomes of a task of yours when its process is killed at the worst moments.

    from steadybeat import testing

    @pytest.mark.parametrize("point", testing.CRASH_POINTS)
    def test_a_sale_is_paid_once_wherever_its_worker_dies(point):
        crashed = testing.crash(pay_royalty.s(7), at=point)
        assert crashed.state == "succeeded"
        assert payments(7) == 1

Real processes of your app, started as in production, on the Redis and the Postgres that the test uses.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from steadybeat.crashpoints import POINTS, CrashPoint
from steadybeat.dev.leash import Child, spawn
from steadybeat.errors import ConfigurationError

__all__ = ["CRASH_POINTS", "Crashed", "crash"]

_OTHERS = ("after_record", "halfway", "before_commit", "after_commit", "before_end")
CRASH_POINTS = tuple(name for name in POINTS if name not in _OTHERS)
"""The points that a run comes by once its caller has sent it, in their order; a fan-out's comes by `before_end` too."""

SHORT_TIMES = {
    "STEADYBEAT_LEASE_SECONDS": "2",
    "STEADYBEAT_KEEPER_SECONDS": "0.5",
    "STEADYBEAT_GRACE_SECONDS": "1",
    "STEADYBEAT_RETRY_BACKOFF_SECONDS": "0.2",
}
"""What the processes are told beside what the environment says, so that a test need not wait for long leases."""

_POLL_SECONDS = 0.05
_AFTERWARDS_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Crashed:
    """What became of a run whose processes were killed.

    Attributes:
        run: Its id.
        state: ``succeeded``, ``dead`` or ``cancelled``.
        reason: Why, where it did not succeed.
        attempts: How each attempt ended, in their order.
        crash_count: How often a process has killed itself.
    """

    run: str
    state: str
    reason: str | None
    attempts: tuple[str | None, ...]
    crash_count: int


def crash(
    signature: Any,
    *,
    at: str | Sequence[str],
    times: int = 1,
    app: str | None = None,
    pool: str = "prefork",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: timedelta = timedelta(seconds=60),
) -> Crashed:
    """Start a run whose processes are killed at some points, and return what became of it.

    A worker and a watchdog are started for it, and again when they have been killed. At the end every message that
    Redis still holds as not acknowledged comes back, as it would after the visibility timeout; only then do they
    end. Point the app at servers of the test: other work on its queues would be worked on as well.

    Args:
        signature: What to run, such as ``pay_royalty.s(7)``; it is sent by this process.
        at: One of `CRASH_POINTS`, or several; ``before_end`` is the fan-out's.
        times: How often each ends a process.
        app: What stands behind ``celery -A``; the name of the signature's app unless given.
        pool: ``prefork``: the process that runs the task is killed, at ``before_ack`` the worker with it. ``solo``:
            always the whole worker, so that the run has to wait until its lease has passed.
        env: Variables for the processes, beside those of this one and `SHORT_TIMES`.
        cwd: Where they are started; here unless given.
        timeout: When to give up.

    Raises:
        AssertionError: The run has not ended in time, or without coming by a point; with the end of the logs.
        ConfigurationError: There is no such point.
    """
    points = [CrashPoint.read(f"{name}:{signature.task}:{times}") for name in ([at] if isinstance(at, str) else at)]
    if any(point.name == "after_record" for point in points):
        known = ", ".join((*CRASH_POINTS, "before_end"))
        raise ConfigurationError(f"at={at!r}: must be of {known}; this process sends the run.", at=at)
    settings = signature.app.steadybeat.settings
    with tempfile.TemporaryDirectory(prefix="steadybeat-crash-") as name:
        armed = {
            "STEADYBEAT_CRASH_AT": " ".join(f"{each.name}:{each.task}:{each.times}" for each in points),
            "STEADYBEAT_CRASH_FOLDER": name,
            "STEADYBEAT_DATABASE_URL": settings.database_url,
            "STEADYBEAT_REDIS_URL": settings.redis_url,
            "STEADYBEAT_HEALTH_FOLDER": f"{name}/health",
        }
        processes = _Processes(
            app or signature.app.main, pool, {**SHORT_TIMES, **armed, **(env or {})}, cwd, Path(name)
        )
        try:
            return _Trial(signature, points, processes, timeout).outcome()
        finally:
            processes.end()


class _Processes:
    """A worker and a watchdog, which are started again when they have been killed."""

    def __init__(self, app: str, pool: str, env: Mapping[str, str], cwd: Path | None, folder: Path) -> None:
        one = ["-c", "1", "-P", pool, "-n", f"{folder.name}@%h", "--without-gossip", "--without-mingle"]
        self._argv = {
            role: [sys.executable, "-m", "celery", "-A", app, role, "-l", "INFO", *options]
            for role, options in {"worker": one, "watchdog": []}.items()
        }
        self._env, self._cwd, self.folder = env, cwd, folder
        self._children: dict[str, Child] = {}

    def keep_running(self) -> None:
        """Start what does not run.

        Raises:
            AssertionError: One has ended by itself.
        """
        for role, argv in self._argv.items():
            child = self._children.get(role)
            if child is not None and not child.alive and child.ending != "killed by SIGKILL":
                raise AssertionError(f"the {role} {child.ending}{self.logs()}")
            if child is None or not child.alive:
                self._end(role)
                log = self.folder / f"{role}.log"
                self._children[role] = spawn(argv, env=self._env, cwd=self._cwd, log=log)

    def logs(self) -> str:
        """Return the end of what they have said, for a person."""
        said = ""
        for log in sorted(self.folder.glob("*.log")):
            said += f"\n--- {log.name}\n{log.read_text(errors='replace')[-3000:]}"
        return said

    def crash_count(self, point: CrashPoint) -> int:
        """Return how often a process has killed itself at a point."""
        return len([*self.folder.glob(f"{point.name}-*")])

    def end(self) -> None:
        """End them, whatever they do."""
        for role in [*self._children]:
            self._end(role)

    def _end(self, role: str) -> None:
        if role in self._children:
            self._children.pop(role).end(())


class _Trial:
    """One run, from its sending to its end."""

    def __init__(self, signature: Any, points: Sequence[CrashPoint], processes: _Processes, timeout: timedelta) -> None:
        self._signature, self._points, self._processes = signature, points, processes
        self._app = signature.app
        self._timeout = timeout

    def outcome(self) -> Crashed:
        """Send the run and see it to its end."""
        now_or_later = {"countdown": 0.01} if any(point.name == "after_outbox" for point in self._points) else {}
        self._processes.keep_running()
        run = str(self._signature.apply_async(**now_or_later).id)
        if not self._waits_until(lambda: self._found(run)["finished_at"] is not None, self._timeout.total_seconds()):
            found = self._found(run)
            raise AssertionError(
                f"after {self._timeout} the run is {found['state']} ({found['reason']}){self._processes.logs()}"
            )
        queue = self._found(run)["queue"]
        self._waits_until(lambda: self._all_reached() or self._nothing_comes_back(queue), _AFTERWARDS_SECONDS)
        self._waits_until(lambda: self._nothing_comes_back(queue), _AFTERWARDS_SECONDS)
        found = self._found(run)
        for point in self._points:
            if self._processes.crash_count(point) < point.times:
                raise AssertionError(
                    f"{point.name} was reached {self._processes.crash_count(point)} times of {point.times}, and the"
                    f" run is {found['state']}: {POINTS[point.name]}{self._processes.logs()}"
                )
        attempts = tuple(each["outcome"] for each in found["attempts"])
        crashes = sum(self._processes.crash_count(point) for point in self._points)
        return Crashed(run, found["state"], found["reason"], attempts, crashes)

    def _found(self, run: str) -> dict[str, Any]:
        found = self._app.steadybeat.ledger.story.run(run)
        assert found is not None, f"run {run} is not on record"
        return dict(found)

    def _all_reached(self) -> bool:
        return all(self._processes.crash_count(point) >= point.times for point in self._points)

    def _nothing_comes_back(self, queue: str) -> bool:
        """Have Redis deliver again what nobody acknowledges within a second; return whether nothing is left."""
        with self._app.connection_for_write(transport_options={"visibility_timeout": 1}) as connection:
            channel = connection.default_channel
            held = channel.client.zcard(channel.unacked_index_key)
            channel.qos.restore_visible(interval=1)
            return not held and not channel._size(queue)

    def _waits_until(self, condition: Any, seconds: float) -> bool:
        deadline, pause = time.monotonic() + seconds, threading.Event()
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._processes.keep_running()
            pause.wait(_POLL_SECONDS)
        return True
