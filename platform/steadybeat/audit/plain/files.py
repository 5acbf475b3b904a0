"""Files: a program's own modules, read and not imported, and the files that say how its processes are started."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from steadybeat.audit.source import Source, read_file
from steadybeat.audit.source.definition import Unreadable, place

FILE_COUNT = 3000  # of one program; no more are read
LARGEST_BYTES = 1_000_000
LEFT_OUT = frozenset(
    {"migrations", "tests", "test", "node_modules", ".venv", "venv", "__pycache__", ".git", "site-packages"}
)

STARTS = (
    "Procfile*",
    "Dockerfile*",
    "*compose*.y*ml",
    "*.service",
    "*supervisor*.conf",
    "*supervisor*.ini",
    "Makefile",
    "*.sh",
    "*.y*ml",
    "*.tf",
    "Jenkinsfile",
)
"""The files that say how processes are started."""

STARTS_IN = (
    "",
    "deploy",
    "deployment",
    "k8s",
    "kubernetes",
    "ops",
    "infra",
    "docker",
    "helm",
    "charts",
    "scripts",
    "bin",
    "etc",
)
"""The folders, below that of the program, in which such files are looked for."""

COMMAND = re.compile(r"\bcelery\b(?P<rest>[^\n#&|;]*)")


@dataclass(frozen=True, slots=True)
class File:
    """One module of a program.

    Attributes:
        path: Its file.
        module: Its name.
        source: What it says.
    """

    path: Path
    module: str
    source: Source


@dataclass(frozen=True, slots=True)
class Command:
    """One line that starts a process of Celery.

    Attributes:
        text: The line.
        place: Where it stands.
    """

    text: str
    place: str

    @property
    def words(self) -> frozenset[str]:
        """Its words."""
        return frozenset(self.text.split())

    @property
    def is_worker(self) -> bool:
        """Whether it starts workers."""
        return "worker" in self.words

    @property
    def is_beat(self) -> bool:
        """Whether it starts a scheduler by itself."""
        return "beat" in self.words and not self.is_worker

    @property
    def embeds_beat(self) -> bool:
        """Whether it starts a scheduler within a worker."""
        return self.is_worker and bool(self.words & {"-B", "--beat"})

    @property
    def asks_for_life(self) -> bool:
        """Whether it asks workers for a sign of life."""
        return ("inspect" in self.words and "ping" in self.words) or "status" in self.words

    def option(self, *names: str) -> str | None:
        """Return what stands behind an option, such as ``--pool=``; None where it is not given."""
        words = self.text.split()
        for n, word in enumerate(words):
            name, _, value = word.partition("=")
            if name in names:
                return value or (words[n + 1] if n + 1 < len(words) else "")
        return None


def folder_of(module: str) -> Path | None:
    """Return the folder above all packages of a module that is loaded, or None where it has no file."""
    file = getattr(sys.modules.get(module.partition(".")[0]), "__file__", None)
    if not file:
        return None
    path = Path(file)
    return path.parent.parent if path.name == "__init__.py" else path.parent


def own_files(tops: Iterable[str]) -> list[File]:
    """Return the modules of a program.

    Args:
        tops: The names of its packages, or of its modules that are in none.
    """
    found: list[File] = []
    for path, module in _paths(tops):
        if len(found) >= FILE_COUNT:
            break
        try:
            found.append(File(path, module, read_file(path, module)))
        except Unreadable:
            continue
    return found


def _paths(tops: Iterable[str]) -> Iterator[tuple[Path, str]]:
    seen: set[Path] = set()
    for top in sorted(set(tops)):
        folder, loaded = folder_of(top), getattr(sys.modules.get(top), "__file__", None)
        if folder is None or loaded is None:
            continue
        package = Path(loaded).name == "__init__.py"
        for path in sorted((folder / top).rglob("*.py") if package else folder.glob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            small = path.stat().st_size <= LARGEST_BYTES
            if path not in seen and small and not LEFT_OUT & set(parts) and not path.name.startswith("test_"):
                seen.add(path)
                yield path, ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def commands(folders: Iterable[Path]) -> list[Command]:
    """Return the lines by which processes of Celery are started.

    Args:
        folders: Those that hold the program's packages.
    """
    paths = {
        path
        for folder in folders
        for each in STARTS_IN
        for pattern in STARTS
        for path in (folder / each).glob(pattern)
        if path.is_file() and path.stat().st_size <= LARGEST_BYTES
    }
    return [command for path in sorted(paths) for command in _commands(path)]


def _commands(path: Path) -> Iterator[Command]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for n, line in enumerate(lines):
        text = re.sub(r"""["',\[\]]+""", " ", line)
        if (
            line.rstrip().endswith("\\")
            or re.match(r"\s*(-\s+)?(command|args|entrypoint|test):\s*$", line)
            or re.match(r"\s*-\s*['\"]?celery['\"]?\s*$", line)
        ):
            text += _continued(lines[n + 1 :], line)
        found = COMMAND.search(text)
        if found is not None and not line.lstrip().startswith("#"):
            yield Command(" ".join(f"celery{found['rest']}".split()), place(path, n + 1))


def _continued(lines: list[str], first: str) -> str:
    """Return what follows a line that goes on: behind a backslash, or as a list in YAML."""
    text, line = "", first
    for following in lines:
        goes_on = line.rstrip().endswith("\\") or re.match(r"\s*-\s+\S", following)
        if not goes_on:
            break
        text += " " + re.sub(r"""["',\[\]\\]+|^\s*-\s+""", " ", following)
        line = following
    return text.replace("\\", " ")
