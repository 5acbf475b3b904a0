"""Proofs: the file that keeps what probes have shown of tasks, for as long as their code is the same.

It is JSON, and belongs beside the code, in its repository: it says of which code it speaks.

    {"tasks": {"tasks.orders.expire": {
        "shown_at": "2026-01-31T12:00:00+00:00",         when it was probed
        "release": "0.1.0",                              of steadybeat
        "code": "3f9a…",                                 SHA-256 of the task's module, and what that imports of its own
        "proofs": {"4.6": {"verdict": "PASS", "evidence": "…", "remedy": ""}, "4.7": …, "4.8": …}}}}
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from steadybeat.audit.answer import Answer, unknown
from steadybeat.audit.finding import Verdict
from steadybeat.audit.probes.judging import DECLARE, PROVEN
from steadybeat.errors import ConfigurationError


class Proofs:
    """What has been shown, as a file keeps it.

    Args:
        file: ``steadybeat_audit_proofs``; need not exist.

    Raises:
        ConfigurationError: It is there and cannot be read.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._tasks: dict[str, dict[str, Any]] = {}
        if not file.exists():
            return
        try:
            self._tasks = json.loads(file.read_text())["tasks"]
            for kept in self._tasks.values():
                _read(kept)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigurationError(
                f"steadybeat_audit_proofs={str(file)!r}: cannot be read ({type(error).__name__}: {error}). Delete it,"
                " and run `celery -A … audit --probe`.",
                name="audit_proofs",
            ) from error

    def keep(self, tasks: Mapping[str, Any], found: Mapping[str, Mapping[str, Answer]]) -> None:
        """Write down what was shown now, in the place of what was shown before of the same tasks.

        Args:
            tasks: Tasks by name; what the file has of others, which are gone, is left out.
            found: What was shown, by task and line.

        Raises:
            ConfigurationError: The file cannot be written.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        for name, proofs in found.items():
            self._tasks[name] = {
                "shown_at": now,
                "release": _release(),
                "code": code_of(tasks[name]),
                "proofs": {line: asdict(proof) for line, proof in proofs.items()},
            }
        kept = {name: self._tasks[name] for name in sorted(self._tasks) if name in tasks}
        unfinished = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        try:
            unfinished.write_text(json.dumps({"tasks": kept}, indent=2, ensure_ascii=False) + "\n")
            unfinished.replace(self._file)
        except OSError as error:
            raise ConfigurationError(
                f"steadybeat_audit_proofs={str(self._file)!r}: cannot be written ({error.strerror}). Name a file that"
                " can.",
                name="audit_proofs",
            ) from error

    def of(self, task: Any) -> dict[str, Answer]:
        """Return what is known of a task by line: what holds for its code as it is now, or why there is nothing."""
        kept = self._tasks.get(task.name)
        if getattr(task, "audit_args", None) is None:
            return _nothing("audit_args is not said, so it was never tried", DECLARE)
        probe = "run `celery -A … audit --probe`, with --task for one of them"
        if kept is None:
            return _nothing(f"it was never tried: {self._file} has nothing of it", probe)
        shown = f"{kept['shown_at']} by release {kept['release']}"
        if (kept["release"], kept["code"]) != (_release(), code_of(task)):
            return _nothing(f"what was shown at {shown} was of other code than there is now ({self._file})", probe)
        said = f"; shown at {shown}, of code {kept['code'][:12]} ({self._file})"
        return {line: replace(proof, evidence=proof.evidence + said) for line, proof in _read(kept).items()}


def _nothing(evidence: str, remedy: str) -> dict[str, Answer]:
    return dict.fromkeys(PROVEN, unknown(evidence, remedy))


def _read(kept: Mapping[str, Any]) -> dict[str, Answer]:
    return {
        line: Answer(verdict=Verdict(proof["verdict"]), evidence=str(proof["evidence"]), remedy=str(proof["remedy"]))
        for line, proof in kept["proofs"].items()
        if line in PROVEN
    }


def code_of(task: Any) -> str:
    """Return the SHA-256 of a task's code: of its module, and of what that imports of its own package."""
    digest = hashlib.sha256(task.name.encode())
    for module in sorted(_reached(task.__module__), key=lambda each: each.__name__):
        digest.update(f"\0{module.__name__}\0".encode())
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()


def _reached(name: str) -> list[ModuleType]:
    """Return a module and the modules of its own package that it imports, however deep down."""
    package, waiting, found = name.partition(".")[0], [name], dict[str, ModuleType]()
    while waiting:
        module = sys.modules.get(waiting.pop())
        if module is None or module.__name__ in found or not str(getattr(module, "__file__", None)).endswith(".py"):
            continue
        found[module.__name__] = module
        waiting += [each for each in _imported(module) if each.partition(".")[0] == package]
    return [*found.values()]


def _imported(module: ModuleType) -> tuple[str, ...]:
    """Return the names that a module imports, wherever it does; some of them are no modules."""
    file = Path(str(module.__file__))
    return _imports(module.__name__, hasattr(module, "__path__"), file, file.stat().st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _imports(name: str, is_package: bool, file: Path, _changed_at: int) -> tuple[str, ...]:
    parents = name.split(".") if is_package else name.split(".")[:-1]
    found: list[str] = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = parents[: len(parents) - node.level + 1] if node.level else []
            source = ".".join(filter(None, [*above, node.module]))
            found += (source, *(f"{source}.{alias.name}" for alias in node.names))
    return tuple(found)


def _release() -> str:
    return importlib.metadata.version("steadybeat")
