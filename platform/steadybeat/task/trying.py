"""Trying: how a task may be tried by the probes of the audit, and what is counted then."""

from __future__ import annotations

import inspect
import json
from typing import Any

from steadybeat.errors import ConfigurationError


def check_trials(task: Any) -> None:
    """Refuse what says how a task may be tried and could never be; a function is no method of the task.

    Args:
        task: A task, bound to its app.

    Raises:
        ConfigurationError: Names the task, the option, its value and the way out.
    """
    _check_args(task)
    _check_count(task)
    ignored = task.audit_ignore
    if isinstance(ignored, str) or not all(_is_column(each) for each in ignored):
        raise _wrong(task, "audit_ignore", ignored, "a list of columns with their tables, such as ['mails.state']")


def _check_args(task: Any) -> None:
    given = _given(task, "audit_args")
    if callable(given):
        if not _takes(given, 1):
            raise _wrong(task, "audit_args", given, "a function of one argument, a connection to the scratch database")
        task.audit_args = staticmethod(given)
        return
    if not isinstance(given, tuple | list | dict | None):
        raise _wrong(task, "audit_args", given, "a tuple of arguments, such as (7,), a dict of them, or a function")
    if given is not None:
        _check_arguments(task, given)


def _check_arguments(task: Any, given: Any) -> None:
    args, kwargs = arguments(given)
    try:
        json.dumps([args, kwargs])
    except (TypeError, ValueError):
        raise _wrong(task, "audit_args", given, "JSON, as the arguments of every run are") from None
    header = getattr(task, "__header__", None)
    try:
        if header is not None:
            header(*args, **kwargs)
    except TypeError as error:
        raise _wrong(task, "audit_args", given, f"arguments that the task takes ({error})") from None


def _check_count(task: Any) -> None:
    given = _given(task, "audit_count")
    if callable(given):
        if not _takes(given, 0):
            raise _wrong(task, "audit_count", given, "a function of no arguments that returns a count")
        task.audit_count = staticmethod(given)
    elif given is not None and (isinstance(given, bool) or given != 0):
        way_out = "a function that returns a count, or 0 where it does nothing outside of its tables"
        raise _wrong(task, "audit_count", given, way_out)


def arguments(given: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return positional and named arguments of what ``audit_args``, or the function there, says.

    Raises:
        TypeError: It says nothing of the kind.
    """
    if given is None:
        return [], {}
    if isinstance(given, dict):
        return [], given
    if not isinstance(given, tuple | list):
        raise TypeError(f"audit_args: its function returned {given!r}: must be a tuple or a dict of arguments")
    return [*given], {}


def _given(task: Any, option: str) -> Any:
    """Return an option as it was said: a function, and no method that it would be."""
    given = inspect.getattr_static(task, option)
    return given.__func__ if isinstance(given, staticmethod) else given


def _takes(function: Any, count: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * count)
    except (TypeError, ValueError):
        return False
    return True


def _is_column(text: Any) -> bool:
    return isinstance(text, str) and "." in text.strip(".")


def _wrong(task: Any, option: str, value: Any, way_out: str) -> ConfigurationError:
    return ConfigurationError(f"{task.name}: {option}={value!r}: must be {way_out}.", option=option, value=value)
