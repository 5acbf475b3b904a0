"""docker-compose.yml brings up a whole platform: every service's own command, environment and health check.

No Docker engine is asked: see `tests/acceptance/engine.py` for what stands in for it.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import psycopg
import pytest
import redis

from steadybeat.dev.servers import scratch_folder
from tests.acceptance import dockerfile
from tests.acceptance.compose import load
from tests.acceptance.engine import Engine, Image, lay_out
from tests.eventually import eventually

ROOT = Path(__file__).parents[2]
VARIABLES = {
    "REDIS_PASSWORD": "ofredis",
    "POSTGRES_PASSWORD": "ofpostgres",
    "FLOWER_PASSWORD": "offlower",
    "SMTP_URL": "smtp://127.0.0.1:9",
    "SMTP_SENDER": "news@tickets.example",
}
ONE_MORE_SCHEDULE = """

beat_schedule["proof"] = {
    "task": "tasks.maintenance.snapshot",
    "schedule": every(timedelta(seconds=1)),
    "kwargs": {"name": "proof"},
}
"""
FACTS = """
import json, tasks
tasks.app.loader.import_default_modules()
print(json.dumps([tasks.app.steadybeat.own_services(), tasks.app.conf.worker_soft_shutdown_timeout]))
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The wheels that the image's first stage builds, from the files that it gets, by its own command."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    build, _ = dockerfile.stages((ROOT / "ops/Dockerfile").read_text())
    for sources, _ in dockerfile.copied(build):
        lay_out(ROOT, source, dockerfile.context(ROOT, sources))
    runs = " && ".join(each.text for each in build.all("RUN")).split("&&")
    (command,) = (each.strip() for each in runs if each.strip().startswith("pip wheel "))
    words = shlex.split(command.replace("/wheels", str(target)))
    subprocess.run([sys.executable, "-m", *words], cwd=source, check=True, capture_output=True, text=True)
    return sorted(target.glob("*.whl"))


@pytest.fixture(scope="module")
def platform(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Image:
    """What the image holds: the wheels, the programs of this environment, and the files of its last stage."""
    site, work = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("work")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(site)]
    subprocess.run([*install, *map(str, wheels)], check=True)
    *_, last = dockerfile.stages((ROOT / "ops/Dockerfile").read_text())
    for sources, _ in dockerfile.copied(last):
        lay_out(ROOT, work, dockerfile.context(ROOT, sources))
    environment = {**last.env, "PYTHONPATH": f"{work}:{site}"}
    assert last.env["PYTHONPATH"] == last.last("WORKDIR").text
    return Image([Path(sys.executable).parent], work, environment)


@pytest.fixture
def engine(platform: Image) -> Iterator[Engine]:
    """The project, with nothing started."""
    services = load((ROOT / "docker-compose.yml").read_text(), VARIABLES)
    with scratch_folder() as folder:
        engine = Engine(folder, services, platform)
        try:
            yield engine
        finally:
            engine.remove()
            print(engine.said())


def test_the_wheels_hold_every_file_of_the_platform_and_of_the_catalogue(wheels: list[Path]) -> None:
    names = {name for wheel in wheels for name in ZipFile(wheel).namelist()}
    platform = {each.relative_to(ROOT / "platform").as_posix() for each in (ROOT / "platform").rglob("*.*")}
    catalogue = {each.relative_to(ROOT).as_posix() for each in (ROOT / "tasks").rglob("*.py")}
    wanted = {each for each in platform | catalogue if "__pycache__" not in each}
    assert "steadybeat/ledger/migrations/versions/0001_ledger.py" in wanted
    assert wanted <= names
    foreign = {name for name in names if not name.startswith(("steadybeat/", "steadybeat-", "steadybeat_", "tasks/"))}
    assert not foreign


def test_there_is_a_worker_for_each_service_and_time_for_it_to_stop(engine: Engine, platform: Image) -> None:
    environment = {**platform.environment, "PATH": "/usr/bin:/bin"}
    asked = subprocess.run([sys.executable, "-c", FACTS], env=environment, capture_output=True, text=True, check=True)
    services, soft_shutdown_seconds = json.loads(asked.stdout)
    workers = [each for each in engine.services.values() if "worker" in each.command]
    assert sorted(each.command[each.command.index("-Q") + 1] for each in workers) == services
    for worker in workers:
        assert worker.stop_signal == "SIGQUIT"  # the one that begins a soft shutdown
        assert worker.stop_grace_period.total_seconds() >= soft_shutdown_seconds + 10


def test_everything_comes_up_in_order_runs_a_fire_and_stops(engine: Engine, platform: Image) -> None:
    config = platform.folder / "celeryconfig.py"
    config.write_text(config.read_text() + ONE_MORE_SCHEDULE)
    files = {*platform.folder.rglob("*")}

    engine.up()

    worker = engine.containers["worker-maintenance"][0]

    def answer(*command: str) -> Any:
        done = worker.run("celery", "-A", "tasks", *command, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def succeeded() -> list[Any]:
        return [each for each in answer("runs", "list", "--schedule", "proof") if each["state"] == "succeeded"]

    assert eventually(succeeded)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(user="steadybeat", password="guessed", host="127.0.0.1", port=engine.port("postgres"))
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=engine.port("redis")).ping()
    assert engine.down() == []
    said_by_flower = engine.containers["flower"][0].log.read_text().splitlines()
    assert said_by_flower and all(line.startswith('{"timestamp": ') for line in said_by_flower)
    assert {*platform.folder.rglob("*")} == files  # the folder is read-only in the image
