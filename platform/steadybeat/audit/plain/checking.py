"""Checking: which function answers which line for a plain application."""

from __future__ import annotations

from collections.abc import Callable

from steadybeat.audit.answer import Answer
from steadybeat.audit.plain.program import Job, Program
from steadybeat.audit.registry import Registry

Check = Callable[[Job, Program], Answer]

MODULES = ("defined", "locked", "watched", "repeated", "failing", "running", "scaled", "shared")
"""The files of this folder that answer lines, one for each section of the checklist."""

check: Registry[Check] = Registry("steadybeat.audit.plain", MODULES)
checks = check.all
