"""The local stack: what it consists of, and in which order it starts.

Redis, Postgres, migrations, schedules and what the application prepares, Beats, a watchdog and what the application
keeps running, one worker per service (several may share one), Flower. Beats and workers need nothing of each other to
start, so neither waits for the other. Flower asks the workers what they do when it starts, so it waits for them.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from steadybeat.address import without_password
from steadybeat.dev.folder import StackFolder
from steadybeat.dev.health import http_answers, port_answers, pulse_beats
from steadybeat.dev.leash import Child, StopSteps, spawn
from steadybeat.dev.process import Process
from steadybeat.dev.servers import PostgresServer, RedisServer, free_port, postgres_answers, redis_answers
from steadybeat.dev.supervisor import Supervisor
from steadybeat.errors import ConfigurationError, did_you_mean
from steadybeat.settings import Settings

CONCURRENCY = 2  # runs that one worker works on at a time

# Together they stay below the 15 s in which the whole stack must be gone.
STEP_STOP: StopSteps = ((signal.SIGTERM, 1.0),)
BEAT_STOP: StopSteps = ((signal.SIGTERM, 2.0),)
WORKER_STOP: StopSteps = ((signal.SIGTERM, 4.0), (signal.SIGQUIT, 1.5))
FLOWER_STOP: StopSteps = ((signal.SIGTERM, 1.0),)


class Stack(Supervisor):
    """A Celery application with everything around it, on this machine.

    Processes are called ``redis``, ``postgres``, ``beat-1``, ``watchdog``, ``worker-orders``, ``flower``.

    Args:
        app_name: What stands behind ``celery -A``.
        services: Services; each gets a worker of its own, unless it shares one.
        folder: Where data and logs are kept; one stack at a time may run in it.
        prepare: Sub-commands of the application to run before its workers start.
        run: Sub-commands of the application to keep running, as ``steadybeat_dev_run`` writes them.
        together: Services that share a worker, as ``steadybeat_dev_together`` writes them.
        redis_url: A running Redis to use; one of its own unless given.
        database_url: A running Postgres to use; one of its own unless given.
        beats: How many Beats; one of them leads.
        flower: Whether Flower runs.
        cwd: Folder in which the application is found; the current one unless given.
        output: Called with one line of text for each event, from any thread.
    """

    def __init__(
        self,
        app_name: str,
        services: Sequence[str],
        *,
        folder: Path,
        prepare: Sequence[str] = (),
        run: Sequence[str] = (),
        together: Sequence[str] = (),
        redis_url: str | None = None,
        database_url: str | None = None,
        beats: int = 2,
        flower: bool = True,
        cwd: Path | None = None,
        output: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.app_name = app_name
        self.folder = StackFolder(folder)
        self.started_at: datetime | None = None
        self._given = {"STEADYBEAT_REDIS_URL": redis_url, "STEADYBEAT_DATABASE_URL": database_url}
        self._cwd = cwd or Path.cwd()
        self.redis = self._redis(redis_url)
        self.postgres = self._postgres(database_url)
        self.environment = {
            "STEADYBEAT_REDIS_URL": self.redis_url,
            "STEADYBEAT_DATABASE_URL": self.database_url,
            "STEADYBEAT_HEALTH_FOLDER": str(self.folder.path / "health"),
        }
        self.urls_of_others: dict[str, str] = {}
        self._metrics: dict[str, str] = {}
        self._settings = Settings(health_folder=self.environment["STEADYBEAT_HEALTH_FOLDER"])
        kept = [self._kept(each) for each in run]
        self.flower_port = free_port() if flower else None
        self.flower_password = secrets.token_urlsafe(9)
        super().__init__(
            [
                [self.redis],
                [self.postgres],
                [self._step("ledger upgrade")],
                [self._step("schedules apply"), *(self._step(step) for step in prepare[:1])],
                *([self._step(step)] for step in prepare[1:]),
                [*(self._beat(number) for number in range(1, beats + 1)), self._watchdog(), *kept],
                [self._worker(name, queues) for name, queues in shared(services, together).items()],
                [self._flower(self.flower_port)] if self.flower_port else [],
            ],
            output,
        )

    @property
    def flower_url(self) -> str | None:
        """Where Flower's pages are, or None where Flower does not run."""
        return f"http://127.0.0.1:{self.flower_port}" if self.flower_port else None

    @property
    def urls(self) -> dict[str, str]:
        """Where everything is, by name, without passwords."""
        urls = {"redis": without_password(self.redis_url), "postgres": without_password(self.database_url)}
        return urls | ({"flower": self.flower_url} if self.flower_url else {}) | self.urls_of_others

    @property
    def data_elsewhere(self) -> Path | None:
        """Where Postgres keeps its data when that is outside the stack's folder."""
        return self._postgres_server.elsewhere if self._postgres_server else None

    def start(self) -> None:
        """Start everything in order, in a thread of its own; return at once.

        Raises:
            StackError: A stack runs in this folder already.
            ConfigurationError: A given Redis or Postgres does not answer.
        """
        for variable, answers in (
            ("STEADYBEAT_REDIS_URL", redis_answers),
            ("STEADYBEAT_DATABASE_URL", postgres_answers),
        ):
            url = self._given[variable]
            if url and not answers(url):
                raise ConfigurationError(
                    f"{variable}={without_password(url)!r}: no server answers there. "
                    "Start it, or leave the variable out to use an embedded one.",
                    name=variable,
                )
        self.folder.acquire()
        self.folder.export(self.environment)
        self.started_at = datetime.now(UTC)
        self._describe()
        super().start()

    def stop(self) -> None:
        """Stop every process in reverse order and give the folder back; data and logs stay."""
        try:
            super().stop()
        finally:
            self.folder.release()

    def tell(self, line: str) -> None:
        """Pass one event on, and bring ``up.json`` up to date."""
        super().tell(line)
        if not self.stopping:
            self._describe()

    def _describe(self) -> None:
        self.folder.describe(
            {
                "pid": os.getpid(),
                "started_at": self.started_at.isoformat() if self.started_at else None,
                "urls": self.urls,
                "metrics": self._metrics,
                "processes": {each.name: each.pid for each in self.processes if each.pid},
            }
        )

    def _redis(self, url: str | None) -> Process:
        if url:
            self.redis_url = url
            return Process("redis", None, check=lambda _: redis_answers(url))
        server = RedisServer(self.folder.path / "redis", log=self.folder.log("redis"))
        self.redis_url = server.url
        return Process("redis", server.launch, check=lambda _: server.answers(), log=server.log, stop=server.stop_steps)

    def _postgres(self, url: str | None) -> Process:
        self._postgres_server: PostgresServer | None = None
        if url:
            self.database_url = url
            return Process("postgres", None, check=lambda _: postgres_answers(url))
        server = PostgresServer(self.folder.path / "postgres", log=self.folder.log("postgres"))
        self._postgres_server = server
        self.database_url = server.url

        def launch() -> Child:
            child = server.launch()
            if server.elsewhere:
                self.tell(f"postgres keeps its data in {server.elsewhere}: its user may not enter {server.folder}")
            return child

        return Process("postgres", launch, check=lambda _: server.answers(), log=server.log, stop=server.stop_steps)

    def _step(self, command: str) -> Process:
        return self._celery(command, command.split(), stop=STEP_STOP, once=True)

    def _beat(self, number: int) -> Process:
        beats = pulse_beats(self._settings, "beat")
        name = f"beat-{number}"
        return self._celery(
            name, ["beat", "-l", "INFO"], check=beats, stop=BEAT_STOP, awaited=False, env=self._measured(name)
        )

    def _watchdog(self) -> Process:
        beats = pulse_beats(self._settings, "watchdog")
        env = self._measured("watchdog")
        return self._celery("watchdog", ["watchdog", "-l", "INFO"], check=beats, stop=BEAT_STOP, awaited=False, env=env)

    def _measured(self, name: str) -> dict[str, str]:
        """Return the variables with which a process serves its metrics on a port of its own."""
        address = f"127.0.0.1:{free_port()}"
        self._metrics[name] = f"http://{address}/metrics"
        return {"STEADYBEAT_METRICS_ADDRESS": address}

    def _kept(self, spec: str) -> Process:
        """Return a process of the application's own, and tell every process where it is."""
        port = free_port()
        command, told = kept(spec, port)
        self.environment |= told
        self.urls_of_others[command] = next(iter(told.values()))
        return self._celery(command, command.split(), check=lambda _: port_answers(port), stop=BEAT_STOP, awaited=False)

    def _worker(self, name: str, queues: Sequence[str]) -> Process:
        queue = ["-Q", ",".join(queues), "-n", f"{name}@%h", "-c", str(CONCURRENCY), "-l", "INFO", "-E"]
        quiet = ["--without-gossip", "--without-mingle"]  # nothing here listens to either
        beats = pulse_beats(self._settings, "worker")
        env = self._measured(f"worker-{name}")
        return self._celery(f"worker-{name}", ["worker", *queue, *quiet], check=beats, stop=WORKER_STOP, env=env)

    def _flower(self, port: int) -> Process:
        return self._celery(
            "flower",
            ["flower", "--address=127.0.0.1", f"--port={port}"],
            check=lambda _: http_answers(f"http://127.0.0.1:{port}/healthcheck"),
            stop=FLOWER_STOP,
            env={"FLOWER_BASIC_AUTH": f"admin:{self.flower_password}"},  # the list of processes shows arguments
        )

    def _celery(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        stop: StopSteps,
        check: Callable[[Process], bool] = lambda _: True,
        once: bool = False,
        awaited: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        log = self.folder.log(name)

        def launch() -> Child:
            command = [sys.executable, "-m", "celery", "-A", self.app_name, *arguments]
            return spawn(
                command, env={"PYTHONUNBUFFERED": "1", **self.environment, **(env or {})}, cwd=self._cwd, log=log
            )

        return Process(name, launch, check=check, log=log, stop=stop, once=once, awaited=awaited)


def kept(spec: str, port: int) -> tuple[str, dict[str, str]]:
    """Return a sub-command that is kept running, and the variables that tell every process where it is.

    Args:
        spec: As ``steadybeat_dev_run`` writes it.
        port: Where it is to listen.

    Raises:
        ConfigurationError: It is written otherwise.
    """
    command, _, rest = spec.partition(":")
    told = [each.partition("=") for each in rest.split(";")]
    if not (command and all(variable.isidentifier() and "{port}" in value for variable, _, value in told)):
        raise ConfigurationError(
            f"steadybeat_dev_run={spec!r}: must be like 'mailbox:SMTP_URL=smtp://127.0.0.1:{{port}}'.",
            name="dev_run",
        )
    return command, {variable: value.replace("{port}", str(port)) for variable, _, value in told}


def shared(services: Sequence[str], together: Sequence[str]) -> dict[str, list[str]]:
    """Return the services of each worker by the worker's name: one each, but for those that share one.

    Args:
        services: Every service.
        together: ``name:service+service`` for each worker that several share.

    Raises:
        ConfigurationError: One of these is written otherwise, or names a service that is not there or is taken.
    """
    alone, workers = [*services], dict[str, list[str]]()
    for spec in together:
        name, _, members = spec.partition(":")
        several = members.split("+")
        if not name.isidentifier() or len(several) < 2 or name in {*services, *workers}:
            raise _not_together(spec, "must be like 'small:orders+search', with a name of its own.")
        for service in several:
            if service not in alone:
                known = did_you_mean(service, alone)
                raise _not_together(spec, f"{service!r} is no service, or shares a worker already.{known}")
            alone.remove(service)
        workers[name] = several
    return {**{service: [service] for service in alone}, **workers}


def _not_together(spec: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"steadybeat_dev_together={spec!r}: {why}", name="dev_together", value=spec)
