"""Failures: an error as the ledger has it, as Celery writes it, and as Python raises it."""

from __future__ import annotations

from typing import Any

from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery.exceptions import TaskRevokedError
from kombu.exceptions import EncodeError
from kombu.utils.json import dumps

from steadybeat.errors import Permanent

_STACK = "Traceback (most recent call last):"
_ENDED_BY = {"timed_out": TimeLimitExceeded, "lost": WorkerLostError}


def described(state: str, reason: str | None, error: str | None, outcome: str | None = None) -> dict[str, Any]:
    """Return the error of a run that did not succeed, as Celery's JSON has it.

    Args:
        state: Of the run.
        reason: Why it is in that state, in one line.
        error: The exception with its stack, as Python prints it, or another text.
        outcome: Of its last attempt.
    """
    if state == "cancelled":
        return _as_celery(TaskRevokedError, reason)
    named = _named(error or "") or _named(reason or "")
    if named is not None:
        return named
    return _as_celery(_ENDED_BY.get(outcome or "", Permanent), reason or error)


def chord_error(culprit: str, error: str) -> dict[str, Any]:
    """Return the error of a chord that cannot join because of one part."""
    return {
        "exc_type": "ChordError",
        "exc_module": "celery.exceptions",
        "exc_message": [f"Dependency {culprit} raised {error}"],
    }


def as_json(value: Any) -> str:
    """Return a value as JSON in kombu's dialect, without what Postgres cannot hold.

    Raises:
        EncodeError: It is no JSON; kombu's.
    """
    try:
        return str(dumps(value, ensure_ascii=True, allow_nan=False)).replace("\\u0000", "\\ufffd")
    except (TypeError, ValueError, RecursionError) as error:
        raise EncodeError(str(error)) from error


def shown(error: dict[str, Any]) -> str:
    """Return an error as one line, as its `repr` would."""
    return f"{error['exc_type']}({', '.join(repr(each) for each in error['exc_message'])})"


def _as_celery(kind: type[BaseException], text: str | None) -> dict[str, Any]:
    return {"exc_type": kind.__qualname__, "exc_module": kind.__module__, "exc_message": [text] if text else []}


def _named(text: str) -> dict[str, Any] | None:
    """Return the exception that a stack ends with, or that one line names; None where it names none."""
    lines = text.rstrip().splitlines()
    stacks = [number for number, each in enumerate(lines) if each.startswith(_STACK)]
    if stacks:
        lines = [each for each in lines[stacks[-1] + 1 :] if not each.startswith("  ")] or lines
    path, _, message = "\n".join(lines).partition(": ")
    module, _, name = path.strip().rpartition(".")
    if not name.isidentifier() or not all(part.isidentifier() for part in module.split(".") if module):
        return None
    known = {"exc_type": name, "exc_module": module or "builtins"}
    return {**known, "exc_message": [message] if message else []}
