"""An environment in which steadybeat is installed as others install it: from its wheel, its sources out of reach.

    python ops/wheel_environment.py .venv/wheel         # the platform, the catalogue, and all that the tests need

`make test WHEEL=1` tests in that one; a test of its own builds the smaller one of a stranger. Nothing is fetched:
every dependency is a link to what the Python that runs this has installed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from email.parser import HeaderParser
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
CATALOGUE = ROOT / "tasks"

Installed = dict[str, Distribution]

_OURS = {"steadybeat", "steadybeat-catalogue"}

_PIP = (sys.executable, "-I", "-m", "pip", "--isolated", "--disable-pip-version-check", "--no-cache-dir")

_BUILD = "import sys; from hatchling import build; print(getattr(build, f'build_{sys.argv[1]}')(sys.argv[2]))"

_SCRIPT = """#!{python}
import sys
from {module} import {function}
sys.exit({call}())
"""


def build_wheel(source: Path, folder: Path) -> Path:
    """Return the wheel of a project, built into a folder by the hatchling that is installed.

    Args:
        source: Folder that holds the project's pyproject.toml.
        folder: Where the wheel goes; created when missing.

    Raises:
        subprocess.CalledProcessError: The build failed, for the reason that stands on standard error.
    """
    return _built("wheel", source, folder)


def build_sdist(source: Path, folder: Path) -> Path:
    """Return the source distribution of a project, built into a folder by the hatchling that is installed.

    Args:
        source: Folder that holds the project's pyproject.toml.
        folder: Where the archive goes; created when missing.

    Raises:
        subprocess.CalledProcessError: The build failed, for the reason that stands on standard error.
    """
    return _built("sdist", source, folder)


def make_environment(folder: Path, wheels: Sequence[Path], *, lean: bool = False) -> Path:
    """Make a virtual environment anew, install wheels in it, and return its Python.

    Args:
        folder: The environment's; what it holds is removed.
        wheels: What to install.
        lean: Whether it gets only what the wheels require, and no pip; else everything that is installed here.

    Raises:
        LookupError: What a wheel requires is not installed here.
        subprocess.CalledProcessError: A wheel could not be installed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    (site,) = folder.glob("lib/python*/site-packages")
    found: Installed = {canonicalize_name(each.name): each for each in distributions()}
    wanted = _required(wheels, found) if lean else set(found)
    for name in sorted(wanted - _OURS):
        _link(found[name], site)
        _write_scripts(found[name], python)
    install = [*_PIP, "--python", str(python), "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*install, *map(str, wheels)], check=True)
    return python


def _built(target: str, source: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    build = [sys.executable, "-I", "-c", _BUILD, target, str(folder.absolute())]
    return folder / subprocess.run(build, cwd=source, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def _required(wheels: Iterable[Path], found: Installed) -> set[str]:
    """Return the names of what wheels require on this machine, and of what that requires."""
    required: set[tuple[str, str]] = set()
    asked = [pair for wheel in wheels for pair in _requirements(_requires(wheel), "")]
    while asked:
        name, extra = pair = asked.pop()
        if pair in required or name in _OURS:
            continue
        if name not in found:
            raise LookupError(f"{name} is required and is not installed here. Run make again.")
        required.add(pair)
        asked += _requirements(found[name].requires, extra)
    return {name for name, _ in required}


def _requirements(requires: Iterable[str] | None, extra: str) -> Iterator[tuple[str, str]]:
    """Yield name and extra of each requirement that holds here; the extra is empty for the thing itself."""
    for each in map(Requirement, requires or ()):
        if each.marker is None or each.marker.evaluate({"extra": extra}):
            yield from ((canonicalize_name(each.name), wanted) for wanted in ("", *each.extras))


def _requires(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(archive.read(name).decode()).get_all("Requires-Dist", [])


def _link(distribution: Distribution, site: Path) -> None:
    """Make links to the files and folders of a distribution; to the real ones where those are links themselves."""
    tops = {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__", "/")}
    for top in sorted(tops):
        link = site / top
        if not link.exists():
            link.symlink_to(Path(str(distribution.locate_file(top))).resolve())


def _write_scripts(distribution: Distribution, python: Path) -> None:
    """Write the commands of a distribution for another Python: its own ones name the one they were installed for."""
    for point in _commands(distribution):
        file = python.with_name(point.name)
        function = point.attr.partition(".")[0]
        file.write_text(_SCRIPT.format(python=python, module=point.module, function=function, call=point.attr))
        file.chmod(0o755)


def _commands(distribution: Distribution) -> Iterator[EntryPoint]:
    return (each for each in distribution.entry_points if each.group == "console_scripts" and each.name != "pip")


def main() -> None:
    """Make the environment that `make test WHEEL=1` tests in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the environment; what it holds is removed")
    folder = parser.parse_args().folder.absolute()
    wheels = folder.with_name(f"{folder.name}-files")
    shutil.rmtree(wheels, ignore_errors=True)
    try:
        make_environment(folder, [build_wheel(each, wheels) for each in (ROOT, CATALOGUE)])
    finally:
        shutil.rmtree(wheels, ignore_errors=True)


if __name__ == "__main__":
    main()
