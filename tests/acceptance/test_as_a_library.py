"""Promise: another repository installs the wheel, adds one line to its Celery app, and everything works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ops.wheel_environment import ROOT, build_sdist, build_wheel, make_environment
from steadybeat import every
from tests.acceptance.nodes import LocalProcess
from tests.eventually import eventually

THEIRS = Path(__file__).with_name("elsewhere")
PACKAGE = ROOT / "platform" / "steadybeat"
TABLES = (
    "CREATE TABLE public.counted (scheduled_for timestamptz NOT NULL)",
    "CREATE TABLE public.ordered (item text NOT NULL, attempt int NOT NULL)",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The platform's wheel."""
    return build_wheel(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the wheel and what it requires, and nothing else."""
    return make_environment(tmp_path_factory.mktemp("theirs"), [wheel], lean=True)


class Store:
    """Another repository: its folder, its environment, its database and its Redis."""

    def __init__(self, folder: Path, python: Path, database_url: str, redis_url: str) -> None:
        self.folder = shutil.copytree(THEIRS, folder / "store", ignore=shutil.ignore_patterns("__pycache__"))
        self.python = python
        self.env = {
            "STEADYBEAT_DATABASE_URL": database_url,
            "STEADYBEAT_REDIS_URL": redis_url,
            "PYTHONPATH": "",
            "PYTHONNOUSERSITE": "1",
        }
        self.processes: list[LocalProcess] = []
        url = sa.make_url(database_url).set(drivername="postgresql+psycopg")
        self._engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        for statement in TABLES:
            self.rows(statement)

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run their Python in their folder to its end and return what it printed."""
        argv = [str(self.python), *arguments]
        return _said(argv, code, env={**os.environ, **self.env}, cwd=self.folder)

    def celery(self, *arguments: str) -> str:
        return self.run("-m", "celery", "-A", "store", *arguments)

    def start(self, role: str, *options: str) -> LocalProcess:
        argv = [str(self.python), "-m", "celery", "-A", "store", role, "-l", "INFO", *options]
        process = LocalProcess(role, argv, env=self.env, cwd=self.folder, log=self.folder / f"{role}.log")
        self.processes.append(process)
        process.start()
        return process

    def rows(self, statement: str) -> list[Any]:
        with self._engine.connect() as connection:
            result = connection.execute(sa.text(statement))
            return list(result) if result.returns_rows else []

    def close(self) -> None:
        for process in self.processes:
            process.remove()
            print(f"--- {process.name}: {process.ending}\n{process.logs().decode()[-4000:]}")
        self._engine.dispose()


@pytest.fixture
def store(tmp_path: Path, python: Path, postgres_url: str, redis_url: str) -> Iterator[Store]:
    """The store, in an empty folder and on an empty database."""
    store = Store(tmp_path, python, postgres_url, redis_url)
    yield store
    store.close()


def test_a_schedule_and_a_retry_run_in_another_repository(store: Store) -> None:
    store.celery("ledger", "upgrade")
    assert "store.stock.count" in store.celery("schedules", "apply")
    store.start("beat")
    store.start("worker", "-Q", "stock", "-c", "1", "--without-gossip", "--without-mingle")
    eventually(lambda: store.rows("SELECT FROM steadybeat.instances WHERE queues @> ARRAY['stock']"))
    run = store.celery("call", "store.stock.order", "--args", '["lamp"]').split()[-1]

    eventually(lambda: len(store.rows("SELECT FROM public.counted")) >= 3)
    eventually(lambda: store.rows("SELECT FROM public.ordered"))

    fires = [each.scheduled_for for each in store.rows("SELECT scheduled_for FROM public.counted ORDER BY 1")]
    expected = every(timedelta(seconds=1)).between(fires[0] - timedelta(microseconds=1), fires[-1])
    assert fires == list(expected)
    assert store.rows("SELECT item, attempt FROM public.ordered") == [("lamp", 3)]
    outcomes = f"SELECT outcome FROM steadybeat.attempts WHERE run = '{run}' ORDER BY number"
    eventually(lambda: [each.outcome for each in store.rows(outcomes)] == ["retried", "retried", "succeeded"])

    said = json.loads(store.celery("runs", "why", "store.stock.count", fires[0].isoformat(), "--json"))
    assert (said["verdict"], said["effect"]) == ("succeeded", True), said["sentences"]


def test_nothing_of_this_repository_is_present(store: Store) -> None:
    assert "No module named 'tasks'" in store.run("-c", "import tasks", code=1)
    code = "import importlib.metadata as m; print(*sorted(each.name for each in m.distributions()))"
    assert [each for each in store.run("-c", code).split() if each.startswith("steadybeat")] == ["steadybeat"]
    code = "import steadybeat, sys; print(steadybeat.__file__, *sys.path, sep='\\n')"
    file, *path = store.run("-c", code).splitlines()
    assert Path(file).is_relative_to(store.python.parents[1])
    assert [each for each in path if Path(each).is_relative_to(ROOT)] == []


def test_what_the_wheel_requires_is_all_that_it_needs(python: Path) -> None:
    code = """
import importlib, pkgutil, steadybeat
for each in pkgutil.walk_packages(steadybeat.__path__, "steadybeat."):
    importlib.import_module(each.name)
"""
    _said([str(python), "-I", "-c", code])
    _said([sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python), "check"])


def test_every_file_of_the_package_is_installed(python: Path) -> None:
    ours = _files(PACKAGE)
    installed = _said([str(python), "-I", "-c", "import steadybeat; print(*steadybeat.__path__)"])
    assert {"py.typed", "ledger/migrations/env.py", "ledger/migrations/versions/0001_ledger.py"} <= ours
    assert _files(Path(installed.strip())) == ours


def test_the_wheel_names_no_catalogue(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (info,) = {each.split("/")[0] for each in names if ".dist-info/" in each}
        about = HeaderParser().parsestr(archive.read(f"{info}/METADATA").decode())
        points = archive.read(f"{info}/entry_points.txt").decode()
    assert {each.split("/")[0] for each in names} == {"steadybeat", info}
    assert about["Name"] == "steadybeat"
    required = about.get_all("Requires-Dist", [])
    assert required
    assert not [each for each in required if "catalogue" in each or each.startswith("tasks")]
    values = [line.partition("=")[2].strip() for line in points.splitlines() if "=" in line]
    assert values
    assert all(value.startswith("steadybeat.commands.") for value in values), points


def test_the_source_distribution_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    sdist = build_sdist(ROOT, tmp_path)
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    again = build_wheel(tmp_path / sdist.name.removesuffix(".tar.gz"), tmp_path / "again")
    assert again.read_bytes() == wheel.read_bytes()


def _said(argv: list[str], code: int = 0, **how: Any) -> str:
    """Run a program to its end, which must have this exit code, and return what it said."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, **how)
    assert done.returncode == code, f"exit code {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr * bool(code)


def _files(folder: Path) -> set[str]:
    found = (each for each in folder.rglob("*") if each.is_file() and "__pycache__" not in each.parts)
    return {str(each.relative_to(folder)) for each in found}
