"""Real servers for every test that needs one: started once, on free ports, and stopped at the end."""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import redis as redis_client
import structlog
from celery import _state
from psycopg import sql

import steadybeat
from steadybeat import telemetry
from steadybeat.dev.servers import PostgresServer, RedisServer, scratch_folder
from steadybeat.ledger import Ledger
from steadybeat.settings import Settings

_numbers = itertools.count(1)

SOURCES = Path(__file__).parents[1] / "platform"
MEMORY = Path("/dev/shm")
ROOM_BYTES = 4 << 30
FROM_SOURCES = Path(steadybeat.__file__).resolve().is_relative_to(SOURCES)


def pytest_configure() -> None:
    """Refuse to pass off the sources as the wheel."""
    if os.environ.get("WHEEL") and FROM_SOURCES:
        raise pytest.UsageError(
            f"WHEEL is set, but steadybeat comes from its sources, {SOURCES}. Run: make test WHEEL=1, or unset WHEEL."
        )


def pytest_report_header() -> str:
    """Say what is tested."""
    what = "the sources" if FROM_SOURCES else "the installed wheel"
    return f"steadybeat: {what}, {Path(steadybeat.__file__).parent}"


@pytest.fixture(autouse=True)
def only_celerys_shared_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """`@shared_task` gives the catalogue's tasks to every app of the process; apps made by tests want none of them."""
    own = {each for each in _state._on_app_finalizers if each.__module__ == "celery.app.builtins"}
    monkeypatch.setattr(_state, "_on_app_finalizers", own)


@pytest.fixture(autouse=True)
def lines_as_they_were() -> Iterator[None]:
    """A command takes over the lines of its process, and its first line ends those of others: `caplog`'s, here."""
    root = logging.getLogger()
    level, handlers = root.level, [*root.handlers]
    yield
    root.handlers = handlers
    root.setLevel(level)
    telemetry.clear_run()
    structlog.contextvars.clear_contextvars()


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    """A folder that the servers' own system users may enter; in memory where there is room.

    Most tests make a database and drop it: hundreds of files, which on a disk cost more time than what is tested.
    """
    roomy = os.access(MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(MEMORY).free >= ROOM_BYTES
    with scratch_folder(MEMORY if roomy else None) as folder, _removed_at_the_end(folder):
        yield folder


@contextmanager
def _removed_at_the_end(folder: Path) -> Iterator[None]:
    """Have a folder removed also where this process is killed: memory would not be given back."""
    argv = ["sh", "-c", 'read -r _; until rm -rf "$0"; do :; done', str(folder)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True):
        yield


@pytest.fixture(scope="session")
def postgres(servers_folder: Path) -> Iterator[PostgresServer]:
    """The Postgres of the whole session."""
    with PostgresServer(servers_folder / "postgres", durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def redis(servers_folder: Path) -> Iterator[RedisServer]:
    """The Redis of the whole session."""
    with RedisServer(servers_folder / "redis", append_only=False) as server:
        yield server


@pytest.fixture
def redis_url(redis: RedisServer) -> str:
    """An empty Redis."""
    with redis_client.Redis.from_url(redis.url) as client:
        client.flushall()
    return redis.url


# Files are copied as they are, and not page by page through the log.
_COPIED = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
_DROPPED = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")


@pytest.fixture
def new_database(postgres: PostgresServer) -> Iterator[Callable[[str | None], str]]:
    """Makes databases, copies of a template or empty ones, and drops them after the test."""
    made: list[sql.Identifier] = []
    with psycopg.connect(postgres.url, autocommit=True) as admin:

        def make(template: str | None = None) -> str:
            name = f"test_{next(_numbers)}"
            made.append(sql.Identifier(name))
            source = sql.Identifier(template or "template1")
            admin.execute(_COPIED.format(made[-1], source))
            return postgres.url_of(name)

        yield make
        for each in made:
            admin.execute(_DROPPED.format(each))


@pytest.fixture
def postgres_url(new_database: Callable[[str | None], str]) -> str:
    """A new and empty database."""
    return new_database(None)


@pytest.fixture(scope="session")
def ledger_template(postgres: PostgresServer) -> str:
    """The name of a database that has the ledger's schema, to be copied."""
    ledger = Ledger(Settings(database_url=postgres.create_database("ledger_template")))
    ledger.upgrade()
    ledger.database.close()
    return "ledger_template"


@pytest.fixture
def ledger_url(new_database: Callable[[str | None], str], ledger_template: str) -> str:
    """A new database with the ledger's schema."""
    return new_database(ledger_template)


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """A ledger of its own."""
    ledger = Ledger(Settings(database_url=ledger_url))
    yield ledger
    ledger.database.close()
