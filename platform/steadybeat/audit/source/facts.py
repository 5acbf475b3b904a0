"""Facts: what stands in a function's code, each with its place."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from steadybeat.audit.source.names import MISSING, Names


@dataclass(frozen=True, slots=True)
class Around:
    """What stands around a line, also around the calls that lead to its function; outermost first.

    Attributes:
        within: The contexts that are open: dotted names of what stands behind ``with``.
        caught: The errors that are caught: dotted names; ``*`` for a bare ``except``.
        loops: The places of the loops it is in.
        in_finally: Whether it stands in a ``finally``, so that it happens on every way out.
        in_handler: Whether it stands in an ``except``.
        conditions: What must be so, or not be so, for it to be reached: the texts of the ``if`` around it.
    """

    within: tuple[str, ...] = ()
    caught: tuple[str, ...] = ()
    loops: tuple[str, ...] = ()
    in_finally: bool = False
    in_handler: bool = False
    conditions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call.

    Attributes:
        name: What is called, as a dotted name whose head stands as it was imported, such as ``requests.post``.
        written: The same as it is written.
        place: Where, such as ``shop/jobs.py:12``.
        function: The function that has it.
        arguments: Its positional arguments.
        keywords: Its keyword arguments by name.
        unpacked: Whether it is given ``**more``, so that not every keyword is known.
        around: What stands around it.
        used_as: What becomes of its value: ``test`` of an ``if``, ``with``, ``loop``, ``kept`` in a variable, or
            empty where it is dropped or handed on.
        names: What names mean there.
        node: The call itself.
    """

    name: str
    written: str
    place: str
    function: str
    arguments: tuple[ast.expr, ...]
    keywords: Mapping[str, ast.expr]
    unpacked: bool
    around: Around
    used_as: str
    names: Names
    node: ast.Call

    @property
    def last(self) -> str:
        """The last part of its name: the method, or the function."""
        return self.name.rpartition(".")[2]

    def keyword(self, name: str) -> Any:
        """Return the value of a keyword argument, or `MISSING` where it has none or the code does not tell."""
        return self.names.constant(self.keywords.get(name))

    def seconds(self, name: str) -> float | None:
        """Return a keyword argument as seconds; None where it has none, or the code does not tell."""
        return self.names.seconds(self.keywords.get(name))

    def argument(self, place: int) -> Any:
        """Return the value of a positional argument, or `MISSING`."""
        return self.names.constant(self.arguments[place]) if place < len(self.arguments) else MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """One loop, or comprehension.

    Attributes:
        kind: ``for``, ``while`` or ``comprehension``.
        over: What it goes through, as it is written; of a ``while``, its condition.
        name: The dotted name of what it goes through, where it has one.
        place: Where.
        function: The function that has it.
        around: What stands around it.
        names: What names mean there.
        node: What it goes through.
    """

    kind: str
    over: str
    name: str
    place: str
    function: str
    around: Around
    names: Names
    node: ast.expr


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """One ``except``.

    Attributes:
        errors: Dotted names of what it catches; ``*`` where it says nothing.
        place: Where.
        function: The function that has it.
        raises: Whether an error leaves it again: ``raise``, or a retry.
        logs: Whether it writes a line.
        stack: Whether that line has the error's stack.
        ends: Whether the function, or this round of its loop, ends with it.
        calls: Dotted names of what it calls.
        around: What stands around it.
    """

    errors: tuple[str, ...]
    place: str
    function: str
    raises: bool
    logs: bool
    stack: bool
    ends: bool
    calls: tuple[str, ...]
    around: Around

    @property
    def broad(self) -> bool:
        """Whether it catches every error."""
        return any(each in {"*", "Exception", "BaseException"} for each in self.errors)

    @property
    def silent(self) -> bool:
        """Whether nobody ever learns of what it catches: it neither raises nor calls anything."""
        return not self.raises and not self.calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One text in the code; what is put into it at run time stands as ``{}``.

    Attributes:
        text: The text.
        place: Where.
        function: The function that has it.
        around: What stands around it.
    """

    text: str
    place: str
    function: str
    around: Around


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """One ``if`` that ends the function, or this round of its loop: what is found so is not done again.

    Attributes:
        test: The condition, as it is written.
        way: How it ends: ``return``, ``continue``, ``break`` or ``raise``.
        place: Where.
        function: The function that has it.
        around: What stands around it.
    """

    test: str
    way: str
    place: str
    function: str
    around: Around


@dataclass(slots=True)
class Facts:
    """All that stands in one function, in the order in which it is written."""

    calls: list[Call] = field(default_factory=list)
    loops: list[Loop] = field(default_factory=list)
    handlers: list[Handler] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    guards: list[Guard] = field(default_factory=list)
