"""Following: from a task's function to what it calls in its own package, a few levels deep."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery import Task

from steadybeat.audit.source.definition import DEEPEST, Definition, Unreadable, definition, plain
from steadybeat.audit.source.facts import Around, Call, Facts
from steadybeat.audit.source.names import MISSING, Names, module_file
from steadybeat.audit.source.walking import walk

DEPTH = 5  # calls of calls of …
FUNCTION_COUNT = 400  # that one task may lead to; beyond it only looks like one program

HOOKS = ("__call__", "before_start", "on_success", "on_failure", "on_retry", "after_return")
"""What Celery calls of a task besides its code."""

STRANGERS = ("celery", "steadybeat", "redbeat", "kombu", "billiard")
"""Packages whose code is not the user's own."""


@dataclass(frozen=True, slots=True)
class Function:
    """One function that a task leads to.

    Attributes:
        definition: Its code.
        facts: What stands in it.
        depth: How many calls lie between the task's own function and it.
    """

    definition: Definition
    facts: Facts
    depth: int


def functions_of_task(task: Task) -> Iterator[Any]:
    """Yield what Celery calls for a task to do its work, outermost first: `__call__` and its code.

    The wrapper that Celery puts around the code for ``autoretry_for`` is passed by; hooks that are called before or
    after are no work of the task.
    """
    kind = type(task)
    hooks = hooks_of(task)
    if "__call__" in hooks:
        yield hooks["__call__"]
    run = getattr(task, "__wrapped__", None) or getattr(task, "_orig_run", None)
    yield attribute_of(kind, "run") if run is None else run


def hooks_of(task: Task) -> dict[str, Any]:
    """Return what the user wrote of that which Celery calls besides a task's code, by name, such as ``on_failure``."""
    found = {name: attribute_of(type(task), name) for name in HOOKS}
    return {name: hook for name, hook in found.items() if hook is not None and not is_strange(hook)}


def attribute_of(kind: type, name: str) -> Any:
    """Return what a class has under a name, or None."""
    try:
        return getattr(kind, name, None)
    except Exception:  # noqa: BLE001 - a descriptor of a class may want an object
        return None


def is_strange(called: Any) -> bool:
    """Say whether code belongs to Celery or to the platform."""
    try:
        return str(plain(called).__globals__.get("__name__", "")).partition(".")[0] in STRANGERS
    except Unreadable:
        return False


class Following:
    """Reads functions, and those they call in the same package.

    Args:
        module: The module that counts as home: what lies in its package, or beside it, is followed.
        depth: How many calls deep.
    """

    def __init__(self, module: str, depth: int = DEPTH) -> None:
        self.functions: list[Function] = []
        self.unread: list[str] = []
        self._top = module.partition(".")[0]
        self._folder = _folder_of(module)
        self._depth = depth
        self._seen: set[tuple[Path, int]] = set()

    def read(self, called: Any, owner: type | None = None, around: Around = Around(), depth: int = 0) -> None:  # noqa: B008
        """Read a function and what it leads to; note in `unread` what cannot be read.

        Args:
            called: Whatever can be called.
            owner: The class that it is a method of.
            around: What stands around the call that led here.
            depth: How many calls lie before it.
        """
        try:
            found = definition(self._own(called))
        except Unreadable as reason:
            if depth == 0:
                self.unread.append(str(reason))
            return
        key = (found.file, getattr(found.tree, "lineno", 0))
        if key in self._seen or len(self.functions) >= FUNCTION_COUNT:
            return
        self._seen.add(key)
        names = Names(found, owner)
        facts = walk(found, names, around)
        self.functions.append(Function(found, facts, depth))
        if depth < self._depth:
            for call in facts.calls:
                for called_next, its_owner in self._next(call):
                    self.read(called_next, its_owner, call.around, depth + 1)

    def _next(self, call: Call) -> Iterator[tuple[Any, type | None]]:
        """Yield what a call leads to of the same package: a function, a method, the parts of a class."""
        value = call.names.value(call.node.func)
        for given in self._handed(call):
            yield given, None
        if value is MISSING:
            return
        if isinstance(value, Task) or _is_celery(value):
            return
        if isinstance(value, type):
            if self.is_home(value.__module__):
                yield from ((part, value) for part in _parts(value, ("__init__", "__enter__", "__exit__")))
            return
        try:
            function = self._own(value)
        except Unreadable:
            return
        if self.is_home(_module(function)):
            yield function, _owner(call, value)

    def _own(self, called: Any) -> types.FunctionType:
        """Return the function behind what can be called: below wrappers that were written elsewhere, the user's own.

        Raises:
            Unreadable: It was not written in Python.
        """
        function = plain(called)
        for _ in range(DEEPEST):
            if self.is_home(_module(function)):
                break
            cells = (_content(cell) for cell in function.__closure__ or ())
            within = [each for each in cells if isinstance(each, types.FunctionType) and self.is_home(_module(each))]
            inner = getattr(function, "__wrapped__", None) or next(iter(within), None)
            if inner is None:
                break
            function = plain(inner)
        return function

    def _handed(self, call: Call) -> Iterator[Any]:
        """Yield the functions that a call is given, such as those of `map`, of a pool or of a callback."""
        for node in (*call.arguments, *call.keywords.values()):
            value = call.names.value(node)
            if isinstance(value, types.FunctionType) and self.is_home(_module(value)):
                yield value

    def is_home(self, module: str) -> bool:
        """Say whether a module belongs to the same program: the same package, or a file beside."""
        top = module.partition(".")[0]
        if not top or top in STRANGERS:
            return False
        if top == self._top:
            return True
        file = module_file(top)
        return self._folder is not None and file is not None and _root(file) == self._folder


def _module(function: types.FunctionType) -> str:
    return str(function.__globals__.get("__name__") or "")


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _is_celery(value: Any) -> bool:
    return isinstance(value, types.MethodType) and isinstance(value.__self__, Task)


def _parts(kind: type, names: Iterable[str]) -> Iterator[Any]:
    for name in names:
        part = vars(kind).get(name)
        if isinstance(part, types.FunctionType):
            yield part


def _owner(call: Call, value: Any) -> type | None:
    """Return the class whose method is called."""
    if isinstance(value, types.MethodType):
        return value.__self__ if isinstance(value.__self__, type) else type(value.__self__)
    holder = call.names.value(call.node.func.value) if hasattr(call.node.func, "value") else MISSING
    if isinstance(holder, types.ModuleType) or holder is MISSING:
        return None
    return holder if isinstance(holder, type) else type(holder)


def _folder_of(module: str) -> Path | None:
    """Return the folder that holds a program's packages, where that is no folder of installed ones."""
    file = module_file(module.partition(".")[0])
    return (
        None
        if file is None or {"site-packages", "dist-packages"} & set(file.parts) or _is_of_python(file)
        else _root(file)
    )


def _root(file: Path) -> Path:
    return file.parent.parent if file.name == "__init__.py" else file.parent


def _is_of_python(file: Path) -> bool:
    return any(file.is_relative_to(each) for each in {Path(sys.prefix) / "lib", Path(sys.base_prefix) / "lib"})
