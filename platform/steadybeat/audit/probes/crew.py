"""Crew: the processes of one scratch place. A driver tries tasks, workers run them; all end with the probe."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steadybeat.audit.probes.driver import CRASHES, TOLD, WORKERS
from steadybeat.audit.probes.place import Place
from steadybeat.audit.probes.trials import COMMANDS
from steadybeat.crashpoints import WRITTEN
from steadybeat.errors import ConfigurationError

SHORT_TIMES = {
    "STEADYBEAT_LEASE_SECONDS": "5",
    "STEADYBEAT_KEEPER_SECONDS": "1",
    "STEADYBEAT_GRACE_SECONDS": "3",
    "STEADYBEAT_RETRY_BACKOFF_SECONDS": "0.2",
    "STEADYBEAT_CRASH_COUNT": "100",
}
"""What the processes are told of times, so that a probe need not wait for long leases, and of how many may die."""

_POOL = 1
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A sub-command that the application keeps running, as ``steadybeat_dev_run`` writes it.

    Attributes:
        command: Such as ``mailbox``.
        environment: What every process is told of where it is.
        answers: Returns whether it has come up.
    """

    command: str
    environment: Mapping[str, str]
    answers: Callable[[], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """How processes are started; this room knows none that does.

    Attributes:
        spawn: Starts a program: ``spawn(argv, env=, cwd=, log=)``; it has ``alive``, ``ending`` and ``end(steps)``, and
            does not outlive this process.
        keep: Returns what the application keeps running, each time at addresses of its own.
    """

    spawn: Callable[..., Any]
    keep: Callable[[], Sequence[Kept]]


@dataclass(slots=True)
class Crew:
    """The processes of one scratch place.

    Args:
        app_name: What stands behind ``celery -A``.
        place: Where they work.
        folder: An empty folder of theirs.
        means: How they are started.
        given: ``steadybeat_audit_environment``.
    """

    app_name: str
    place: Place
    folder: Path
    means: Means
    given: Sequence[str] = ()
    _env: dict[str, str] = field(default_factory=dict)
    _kept: Sequence[Kept] = ()
    _running: dict[str, Any] = field(default_factory=dict)
    _read: int = 0

    def __post_init__(self) -> None:
        for name in (CRASHES, COMMANDS):
            (self.folder / name).mkdir(parents=True)
        self._kept = self.means.keep()
        here = [os.getcwd(), *filter(None, [os.environ.get("PYTHONPATH")])]  # noqa: PTH109 - a text for a variable
        self._env = {
            "PYTHONPATH": os.pathsep.join(here),
            "PYTHONUNBUFFERED": "1",
            **SHORT_TIMES,
            **self.place.environment,
            "STEADYBEAT_SCRATCH_FOLDER": str(self.folder),
            "STEADYBEAT_HEALTH_FOLDER": str(self.folder / "health"),
        }
        for each in self._kept:
            self._env |= each.environment
        told = {"database_url": self.place.database_url, "redis_url": self.place.redis_url, "folder": str(self.folder)}
        for spec in self.given:
            name, _, value = spec.partition("=")
            for what, meant in told.items():
                value = value.replace(f"{{{what}}}", meant)
            if not name.isidentifier() or not value:
                raise ConfigurationError(
                    f"steadybeat_audit_environment={spec!r}: must be like 'SHOP_DATABASE_URL={{database_url}}'.",
                    name="audit_environment",
                )
            self._env[name] = value

    def prepare(self, command: str) -> None:
        """Run a sub-command of the application to its end; behind ``$`` and a space, any program.

        Raises:
            ConfigurationError: It fails; with what it said last.
        """
        words = shlex.split(command)
        child = self._start("prepare", words[1:] if words[:1] == ["$"] else self._celery(*words))
        while not child.wait(0.2):
            pass
        if not child.succeeded:
            raise ConfigurationError(
                f"steadybeat_audit_prepare={command!r}: {child.ending} in the scratch place:{self.said()}"
            )

    def start_driver(self, tasks: Sequence[str]) -> None:
        """Start what the application keeps running, and the driver."""
        for each in self._kept:
            self._start(each.command, self._celery(*each.command.split()), cwd=self.folder / COMMANDS)
        while not all(each.answers() for each in self._kept):
            self._refuse_ended([each.command for each in self._kept])
            time.sleep(_POLL_SECONDS)
        module = [sys.executable, "-m", "steadybeat.audit.probes.driver"]
        self._start("driver", [*module, self.app_name, str(self.folder), *tasks])

    def keep_workers(self, queues: Sequence[str]) -> None:
        """Start the workers, and again any that has ended."""
        crashing = {"STEADYBEAT_CRASH_AT": WRITTEN, "STEADYBEAT_CRASH_FOLDER": str(self.folder / CRASHES)}
        for number in range(1, WORKERS + 1):
            name = f"worker-{number}"
            if name in self._running and self._running[name].alive:
                continue
            if name in self._running:
                self._running.pop(name).end(())
            queue = ["-Q", ",".join(queues), "-n", f"{self.place.name}-{number}@%h", "-c", str(_POOL), "-l", "INFO"]
            more = ["-P", "prefork", "--without-gossip", "--without-mingle", "-I", "steadybeat.audit.probes.inside"]
            self._start(name, self._celery("worker", *queue, *more), env=crashing)

    def kill_workers(self) -> None:
        """End the workers at once, whatever they do."""
        for name in [name for name in self._running if name.startswith("worker-")]:
            self._running.pop(name).end(())

    def told(self) -> list[dict[str, Any]]:
        """Return what the driver has told since this was last asked.

        Raises:
            ConfigurationError: It has ended, and did not say why.
        """
        file = self.folder / TOLD
        lines = file.read_text().rpartition("\n")[0].splitlines() if file.exists() else []
        whole = [json.loads(line) for line in lines]
        new, self._read = whole[self._read :], len(whole)
        if not new and not any(event["told"] in ("done", "refused") for event in whole[-1:]):
            self._refuse_ended(["driver"])
        return new

    def said(self) -> str:
        """Return the end of what the processes have said, for a person."""
        said = ""
        for log in sorted(self.folder.glob("*.log")):
            said += f"\n--- {log.name}\n{log.read_text(errors='replace')[-2000:]}"
        return said

    def end(self) -> None:
        """End every process, those first that use the others."""
        for name in reversed([*self._running]):
            self._running.pop(name).end(())  # what they leave goes with the place

    def _refuse_ended(self, names: Sequence[str]) -> None:
        for name in names:
            child = self._running.get(name)
            if child is not None and not child.alive:
                raise ConfigurationError(f"the probe's {name} {child.ending} in the scratch place:{self.said()}")

    def _celery(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "celery", "-A", self.app_name, *arguments]

    def _start(
        self, name: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Any:
        child = self.means.spawn(argv, env={**self._env, **(env or {})}, cwd=cwd, log=self.folder / f"{name}.log")
        self._running[name] = child
        return child
