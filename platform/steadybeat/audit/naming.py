"""Naming: which functions would be a task of the same name; only one of them is registered, and nobody is told."""

from __future__ import annotations

import ast
import functools
import sys
from pathlib import Path
from typing import Any

from steadybeat.audit.source.definition import Unreadable, parsed, place
from steadybeat.audit.source.names import module_file

_MAKING = frozenset({"task", "shared_task", "periodic_task"})


def places_of(app: Any, name: str) -> list[str]:
    """Return where the modules of an app's tasks define a task of a name, such as ``shop/jobs.py:12``.

    Args:
        app: The Celery app, with its tasks imported.
        name: Of the task.
    """
    return list(_places(app, len(app.tasks)).get(name, ()))


@functools.lru_cache(maxsize=8)
def _places(app: Any, task_count: int) -> dict[str, list[str]]:
    """Return where each task is defined, by its name; read anew where an app has more tasks than before."""
    modules = {
        getattr(task.run, "__module__", "") for name, task in app.tasks.items() if not name.startswith("celery.")
    }
    modules |= {each for each in sys.modules if each in app.loader.task_modules}
    found: dict[str, list[str]] = {}
    for module in sorted(modules):
        file = module_file(module)
        for name, where in () if file is None else _made_in(file, module):
            found.setdefault(name, []).append(where)
    return found


@functools.lru_cache(maxsize=1024)
def _made_in(file: Path, module: str) -> tuple[tuple[str, str], ...]:
    """Return the tasks that a module makes by decorators at its top, each with its name and its place."""
    try:
        tree = parsed(file)
    except Unreadable:
        return ()
    found = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            makers = [each for each in node.decorator_list if _called(each) in _MAKING]
            found += [(_named(each) or f"{module}.{node.name}", place(file, node.lineno)) for each in makers[:1]]
    return tuple(found)


def _called(decorator: ast.expr) -> str:
    function = decorator.func if isinstance(decorator, ast.Call) else decorator
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _named(decorator: ast.expr) -> str:
    """Return the name that a decorator gives a task; empty where it gives none that can be read."""
    for each in decorator.keywords if isinstance(decorator, ast.Call) else ():
        if each.arg == "name":
            return str(each.value.value) if isinstance(each.value, ast.Constant) else "?"
    return ""
