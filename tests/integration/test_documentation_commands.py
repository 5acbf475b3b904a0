"""The documentation, done: the commands of the README run, and guides go as they are written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.documents import ROOT, Block, blocks, comes_out
from tests.eventually import eventually

GUIDES = ("docs/first-hour.md", "docs/schedules.md")


@pytest.fixture
def environment(tmp_path: Path, ledger_url: str, redis_url: str) -> dict[str, str]:
    """A shell of somebody who has installed steadybeat and has a Redis and a Postgres."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("STEADYBEAT_", "PYTEST_"))}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "STEADYBEAT_DATABASE_URL": ledger_url,
        "STEADYBEAT_REDIS_URL": redis_url,
        "STEADYBEAT_HEALTH_FOLDER": str(tmp_path / "health"),
    }


@contextmanager
def left_running(command: str, folder: Path, environment: dict[str, str], log: Path, ready: str = "") -> Iterator[None]:
    """Run a command for as long as the block lasts, from when it has printed that it is ready."""
    with log.open("w") as output:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=folder, env=environment, stdout=output, stderr=output
        )
    try:
        eventually(lambda: ready in log.read_text() or process.poll() is not None, 120)
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        print(log.read_text())


def type_in(commands: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Type commands into a shell, which ends at the first that fails."""
    shell = ["bash", "-e"]
    lines = "\n".join(commands)
    return subprocess.run(
        shell, input=lines, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def follow(guide: str, block: Block, folder: Path, environment: dict[str, str]) -> None:
    """Type the commands of a block, and see that what it says is printed."""

    def done() -> bool:
        typed = type_in(block.commands, folder, environment)
        printed = f"{guide}, line {block.line}:\n{block.text}\n--- printed:\n{typed.stdout}{typed.stderr}"
        assert typed.returncode == 0, printed
        assert comes_out(block.answers, typed.stdout), printed
        return True

    if "eventually" in block.words:
        eventually(done, 120)
    else:
        done()


@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_goes_as_it_is_written(guide: str, tmp_path: Path, environment: dict[str, str]) -> None:
    found = blocks(guide)
    for block in found:
        if block.file:
            file = tmp_path / block.file
            file.parent.mkdir(exist_ok=True)
            file.write_text(block.text)
    (start,) = (block for block in found if "dev" in block.words)
    steps = [block for block in found if "run" in block.words]
    assert len(steps) > 5
    with left_running(start.commands[0], tmp_path, environment, tmp_path / "dev.log", "everything ready"):
        for block in steps:
            follow(guide, block, tmp_path, environment)


def test_the_commands_of_the_readme_run_in_their_order(tmp_path: Path, environment: dict[str, str]) -> None:
    (block,) = (block for block in blocks("README.md") if "run" in block.words)
    commands = {line.split()[3]: line for line in block.commands}
    assert [*commands] == ["ledger", "schedules", "beat", "worker", "runs", "health"]

    def answer(name: str) -> str:
        typed = type_in([commands[name]], ROOT, environment)
        assert typed.returncode == 0, f"{commands[name]}\n{typed.stdout}{typed.stderr}"
        return typed.stdout

    answer("ledger")
    answer("schedules")
    with ExitStack() as running:
        for name in ("beat", "worker"):
            running.enter_context(left_running(commands[name], ROOT, environment, tmp_path / f"{name}.log"))
        assert "well" in eventually(lambda: answer("health"), 60)
        said = type_in([commands["runs"]], ROOT, environment)
        assert said.stdout.startswith("tasks.orders.expire at "), said.stderr
