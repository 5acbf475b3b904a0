"""Checking: which function answers which line for a plain application."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

from steadybeat.audit.answer import Answer
from steadybeat.audit.checklist import LINES
from steadybeat.audit.plain.program import Job, Program

Check = Callable[[Job, Program], Answer]

MODULES = ("defined", "locked", "watched", "repeated", "failing", "running", "scaled", "shared")
"""The files of this folder that answer lines, one for each section of the checklist."""

_found: dict[str, Check] = {}


def check(line: str) -> Callable[[Check], Check]:
    """Have a function answer a line of the checklist for jobs of plain applications.

    Args:
        line: Its number, such as ``1.6``.
    """
    assert line in LINES, line
    assert line not in _found, f"{line} is answered twice"

    def note(function: Check) -> Check:
        _found[line] = function
        return function

    return note


def checks() -> Mapping[str, Check]:
    """Return what answers each line, by its number, in the order of the checklist."""
    for module in MODULES:
        importlib.import_module(f"steadybeat.audit.plain.{module}")
    return {number: _found[number] for number in LINES}
