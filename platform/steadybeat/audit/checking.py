"""Checking: which function answers which line."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping

from steadybeat.audit.answer import Answer
from steadybeat.audit.checklist import LINES
from steadybeat.audit.subject import Subject
from steadybeat.audit.surroundings import Surroundings

Check = Callable[[Subject, Surroundings], Answer]

MODULES = ("definition", "locking", "monitoring", "idempotency", "proven", "errors", "runtime", "instances", "tenants")
"""The files of `checks`, one for each section of the checklist."""

_found: dict[str, Check] = {}


def check(line: str) -> Callable[[Check], Check]:
    """Have a function answer a line of the checklist.

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
        if importlib.util.find_spec(f"steadybeat.audit.checks.{module}"):
            importlib.import_module(f"steadybeat.audit.checks.{module}")
    return {number: _found[number] for number in LINES if number in _found}
