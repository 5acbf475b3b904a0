"""Plainly: plain applications as `celery audit --plain-celery` answers for them, each in a process of its own."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
LETTERS = {"P": "PASS", "p": "PARTIAL", "F": "FAIL", "?": "UNKNOWN", "-": "N/A"}


def asked(folder: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``celery audit`` in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "celery", "audit", *args],
        cwd=folder,
        env={**os.environ, "PYTHONWARNINGS": "", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@functools.cache
def document(folder: str, app: str, *args: str) -> Mapping[str, Any]:
    """Return the JSON document about an application below `tests`."""
    done = asked(TESTS / folder, "--plain-celery", app, "--json", *args)
    assert done.returncode == 0, done.stderr
    found: Mapping[str, Any] = json.loads(done.stdout)
    return found


def findings(folder: str, app: str) -> Mapping[tuple[str, str], Mapping[str, Any]]:
    """Return what is found by line and task, a task by the last part of its name."""
    return {(each["line"], each["subject"].rpartition(".")[2]): each for each in document(folder, app)["findings"]}
