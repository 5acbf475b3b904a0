"""Coding: programs of a few files, written and imported for one test."""

from __future__ import annotations

import importlib
import itertools
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from celery import Celery

Program = Callable[..., ModuleType]
COUNT = itertools.count()

HEAD = """
from celery import Celery, Task
app = Celery({name!r}, set_as_current=False)
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Program]:
    """Write a package of modules and import its module `tasks`, which has an `app`."""
    made = []

    def write(tasks: str, **others: str) -> ModuleType:
        name = f"written{next(COUNT)}"
        made.append(name)
        folder = tmp_path / name
        folder.mkdir()
        (folder / "__init__.py").write_text("")
        for module, text in {"tasks": HEAD.format(name=name) + textwrap.dedent(tasks), **others}.items():
            (folder / f"{module}.py").write_text(textwrap.dedent(text))
        monkeypatch.syspath_prepend(str(tmp_path))
        importlib.invalidate_caches()
        return importlib.import_module(f"{name}.tasks")

    yield write
    for module in [each for each in sys.modules if each.partition(".")[0] in made]:
        del sys.modules[module]


def task_of(module: ModuleType, name: str = "job") -> Any:
    """Return the task of a written program."""
    app: Celery = module.app
    return app.tasks[getattr(module, name).name]
