"""Definition: where a function stands in its file, and its tree; why not, where there is none to be read."""

from __future__ import annotations

import ast
import functools
import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEEPEST = 20  # wrappers, or variables, one behind the other, after which they are taken for a circle

Tree = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.Module


class Unreadable(Exception):
    """There is no Python text of this."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A function, and what is written of it.

    Attributes:
        function: The function itself; None of what is read from its file alone.
        tree: Its definition.
        file: The file that holds it.
        module: Name of the module that holds it.
    """

    function: types.FunctionType | None
    tree: Tree
    file: Path
    module: str

    @property
    def name(self) -> str:
        """Its name as it is called in its module, such as ``Mailer.send``."""
        if self.function is None:
            return str(getattr(self.tree, "name", self.module))
        return self.function.__code__.co_qualname.replace(".<locals>", "")

    @property
    def place(self) -> str:
        """Where it begins, such as ``shop/jobs.py:12``."""
        return place(self.file, getattr(self.tree, "lineno", 1))

    @property
    def documented(self) -> str:
        """The first line of its docstring; empty where it has none."""
        text = "" if isinstance(self.tree, ast.Lambda) else ast.get_docstring(self.tree) or ""
        return text.strip().partition("\n")[0]


def place(file: Path, line: int) -> str:
    """Return where a line is: the file from the folder above all of its packages on, and the line."""
    return f"{_from_its_top(file)}:{line}"


@functools.lru_cache(maxsize=4096)
def _from_its_top(file: Path) -> str:
    parts = [file.name]
    folder = file.parent
    while (folder / "__init__.py").is_file() and folder.name:
        parts.insert(0, folder.name)
        folder = folder.parent
    return "/".join(parts)


def definition(called: Any) -> Definition:
    """Return the definition of whatever can be called.

    What is a method, a `functools.partial`, an object with `__call__`, or a wrapper that was not written in Python, is
    followed to the function behind it.

    Raises:
        Unreadable: Says why there is none.
    """
    function = plain(called)
    code = function.__code__
    file = Path(code.co_filename)
    if not file.is_file():
        raise Unreadable(f"its code was generated: there is no file {code.co_filename}")
    for tree in functions_of(file).get(code.co_firstlineno, ()):
        if getattr(tree, "name", "<lambda>") == code.co_name:
            return Definition(function, tree, file, function.__globals__.get("__name__") or file.stem)
    raise Unreadable(
        f"{file.name} has no {code.co_name} in line {code.co_firstlineno}: it was changed since, or generated"
    )


def plain(called: Any) -> types.FunctionType:
    """Return the function behind whatever can be called.

    Raises:
        Unreadable: It was not written in Python.
    """
    for _ in range(DEEPEST):
        if isinstance(called, types.FunctionType):
            return called
        inner = _behind(called)
        if inner is None:
            break
        called = inner
    raise Unreadable(f"{getattr(called, '__name__', type(called).__name__)} was not written in Python")


def _behind(called: Any) -> Any:
    if isinstance(called, functools.partial | functools.partialmethod):
        return called.func
    if isinstance(called, type):
        return None
    for name in ("__func__", "__wrapped__"):
        inner: Callable[..., Any] | None = inspect.getattr_static(called, name, None)
        if inner is not None:
            return getattr(called, name, None)
    call = inspect.getattr_static(type(called), "__call__", None)
    return call if isinstance(call, types.FunctionType) else None


@functools.lru_cache(maxsize=4096)
def parsed(file: Path) -> ast.Module:
    """Return the tree of a file.

    Raises:
        Unreadable: It is no Python that this Python reads.
    """
    try:
        return ast.parse(file.read_bytes(), str(file))
    except (OSError, SyntaxError, ValueError) as error:
        raise Unreadable(f"{file.name} cannot be read: {error}") from error


@functools.lru_cache(maxsize=4096)
def functions_of(file: Path) -> dict[int, list[Tree]]:
    """Return the functions of a file by the line in which Python says they begin: that of their first decorator."""
    found: dict[int, list[Tree]] = {}
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min((node.lineno, *(each.lineno for each in node.decorator_list)))
            found.setdefault(first, []).append(node)
        elif isinstance(node, ast.Lambda):
            found.setdefault(node.lineno, []).append(node)
    return found
