"""Registry: which function answers which line of the checklist."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from steadybeat.audit.checklist import LINES

Check = TypeVar("Check", bound=Callable[..., object])


class Registry(Generic[Check]):
    """The functions that answer lines; a decorator that makes one of them.

    Args:
        package: The folder of the files that hold them.
        modules: These files, by name; they are read when it is first asked for the functions.
    """

    def __init__(self, package: str, modules: Sequence[str]) -> None:
        self._package = package
        self._modules = modules
        self._found: dict[str, Check] = {}

    def __call__(self, line: str) -> Callable[[Check], Check]:
        """Have a function answer a line.

        Args:
            line: Its number, such as ``1.6``.
        """
        assert line in LINES, line
        assert line not in self._found, f"{line} is answered twice"

        def note(function: Check) -> Check:
            self._found[line] = function
            return function

        return note

    def all(self) -> Mapping[str, Check]:
        """Return what answers each line, by its number, in the order of the checklist."""
        for module in self._modules:
            importlib.import_module(f"{self._package}.{module}")
        return {number: self._found[number] for number in LINES}
