"""Crash points: what arms them, and what keeps them from being armed by accident."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from steadybeat import crashpoints
from steadybeat.crashpoints import CrashPoint
from steadybeat.errors import ConfigurationError
from steadybeat.settings import Settings


def test_a_point_is_armed_for_any_task_and_once_unless_it_says_more() -> None:
    assert CrashPoint.read("after_claim") == CrashPoint("after_claim", None, 1)
    assert CrashPoint.read("after_claim:tasks.pay") == CrashPoint("after_claim", "tasks.pay", 1)
    assert CrashPoint.read("after_claim:*:3") == CrashPoint("after_claim", None, 3)


@pytest.mark.parametrize(
    ("given", "said"),
    [("after_clam", "Did you mean 'after_claim'?"), ("x", "one of after_record"), ("after_claim:a:0", "such as after")],
)
def test_a_point_that_cannot_be_is_refused_with_the_way_out(given: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match="steadybeat_crash_at") as error:
        CrashPoint.read(given)
    assert said in str(error.value)


def test_nothing_is_armed_unless_both_settings_say_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert crashpoints.armed(Settings()) is None
    assert crashpoints.armed(Settings(crash_folder=str(tmp_path))) is None
    with pytest.raises(ConfigurationError, match="Set that as well, or neither"):
        crashpoints.armed(Settings(crash_at=("after_claim",)))
    with pytest.raises(ConfigurationError, match="must be a folder that exists"):
        crashpoints.armed(Settings(crash_at=("after_claim",), crash_folder=str(tmp_path / "none")))
    assert not caplog.records
    assert crashpoints.armed(Settings(crash_at=("after_claim",), crash_folder=str(tmp_path))) is not None
    assert "crash points armed" in caplog.text


def test_processes_die_as_often_in_all_as_they_were_told_and_at_no_other_point(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from steadybeat.crashpoints import *\n"
        "points = CrashPoints((CrashPoint.read('after_claim:pay:2'),), Path(sys.argv[1]))\n"
        "points.reach('after_effect', 'pay'); points.reach('after_claim', 'other'); points.reach('after_claim', 'pay')"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    argv = [sys.executable, "-c", program, str(tmp_path)]
    endings = [subprocess.run(argv, env=env, check=False).returncode for _ in range(3)]

    assert endings == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["after_claim-1", "after_claim-2"]


def test_points_that_a_file_names_are_armed_as_soon_as_it_does(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from steadybeat import crashpoints; from steadybeat.settings import Settings\n"
        "folder = Path(sys.argv[1])\n"
        "points = crashpoints.armed(Settings(crash_at=('written',), crash_folder=str(folder)))\n"
        "points.reach('after_claim', 'pay')\n"
        "(folder / 'points').write_text('after_effect:pay:1')\n"
        "points.reach('after_claim', 'pay'); print('alive', flush=True); points.reach('after_effect', 'pay')"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    argv = [sys.executable, "-c", program, str(tmp_path)]
    ended = subprocess.run(argv, env=env, check=False, capture_output=True, text=True)

    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, "alive\n")
    assert (tmp_path / "after_effect-1").exists()


@pytest.mark.parametrize(("finished", "code"), [(False, -signal.SIGKILL), (True, 0)])
def test_a_process_is_killed_halfway_through_its_work_and_not_once_it_has_finished(
    finished: bool, code: int, tmp_path: Path
) -> None:
    (tmp_path / "points").write_text("halfway:pay:1")
    (tmp_path / "halfway").write_text("0.2")
    program = (
        "import sys, threading; from steadybeat.crashpoints import WrittenPoints; from pathlib import Path\n"
        "points = WrittenPoints(Path(sys.argv[1])); points.reach('after_claim', 'pay')\n"
        f"if {finished}: points.reach('before_finish', 'pay')\n"
        "threading.Event().wait(1)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    argv = [sys.executable, "-c", program, str(tmp_path)]
    assert subprocess.run(argv, env=env, check=False).returncode == code
