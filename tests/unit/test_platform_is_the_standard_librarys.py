"""The folder `platform/` must never become the module `platform`."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_source_root_has_no_init() -> None:
    assert list((ROOT / "platform").glob("__init__.*")) == []


def test_a_fresh_python_in_the_root_finds_the_standard_librarys_module() -> None:
    code = "import platform; print(platform.system(), platform.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    system, file = done.stdout.split(maxsplit=1)
    assert system
    assert not Path(file.strip()).is_relative_to(ROOT / "platform")
