"""ops/Dockerfile, read as far as this project uses it.

Source: the Dockerfile reference, https://docs.docker.com/reference/dockerfile/.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

KNOWN = ("ARG", "CMD", "COPY", "ENV", "FROM", "HEALTHCHECK", "LABEL", "RUN", "STOPSIGNAL", "USER", "WORKDIR")


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        flags: What stands before its arguments as ``--name=value``.
        text: The rest of it, on one line.
    """

    word: str
    flags: dict[str, str]
    text: str

    @property
    def exec_form(self) -> list[str] | None:
        """Its arguments where they are a JSON list, so that no shell stands between Docker and the program."""
        return json.loads(self.text) if self.text.startswith("[") else None


@dataclass
class Stage:
    """One stage: from ``FROM`` to the next."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, word: str) -> list[Instruction]:
        return [each for each in self.instructions if each.word == word]

    def last(self, word: str) -> Instruction:
        """Return the instruction of which only the last one counts."""
        return self.all(word)[-1]

    @property
    def env(self) -> dict[str, str]:
        return dict(word.split("=", 1) for each in self.all("ENV") for word in shlex.split(each.text))

    @property
    def labels(self) -> set[str]:
        return {word.split("=", 1)[0] for each in self.all("LABEL") for word in shlex.split(each.text)}


def stages(text: str) -> list[Stage]:
    """Return the stages of a Dockerfile.

    Raises:
        ValueError: An instruction is not one of `KNOWN`.
    """
    found: list[Stage] = []
    for line in _lines(text):
        word, _, rest = line.partition(" ")
        if word not in KNOWN:
            raise ValueError(f"{word!r} is none of {KNOWN}")
        flags = {}
        while option := re.match(r"--([a-z-]+)=(\S+)\s+", rest):
            flags[option[1]], rest = option[2], rest[option.end() :]
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(base, name))
        elif found:
            found[-1].instructions.append(Instruction(word, flags, rest.strip()))
        elif word != "ARG":
            raise ValueError(f"{word} stands before the first FROM")
    return found


def _lines(text: str) -> list[str]:
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", kept)
    return [line.strip() for line in joined.splitlines() if line.strip()]


def copied(stage: Stage) -> list[tuple[list[str], str]]:
    """Return what a stage takes from the build context: sources and the target of each COPY."""
    words = [each.text.split() for each in stage.all("COPY") if "from" not in each.flags]
    return [(sources, target) for *sources, target in words]


class Ignored:
    """.dockerignore: whether a file of the build context stays out.

    The last pattern that fits decides; ``!`` takes a file back; ``**/`` fits any depth.
    """

    def __init__(self, text: str) -> None:
        self._patterns = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]

    def __call__(self, path: str) -> bool:
        out = False
        own = PurePosixPath(path)
        paths = [str(own), *(str(each) for each in own.parents if str(each) != ".")]
        for pattern in self._patterns:
            if any(_fits(pattern.removeprefix("!"), each) for each in paths):
                out = not pattern.startswith("!")
        return out


def _fits(pattern: str, path: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch(PurePosixPath(path).name, pattern.removeprefix("**/"))
    wanted, given = pattern.split("/"), path.split("/")
    return len(wanted) == len(given) and all(map(fnmatch, given, wanted))


def context(root: Path, sources: Iterable[str]) -> list[str]:
    """Return the files of the build context that COPY would take, relative to `root`.

    Raises:
        FileNotFoundError: A source matches no file, or all of its files are ignored.
    """
    ignored = Ignored((root / ".dockerignore").read_text())
    found: list[str] = []
    for source in sources:
        files = _files(root, source)
        sent = [each for each in files if not ignored(each)]
        if not sent:
            raise FileNotFoundError(f"COPY {source}: " + ("all of it is ignored" if files else "there is no such file"))
        found += sent
    return found


def _files(root: Path, source: str) -> Sequence[str]:
    path = root / source
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return [each.relative_to(root).as_posix() for each in files]
