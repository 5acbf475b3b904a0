"""The guide of the first hour, done: its files are written, its commands run, and what it says is printed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.documents import Block, blocks, comes_out
from tests.eventually import eventually

GUIDE = "docs/first-hour.md"


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
def left_running(command: str, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run a local stack for as long as the block lasts, from when it is ready."""
    log = folder / "dev.log"
    with log.open("w") as output:
        stack = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=folder, env=environment, stdout=output, stderr=output
        )
    try:
        eventually(lambda: "everything ready" in log.read_text() or stack.poll() is not None, 120)
        assert stack.poll() is None, log.read_text()
        yield
    finally:
        stack.send_signal(signal.SIGTERM)
        stack.wait(60)
        print(log.read_text())


def follow(block: Block, folder: Path, environment: dict[str, str]) -> None:
    """Type the commands of a block, and see that what it says is printed."""

    def done() -> bool:
        typed = subprocess.run(
            ["bash", "-e"],
            input="\n".join(block.commands),
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        printed = f"{GUIDE}, line {block.line}:\n{block.text}\n--- printed:\n{typed.stdout}{typed.stderr}"
        assert typed.returncode == 0, printed
        assert comes_out(block.answers, typed.stdout), printed
        return True

    if "eventually" in block.words:
        eventually(done, 120)
    else:
        done()


def test_the_first_hour_goes_as_it_is_written(tmp_path: Path, environment: dict[str, str]) -> None:
    found = blocks(GUIDE)
    for block in found:
        if block.file:
            file = tmp_path / block.file
            file.parent.mkdir(exist_ok=True)
            file.write_text(block.text)
    (start,) = (block for block in found if "dev" in block.words)
    steps = [block for block in found if "run" in block.words]
    assert len(steps) > 5
    with left_running(start.commands[0], tmp_path, environment):
        for block in steps:
            follow(block, tmp_path, environment)
