"""One installation of the shop: its servers, its processes, and what its tasks did."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa
from celery import Celery
from kombu import pools

import steadybeat
from steadybeat.address import Address
from steadybeat.beat import definitions
from steadybeat.channel import client as open_redis
from steadybeat.dev.servers import free_port
from steadybeat.ledger.interventions import Interventions
from steadybeat.schedule import Rule
from tests.acceptance import forkserver
from tests.acceptance.nodes import (
    BeatContainer,
    BeatNode,
    FlowerContainer,
    FlowerNode,
    LocalNode,
    LocalProcess,
    WatchdogContainer,
    WatchdogNode,
    WorkerContainer,
    WorkerNode,
    celery_argv,
)
from tests.acceptance.project.timetable import release
from tests.eventually import eventually

N = TypeVar("N", bound=LocalNode)

PROJECT = Path(__file__).with_name("project")
SERVICES = ("orders", "billing", "canvas", "mail")

# Short times, so that a test need not wait long; the lock of the leader keeps its default.
SHORT_TIMES = {
    "STEADYBEAT_LEASE_SECONDS": "3",
    "STEADYBEAT_KEEPER_SECONDS": "0.5",
    "STEADYBEAT_GRACE_SECONDS": "2",
    "STEADYBEAT_HORIZON_SECONDS": "10",
    "STEADYBEAT_RETRY_BACKOFF_SECONDS": "0.2",
}

_EFFECTS = """
    CREATE TABLE public.effects (
        name text NOT NULL, scheduled_for timestamptz, run_id uuid, retries int NOT NULL,
        at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
"""


class Shop:
    """One installation of the shop.

    Args:
        folder: Where its processes log, and where tasks and tests leave files for each other.
        database_url: Of a database that has the ledger's schema.
        redis_url: Of an empty Redis.
        settings: Environment variables beside `SHORT_TIMES`.
    """

    def __init__(
        self, folder: Path, database_url: str, redis_url: str, settings: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.env = {
            **SHORT_TIMES,
            "STEADYBEAT_DATABASE_URL": database_url,
            "STEADYBEAT_REDIS_URL": redis_url,
            "STEADYBEAT_HEALTH_FOLDER": str(folder / "health"),
            "SHOP_FOLDER": str(folder),
            **(settings or {}),
        }
        self.nodes: list[LocalNode] = []
        self._numbers = itertools.count(1)
        sentinel_kwargs = {"password": self.env.get("SHOP_SENTINEL_PASSWORD")}
        address = Address.read(redis_url, "redis_url")
        self.redis = open_redis(address, timeout_seconds=5, sentinel_kwargs=sentinel_kwargs)
        self._engine = sa.create_engine(
            sa.make_url(database_url).set(drivername="postgresql+psycopg"),
            isolation_level="AUTOCOMMIT",
            poolclass=sa.NullPool,
        )
        self.caller = Celery("caller", set_as_current=False)
        self.caller.conf.update(
            steadybeat_database_url=database_url, steadybeat_redis_url=redis_url, steadybeat_services=SERVICES
        )
        if address.sentinels:
            self.caller.conf.broker_transport_options = {"sentinel_kwargs": sentinel_kwargs}
        steadybeat.install(self.caller)
        self.rows(_EFFECTS)

    # Processes

    def worker(self, *queues: str, concurrency: int = 2, pool: str = "prefork", **env: str) -> WorkerNode:
        """Start a worker of some queues, of all by default, and return before it is ready."""
        queues = queues or SERVICES
        options = ["-P", pool, "-c", str(concurrency), "-l", "INFO", "--without-gossip", "--without-mingle"]
        process = self._process("worker", *options, "-Q", ",".join(queues), env=env)
        return self._started(WorkerNode(WorkerContainer(process, queues), self.caller))

    def beat(self, *options: str, **env: str) -> BeatNode:
        """Start a Beat, and return before it is ready."""
        return self._started(BeatNode(BeatContainer(self._process("beat", "-l", "INFO", *options, env=env))))

    def watchdog(self, **env: str) -> WatchdogNode:
        """Start a watchdog, and return before it is ready."""
        return self._started(WatchdogNode(WatchdogContainer(self._process("watchdog", "-l", "INFO", env=env))))

    def flower(self, *options: str, **env: str) -> FlowerNode:
        """Start Flower, and return before it is ready."""
        port = free_port()
        process = self._process("flower", "--address=127.0.0.1", f"--port={port}", *options, env=env)
        return self._started(FlowerNode(FlowerContainer(process), port))

    def _process(self, role: str, *options: str, env: Mapping[str, str]) -> LocalProcess:
        name = f"{role}{next(self._numbers)}"
        own = ["-n", f"{name}@%h"] if role == "worker" else []
        log = self.folder / f"{name}.log"
        return LocalProcess(name, celery_argv(role, *options, *own), env=self.env | env, cwd=PROJECT, log=log)

    def _started(self, node: N) -> N:
        node.container.process.start()
        self.nodes.append(node)
        return node

    def celery(self, *arguments: str, code: int = 0, **env: str) -> str:
        """Run a command to its end and return what it printed; it must end with this exit code."""
        ended, said = self.run_celery(*arguments, **env)
        assert ended == code, f"exit code {ended}:\n{said}"
        return said

    def run_celery(self, *arguments: str, **env: str) -> tuple[int, str]:
        """Run a command to its end; return its exit code and what it printed, with its errors if it failed."""
        done = forkserver.run(celery_argv(*arguments), env={**self.env, **env}, cwd=PROJECT)
        return done.returncode, done.stdout if done.returncode in {0, 1} else done.stdout + done.stderr

    def answering(self, *options: str) -> set[str]:
        """Return which workers and Beats answer `celery inspect ping`."""
        code, said = self.run_celery("inspect", "ping", "--json", *options)
        return {*json.loads(said)} if code == 0 else set()

    def deploy(self, *schedules: str) -> datetime:
        """Apply a release that has these schedules, named as in the timetable.

        Processes that are started later have the code of this release.

        Returns:
            An instant after which all of their fires count.
        """
        self.env["SHOP_SCHEDULES"] = " ".join(schedules)
        self.caller.conf.beat_schedule = release(schedules)
        self.caller.steadybeat.ledger.database.close()  # as in a process of its own
        self.caller.steadybeat.ledger.schedules.apply(definitions(self.caller), SERVICES)
        return datetime.now(UTC)

    def leader(self) -> BeatNode:
        """Wait until exactly one Beat leads, and return that."""

        def one() -> BeatNode | None:
            leading = [node for node in self.nodes if isinstance(node, BeatNode) and node.leads]
            return leading[0] if len(leading) == 1 else None

        found = eventually(one)
        assert found is not None
        return found

    def close(self) -> None:
        """End every process, and show what each has said last, for the report of a failed test."""
        for node in self.nodes:
            node.teardown()
            print(f"--- {node.name()}: {node.container.process.ending}\n{node.logs()[-4000:]}")
        self.caller.close()
        pools.reset()  # they are the process', by URL, and a closed one stays closed
        self.caller.steadybeat.ledger.database.close()
        self.redis.close()
        self._engine.dispose()

    # What goes in

    def send(self, task: str, *args: Any, options: Mapping[str, Any] | None = None, **kwargs: Any) -> str:
        """Send a task of the shop and return the id of its run."""
        return str(self.caller.send_task(f"shop.{task}", args, kwargs, **(options or {})).id)

    def open(self, gate: str) -> None:
        """Let tasks pass that wait at a gate."""
        (self.folder / f"open-{gate}").touch()

    @property
    def interventions(self) -> Interventions:
        """What an operator can do."""
        return self.caller.steadybeat.ledger.interventions

    # What comes out

    def rows(self, statement: str, **values: Any) -> list[Any]:
        """Run one statement and return its rows."""
        with self._engine.connect() as connection:
            result = connection.execute(sa.text(statement), values)
            return list(result) if result.returns_rows else []

    def effects(self, name: str) -> list[Any]:
        """The effects of this name, in the order in which they happened."""
        return self.rows("SELECT * FROM public.effects WHERE name = :name ORDER BY at", name=name)

    def starts(self, name: str) -> list[dict[str, Any]]:
        """Each time that a task's code began with this name."""
        file = self.folder / "starts"
        lines = file.read_text().splitlines() if file.exists() else []
        return [each for each in map(json.loads, lines) if each["name"] == name]

    def run(self, run: str | UUID) -> Any:
        """A run as the ledger has it."""
        return self.rows("SELECT * FROM steadybeat.runs WHERE id = CAST(:run AS uuid)", run=str(run))[0]

    def outcomes(self, run: str) -> list[str]:
        """How each attempt of a run ended."""
        found = self.rows(
            "SELECT outcome FROM steadybeat.attempts WHERE run = CAST(:run AS uuid) ORDER BY number", run=run
        )
        return [row.outcome for row in found]

    def fired(self, schedule: str, since: datetime) -> list[datetime]:
        """The nominal times after `since` for which a schedule has had an effect, once for each effect."""
        found = self.rows(
            "SELECT scheduled_for FROM public.effects WHERE name = :name AND scheduled_for > :since"
            " ORDER BY scheduled_for",
            name=schedule,
            since=since,
        )
        return [row.scheduled_for for row in found]

    def fires(self, schedule: str, since: datetime) -> list[Any]:
        """The fires of a schedule with nominal times after `since`, as the ledger has them, in their order."""
        return self.rows(
            "SELECT * FROM steadybeat.fires WHERE schedule = :name AND scheduled_for > :since ORDER BY scheduled_for",
            name=schedule,
            since=since,
        )

    def settle(self) -> None:
        """Wait until nothing is left to do: no run, nothing to be sent, no message; nor an hour later.

        What a killed worker had not acknowledged comes back after Redis' visibility timeout. It is put back on its
        queue here, so that a test need not wait that long to see that it does nothing.
        """
        eventually(lambda: self._unfinished() == 0)
        for tag, held in self.redis.hgetall("unacked").items():
            message, _, queue = json.loads(held)
            self.redis.rpush(queue, json.dumps(message))
            self.redis.hdel("unacked", tag)
            self.redis.zrem("unacked_index", tag)
        eventually(lambda: self._unfinished() + self.redis.hlen("unacked") == 0)

    def _unfinished(self) -> int:
        runs = self.rows("SELECT count(*) FROM steadybeat.runs WHERE finished_at IS NULL")[0].count
        unsent = self.rows("SELECT count(*) FROM steadybeat.outbox")[0].count
        return int(runs + unsent + sum(self.redis.llen(queue) for queue in SERVICES))

    def keeps_its_promise(self, rules: Mapping[str, Rule], since: datetime) -> None:
        """Assert that every fire from `since` until now gets one effect, and none a second.

        Dispatch is stopped, the rest is let finish, and the effects are compared with what the schedules'
        arithmetic says: the ledger is not asked.
        """
        until = datetime.now(UTC)
        expected = {name: list(rule.between(since, until)) for name, rule in rules.items()}

        def complete() -> bool:
            missing = {name: sorted({*times} - {*self.fired(name, since)}) for name, times in expected.items()}
            assert not any(missing.values()), f"missing: {missing}"
            return True

        eventually(complete)
        self.deploy()
        self.settle()
        for name, times in expected.items():
            had = self.fired(name, since)
            doubled = {str(at): count for at, count in Counter(had).items() if count > 1}
            assert not doubled, f"{name}: doubled: {doubled}"
            assert [at for at in had if at <= until] == times
