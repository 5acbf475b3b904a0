"""Walking: one function's tree is read for its facts."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from steadybeat.audit.source.definition import Definition, place
from steadybeat.audit.source.facts import Around, Call, Facts, Guard, Handler, Loop, Text
from steadybeat.audit.source.names import MISSING, Names

ANY = "*"  # the errors of a bare except
LOGGED = frozenset({"debug", "info", "warning", "warn", "error", "exception", "critical", "log", "msg"})
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def walk(definition: Definition, names: Names, around: Around = Around()) -> Facts:  # noqa: B008 - it is frozen
    """Return the facts of one function.

    Args:
        definition: The function.
        names: What names mean in it.
        around: What stands around the call that led to it.
    """
    walker = _Walker(definition, names)
    body = definition.tree.body
    for node in body if isinstance(body, list) else [body]:
        if not _is_docstring(node, body):
            walker.visit(node, around)
    return walker.facts


def dotted(node: ast.expr | None, names: Names) -> str:
    """Return the name of an error class as it was imported."""
    return ANY if node is None else names.dotted(node)


class _Walker:
    def __init__(self, definition: Definition, names: Names) -> None:
        self.facts = Facts()
        self._definition = definition
        self._names = names

    def visit(self, node: ast.AST, around: Around, used_as: str = "") -> None:
        way = getattr(self, f"_{type(node).__name__.lower()}", None)
        if isinstance(node, COMPREHENSIONS):
            self._comprehension(node, around)
        elif way is not None:
            way(node, around, used_as)
        else:
            self._all(ast.iter_child_nodes(node), around)

    def _all(self, nodes: Iterable[ast.AST], around: Around, used_as: str = "") -> None:
        for node in nodes:
            self.visit(node, around, used_as)

    def _where(self, node: Any) -> dict[str, str]:
        return {"place": place(self._definition.file, node.lineno), "function": self._definition.name}

    def _call(self, node: ast.Call, around: Around, used_as: str) -> None:
        self.facts.calls.append(
            Call(
                name=self._names.dotted(node.func),
                written=ast.unparse(node.func),
                arguments=tuple(node.args),
                keywords={each.arg: each.value for each in node.keywords if each.arg},
                unpacked=any(each.arg is None for each in node.keywords),
                around=around,
                used_as=used_as,
                names=self._names,
                node=node,
                **self._where(node),
            )
        )
        self._all(ast.iter_child_nodes(node), around, used_as if used_as == "test" else "")

    def _assign(self, node: ast.Assign | ast.AnnAssign | ast.NamedExpr, around: Around, _used: str) -> None:
        if node.value is not None:
            self.visit(node.value, around, "kept")

    _annassign = _namedexpr = _assign

    def _return(self, node: ast.Return, around: Around, _used: str) -> None:
        if node.value is not None:
            self.visit(node.value, around, "returned")

    def _with(self, node: ast.With | ast.AsyncWith, around: Around, _used: str) -> None:
        for item in node.items:
            self.visit(item.context_expr, around, "with")
            around = replace(around, within=(*around.within, self._names.dotted(item.context_expr)))
        self._all(node.body, around)

    _asyncwith = _with

    def _try(self, node: ast.Try, around: Around, _used: str) -> None:
        caught = tuple(error for handler in node.handlers for error in self._errors(handler.type))
        self._all(node.body, replace(around, caught=(*around.caught, *caught)))
        for handler in node.handlers:
            self._handler(handler, around)
        self._all(node.orelse, around)
        self._all(node.finalbody, replace(around, in_finally=True))

    _trystar = _try

    def _errors(self, node: ast.expr | None) -> tuple[str, ...]:
        return tuple(dotted(each, self._names) for each in (node.elts if isinstance(node, ast.Tuple) else [node]))

    def _handler(self, node: ast.ExceptHandler, around: Around) -> None:
        inside = [each for child in node.body for each in ast.walk(child)]
        called = [each for each in inside if isinstance(each, ast.Call)]
        lines = [each for each in called if isinstance(each.func, ast.Attribute) and each.func.attr in LOGGED]
        self.facts.handlers.append(
            Handler(
                errors=self._errors(node.type),
                raises=any(isinstance(each, ast.Raise) for each in inside)
                or any(isinstance(each.func, ast.Attribute) and each.func.attr == "retry" for each in called),
                logs=bool(lines),
                stack=any(_with_stack(each) for each in lines),
                ends=any(isinstance(each, ast.Return | ast.Continue | ast.Break) for each in inside),
                calls=tuple(self._names.dotted(each.func) for each in called),
                around=around,
                **self._where(node),
            )
        )
        self._all(node.body, replace(around, in_handler=True))

    def _for(self, node: ast.For | ast.AsyncFor, around: Around, _used: str) -> None:
        self._loop("for", node, node.iter, around)
        self.visit(node.iter, around, "loop")
        inner = replace(around, loops=(*around.loops, self._where(node)["place"]))
        self._all(node.body, inner)
        self._all(node.orelse, around)

    _asyncfor = _for

    def _while(self, node: ast.While, around: Around, _used: str) -> None:
        self._loop("while", node, node.test, around)
        inner = replace(around, loops=(*around.loops, self._where(node)["place"]))
        self.visit(node.test, inner, "test")
        self._all([*node.body, *node.orelse], inner)

    def _comprehension(self, node: Any, around: Around) -> None:
        self._loop("comprehension", node, node.generators[0].iter, around)
        self.visit(node.generators[0].iter, around, "loop")
        inner = replace(around, loops=(*around.loops, self._where(node)["place"]))
        for n, each in enumerate(node.generators):
            if n:
                self.visit(each.iter, inner, "loop")
            self._all(each.ifs, inner, "test")
        parts = (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)
        self._all(parts, inner)

    def _loop(self, kind: str, node: Any, over: ast.expr, around: Around) -> None:
        name = self._names.dotted(over) if isinstance(over, ast.Call | ast.Name | ast.Attribute) else ""
        found = Loop(
            kind=kind,
            over=ast.unparse(over),
            name=name,
            around=around,
            names=self._names,
            node=over,
            **self._where(node),
        )
        self.facts.loops.append(found)

    def _if(self, node: ast.If, around: Around, _used: str) -> None:
        self.visit(node.test, around, "test")
        test = ast.unparse(node.test)
        if isinstance(node.body[-1], ast.Return | ast.Continue | ast.Raise | ast.Break):
            way = type(node.body[-1]).__name__.lower()
            self.facts.guards.append(Guard(test=test, way=way, around=around, **self._where(node)))
        inner = replace(around, conditions=(*around.conditions, test))
        self._all(node.body, inner)
        self._all(node.orelse, replace(around, conditions=(*around.conditions, f"not ({test})")))

    def _ifexp(self, node: ast.IfExp, around: Around, _used: str) -> None:
        self.visit(node.test, around, "test")
        self._all((node.body, node.orelse), around)

    def _compare(self, node: ast.Compare | ast.BoolOp | ast.UnaryOp, around: Around, used_as: str) -> None:
        self._all(ast.iter_child_nodes(node), around, used_as)

    _boolop = _unaryop = _compare

    def _constant(self, node: ast.Constant, around: Around, _used: str) -> None:
        if isinstance(node.value, str):
            self._text(node, node.value, around)

    def _joinedstr(self, node: ast.JoinedStr, around: Around, _used: str) -> None:
        parts = [str(each.value) if isinstance(each, ast.Constant) else "{}" for each in node.values]
        self._text(node, "".join(parts), around)
        self._all([each for each in node.values if isinstance(each, ast.FormattedValue)], around)

    def _name(self, node: ast.Name, around: Around, _used: str) -> None:
        """Read a text, or a statement of SQLAlchemy, that stands in the module."""
        value = self._names.value(node) if isinstance(node.ctx, ast.Load) else MISSING
        if isinstance(value, str):
            self._text(node, value, around)
        elif type(value).__module__.startswith("sqlalchemy.") and hasattr(value, "compile"):
            try:
                self._text(node, str(value), around)
            except Exception:  # noqa: BLE001 - a statement without its dialect may not know how it is written
                return

    def _attribute(self, node: ast.Attribute, around: Around, used_as: str) -> None:
        value = self._names.value(node)
        if isinstance(value, str):
            self._text(node, value, around)
        else:
            self.visit(node.value, around, used_as)

    def _text(self, node: Any, text: str, around: Around) -> None:
        self.facts.texts.append(Text(text=text, around=around, **self._where(node)))


def _with_stack(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Attribute) and call.func.attr == "exception":
        return True
    return any(
        each.arg == "exc_info" and not (isinstance(each.value, ast.Constant) and not each.value.value)
        for each in call.keywords
    )


def _is_docstring(node: ast.AST, body: Any) -> bool:
    return (
        isinstance(body, list)
        and node is body[0]
        and isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
