"""ops/Dockerfile, as far as it can be proven without building it; its wheels are built in tests/acceptance."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.acceptance.compose import load, variables
from tests.acceptance.dockerfile import Ignored, Stage, context, copied, stages

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "ops/Dockerfile").read_text()
BUILD, LAST = stages(TEXT)
COMPOSE = (ROOT / "docker-compose.yml").read_text()
SERVICES = load(COMPOSE, dict.fromkeys(variables(COMPOSE), "given"))
WORKER = SERVICES["worker-orders"]


def test_both_stages_start_from_one_pinned_slim_python() -> None:
    version = re.search(r"^ARG PYTHON=(.*)$", TEXT, re.MULTILINE)
    assert version
    assert re.fullmatch(r"3\.\d+", version[1])
    assert BUILD.base == LAST.base == "python:${PYTHON}-slim-trixie"
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"Programming Language :: Python :: {version[1]}" in metadata["classifiers"]


def test_it_runs_as_the_number_that_compose_says_and_not_as_root() -> None:
    user = LAST.last("USER").text
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    assert {each.keys["user"] for each in SERVICES.values() if each.image == WORKER.image} == {user}
    root_only = [each for each in LAST.instructions if each.word in ("RUN", "COPY", "WORKDIR")]
    assert LAST.instructions.index(LAST.last("USER")) > LAST.instructions.index(root_only[-1])


def test_no_shell_stands_between_docker_and_celery() -> None:
    assert (LAST.last("CMD").exec_form or [])[:4] == ["celery", "-A", "tasks", "worker"]
    assert not LAST.all("ENTRYPOINT")


def test_its_health_check_is_the_one_that_compose_uses_for_a_worker() -> None:
    check = LAST.last("HEALTHCHECK")
    command = check.text.removeprefix("CMD ")
    assert WORKER.health is not None
    assert stages(f"FROM x\nCMD {command}")[0].last("CMD").exec_form == [*WORKER.health]
    asked = WORKER.keys["healthcheck"]
    assert check.flags == {
        "interval": asked["interval"],
        "timeout": asked["timeout"],
        "start-period": asked["start_period"],
        "retries": str(asked["retries"]),
    }


@pytest.mark.parametrize("stage", [BUILD, LAST], ids=["build", "last"])
def test_everything_that_it_copies_is_there_and_not_ignored(stage: Stage) -> None:
    for sources, _ in copied(stage):
        assert context(ROOT, sources)


def test_the_last_stage_takes_the_environment_that_the_first_has_made() -> None:
    (made,) = [each for each in LAST.all("COPY") if "from" in each.flags]
    assert made.flags["from"] == BUILD.name
    source, target = made.text.split()
    assert source == target  # the scripts of an environment name the place where it was made
    assert [source] == [run.exec_form[-1] for run in BUILD.all("RUN") if run.exec_form and "venv" in run.exec_form]
    assert LAST.env["PATH"].startswith(f"{target}/bin:")


@pytest.mark.parametrize(
    "path",
    [".env", ".git/config", ".venv/pyvenv.cfg", ".steadybeat/up.json", "tests/conftest.py", "tasks/__pycache__/a"],
)
def test_what_the_image_does_not_need_stays_out_of_the_build(path: str) -> None:
    assert Ignored((ROOT / ".dockerignore").read_text())(path)


def test_it_holds_no_secret_and_names_no_package_index() -> None:
    assert not re.search(r"index-url|https?://|pypi|simple/", TEXT, re.IGNORECASE)
    for stage in (BUILD, LAST):
        names = {*stage.env, *(each.text.partition("=")[0] for each in stage.all("ARG"))}
        assert not [name for name in names if re.search("PASSWORD|SECRET|TOKEN|URL|KEY", name)]


def test_it_says_what_it_is() -> None:
    prefix = "org.opencontainers.image."
    assert {f"{prefix}{name}" for name in ("title", "description", "licenses", "version", "revision")} <= LAST.labels


def _locked(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text()
    pins = re.findall(r"^([a-z0-9._-]+)==(\S+)(?: ;.*)? \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert len(pins) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE)), f"{name}: something in it has no hash"
    return dict(pins)


def _named(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9._-]", each)[0].lower() for each in requirements}


def test_what_it_installs_is_what_the_tests_ran_with_and_no_tool_of_the_tests() -> None:
    everything, runtime, build = map(
        _locked, ("requirements.lock", "requirements-runtime.lock", "requirements-build.lock")
    )
    assert runtime.items() <= everything.items()
    assert build.items() <= everything.items()
    platform = tomllib.loads((ROOT / "pyproject.toml").read_text())
    catalogue = tomllib.loads((ROOT / "tasks/pyproject.toml").read_text())
    wanted = _named([*platform["project"]["dependencies"], *catalogue["project"]["dependencies"]]) - {"steadybeat"}
    assert wanted <= runtime.keys()
    assert _named(platform["build-system"]["requires"]) <= build.keys()
    tools = _named(platform["project"]["optional-dependencies"]["dev"]) | {"pytest", "mypy", "ruff", "hatchling"}
    assert not tools & runtime.keys()
