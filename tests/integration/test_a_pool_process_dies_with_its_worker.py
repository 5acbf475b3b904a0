"""A pool process knows whether its worker lives, also where that is the first process of a container."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from steadybeat.task.keeper import die_with_parent
now = int(sys.argv[2])
os.getppid = lambda: now
die_with_parent(int(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("parent", "parent_now", "ending"),
    [(4711, 4711, 0), (1, 1, 0), (4711, 1, -signal.SIGKILL), (4711, 900, -signal.SIGKILL)],
    ids=["its worker lives", "its worker is process 1", "it was left to process 1", "it was left to a subreaper"],
)
def test_a_pool_process_ends_if_its_worker_died_before_it_began(parent: int, parent_now: int, ending: int) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    argv = [sys.executable, "-c", PROGRAM, str(parent), str(parent_now)]
    assert subprocess.run(argv, env=env, check=False).returncode == ending
