"""Checking: which function answers which line for a task that steadybeat guards."""

from __future__ import annotations

from collections.abc import Callable

from steadybeat.audit.answer import Answer
from steadybeat.audit.registry import Registry
from steadybeat.audit.subject import Subject
from steadybeat.audit.surroundings import Surroundings

Check = Callable[[Subject, Surroundings], Answer]

MODULES = ("definition", "locking", "monitoring", "idempotency", "proven", "errors", "runtime", "instances", "tenants")
"""The files of `checks`, one for each section of the checklist, and one for what is proven by trying."""

check: Registry[Check] = Registry("steadybeat.audit.checks", MODULES)
checks = check.all
