"""Names: what a name in a function's code stands for: as it was imported, and as it is at run time."""

from __future__ import annotations

import ast
import builtins
import sys
import types
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from steadybeat.audit.source.definition import DEEPEST, Definition, Unreadable, parsed

MISSING = object()  # a value that nothing tells


class Names:
    """What the names of one function stand for.

    Args:
        definition: The function.
        owner: The class it was found in, so that ``self.x`` can be followed.
    """

    def __init__(self, definition: Definition, owner: type | None = None) -> None:
        self.owner = owner
        self._definition = definition
        self._imports = {**imports_of(parsed(definition.file), definition.module)}
        self._imports.update(_imported(definition.tree, definition.module))
        self._held = _held(definition.tree)
        self._alike = _alike(definition.tree)
        self._variables = {} if definition.function is None else _variables(definition.function)
        self._own = _own(definition)

    def dotted(self, node: ast.expr, depth: int = 0) -> str:
        """Return what is called or read, as a dotted name: its head as it was imported.

        ``r.post`` after ``import requests as r`` is ``requests.post``; ``session.post`` after ``session =
        requests.Session()`` is ``requests.Session.post``. What has no name, such as an index, stands as ``[]``.
        """
        if isinstance(node, ast.Attribute):
            return f"{self.dotted(node.value, depth)}.{node.attr}"
        if isinstance(node, ast.Call):
            return self.dotted(node.func, depth)
        if isinstance(node, ast.Await | ast.Starred):
            return self.dotted(node.value, depth)
        if isinstance(node, ast.Name):
            return self._head(node.id, depth)
        return "[]"

    def _head(self, name: str, depth: int) -> str:
        if name in self._held and depth < 4:
            held = self._held[name] or self._alike.get(name)
            return self.dotted(held, depth + 1) if held is not None else name
        if name in self._own:
            return name
        value = self._variables.get(name, MISSING)
        if value is MISSING or isinstance(value, type | types.ModuleType) or callable(value):
            return self._imports.get(name, name)
        kind = type(value)
        return (
            self._imports.get(name, name) if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        )

    def value(self, node: ast.expr, depth: int = 0) -> Any:
        """Return the object that a name stands for at run time, or `MISSING`: nothing is called for it."""
        if depth > DEEPEST:  # a variable that is made from itself
            return MISSING
        if isinstance(node, ast.Name):
            if node.id == "self" and self.owner is not None:
                return self.owner
            if node.id in self._held:
                held = self._held[node.id]
                return self.made(held, depth + 1) if isinstance(held, ast.Call) else MISSING
            if node.id in self._own:
                return MISSING
            found = self._variables.get(node.id, MISSING)
            return self._late(node.id) if found is MISSING else found
        if isinstance(node, ast.Attribute):
            return attribute(self.value(node.value, depth + 1), node.attr)
        return self.made(node, depth + 1) if isinstance(node, ast.Call) else MISSING

    def standing_for(self, node: ast.expr) -> ast.expr:
        """Return the expression that a variable of the function was given, where it is given but one."""
        held = self._held.get(node.id) if isinstance(node, ast.Name) else None
        return node if held is None else held

    def is_entered(self, node: ast.expr) -> bool:
        """Say whether a value that is kept in a variable is used as a context: ``lock = …`` and ``with lock:``."""
        kept = {name for name, held in self._held.items() if held is node}
        return any(
            isinstance(item.context_expr, ast.Name) and item.context_expr.id in kept
            for each in ast.walk(self._definition.tree)
            if isinstance(each, ast.With | ast.AsyncWith)
            for item in each.items
        )

    def made(self, call: ast.Call, depth: int = 0) -> Any:
        """Return the class of which a call makes an object, or `MISSING`."""
        made = self.value(call.func, depth)
        return made if isinstance(made, type) else MISSING

    def _late(self, name: str) -> Any:
        """Return what a function imports by itself, if somebody has imported it already."""
        dotted = self._imports.get(name, "")
        if dotted in sys.modules:
            return sys.modules[dotted]
        module, _, attr = dotted.rpartition(".")
        return attribute(sys.modules[module], attr) if module in sys.modules else MISSING

    def constant(self, node: ast.expr | None) -> Any:
        """Return the value of an expression that needs no run to be known: a number, a text, a timedelta, a sum."""
        if node is None:
            return MISSING
        try:
            return self._constant(node)
        except (ArithmeticError, RecursionError, TypeError, ValueError):
            return MISSING

    def _constant(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.BinOp):
            return self._sum(node)
        if isinstance(node, ast.JoinedStr):
            return self._joined(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            value = self._constant(node.operand)
            return MISSING if value is MISSING else -value
        if isinstance(node, ast.Call) and self.dotted(node.func).rpartition(".")[2] in {"timedelta", "int", "float"}:
            return self._converted(node)
        if isinstance(node, ast.Name) and self._held.get(node.id) is not None:
            held = self._held[node.id]
            return MISSING if held is None or held is node else self._constant(held)
        value = self.value(node) if isinstance(node, ast.Name | ast.Attribute) else MISSING
        return value if isinstance(value, int | float | str | bytes | timedelta) else MISSING

    def _joined(self, node: ast.JoinedStr) -> Any:
        parts = [self._constant(each.value if isinstance(each, ast.FormattedValue) else each) for each in node.values]
        return MISSING if MISSING in parts else "".join(map(str, parts))

    def _sum(self, node: ast.BinOp) -> Any:
        left, right = self._constant(node.left), self._constant(node.right)
        if left is MISSING or right is MISSING:
            return MISSING
        ways = {ast.Add: "__add__", ast.Sub: "__sub__", ast.Mult: "__mul__", ast.Div: "__truediv__"}
        way = ways.get(type(node.op))
        value = getattr(left, way)(right) if way else NotImplemented
        return MISSING if value is NotImplemented else value

    def _converted(self, node: ast.Call) -> Any:
        kind = {"timedelta": timedelta, "int": int, "float": float}[self.dotted(node.func).rpartition(".")[2]]
        args = [self._constant(each) for each in node.args]
        keywords = {each.arg: self._constant(each.value) for each in node.keywords if each.arg}
        if MISSING in args or MISSING in keywords.values():
            return MISSING
        return kind(*args, **keywords)

    def seconds(self, node: ast.expr | None) -> float | None:
        """Return a duration in seconds, whether a number or a timedelta; None where the code does not tell."""
        value = self.constant(node)
        if isinstance(value, timedelta):
            return value.total_seconds()
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def attribute(value: Any, name: str) -> Any:
    """Return an attribute, or `MISSING`: of a module, of a class, or of an object's class."""
    if value is MISSING:
        return MISSING
    try:
        return getattr(value, name, MISSING)
    except Exception:  # noqa: BLE001 - lazy settings may say anything while nothing is configured
        return MISSING


def imports_of(tree: ast.AST, module: str) -> Mapping[str, str]:
    """Return what a module imports at its top: local name, and the dotted name it stands for; and what it defines."""
    found = {}
    for node in getattr(tree, "body", ()):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = f"{module}.{node.name}"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update(_names(node, module))
        elif isinstance(node, ast.If | ast.Try):
            found.update(_imported(node, module))
    return found


def _imported(tree: ast.AST, module: str) -> dict[str, str]:
    """Return what stands imported anywhere within."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.update(_names(node, module))
    return found


def _names(node: ast.Import | ast.ImportFrom, module: str) -> dict[str, str]:
    if isinstance(node, ast.Import):
        return {
            each.asname or each.name.partition(".")[0]: each.name if each.asname else each.name.partition(".")[0]
            for each in node.names
        }
    start = node.module or ""
    if node.level:
        above = module.rsplit(".", node.level)[0] if module.count(".") >= node.level else ""
        start = ".".join(filter(None, (above, start)))
    return {each.asname or each.name: f"{start}.{each.name}" for each in node.names if each.name != "*"}


def _variables(function: types.FunctionType) -> dict[str, Any]:
    """Return what a function sees of the outside: builtins, its module, and what encloses it."""
    found = {**vars(builtins), **function.__globals__}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not filled yet
            continue
    return found


def _held(tree: ast.AST) -> dict[str, ast.expr | None]:
    """Return what a function gives its variables, ``x = …`` or ``with … as x``; None where there are several values."""
    found: dict[str, ast.expr | None] = {}
    for node in ast.walk(tree):
        pairs: list[tuple[ast.expr, ast.expr]] = []
        if isinstance(node, ast.Assign):
            pairs = [(target, node.value) for target in node.targets]
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            pairs = [(node.target, node.value)]
        elif isinstance(node, ast.With | ast.AsyncWith):
            pairs = [(item.optional_vars, item.context_expr) for item in node.items if item.optional_vars is not None]
        for target, value in pairs:
            if isinstance(target, ast.Name) and not (target.id in found and _begins_with(value, target.id)):
                found[target.id] = value if target.id not in found else None
    return found


def _alike(tree: ast.AST) -> dict[str, ast.expr]:
    """Return the variables that a function gives several values of one call, such as ``batch = …`` in two loops."""
    given: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    given.setdefault(target.id, []).append(node.value)
    return {
        name: values[0]
        for name, values in given.items()
        if len({ast.unparse(each.func) if isinstance(each, ast.Call) else str(id(each)) for each in values}) == 1
    }


def _begins_with(node: ast.expr, name: str) -> bool:
    """Say whether a value is made from what stands in a variable, as in ``query = query.where(…)``."""
    while isinstance(node, ast.Call | ast.Attribute):
        node = node.func if isinstance(node, ast.Call) else node.value
    return isinstance(node, ast.Name) and node.id == name


def _own(definition: Definition) -> frozenset[str]:
    """Return the names that are the function's own, whatever stands outside under the same name: its arguments."""
    if isinstance(definition.tree, ast.Module):
        return frozenset()
    given = definition.tree.args
    args = (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg)
    return frozenset(each.arg for each in args if each is not None)


def module_file(module: str) -> Path | None:
    """Return the file of a module that is loaded, or None."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return Path(file) if file and file.endswith(".py") else None


__all__ = ["MISSING", "Names", "Unreadable", "attribute", "imports_of", "module_file"]
