"""Template: a text over the names of a task's arguments, such as ``"sale:{sale_id}"``. Pure."""

from __future__ import annotations

import inspect
import string
from collections.abc import Mapping, Sequence
from typing import Any

from steadybeat.errors import ConfigurationError, did_you_mean


def filled(task: Any, option: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return the text that an option of a task makes of a run's arguments.

    Args:
        task: The task.
        option: Which of its options holds the template.
        args: Positional arguments of the run.
        kwargs: Named arguments of the run.

    Raises:
        ConfigurationError: The template does not fit the arguments.
    """
    template = getattr(task, option)
    try:
        bound = inspect.signature(task.run).bind(*args, **kwargs)
        bound.apply_defaults()
        return str(template).format(**bound.arguments)
    except (TypeError, KeyError, IndexError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"{task.name}: {option}={template!r} does not fit the arguments of this run ({error!r}).",
            **{option: template},
        ) from error


def why_unfillable(task: Any, template: str) -> str:
    """Return why no arguments could ever fill a template, or an empty string.

    Args:
        task: A task, or the class of one.
        template: The text.
    """
    try:
        fields = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        return f"a text with fields such as 'sale:{{sale_id}}' ({error})"
    known = _arguments(task)
    for name in fields:
        first = name.partition(".")[0].partition("[")[0]
        if first not in known:
            listed = ", ".join(known) or "none"
            return f"over the task's arguments, which are {listed}; not {first!r}.{did_you_mean(first, known)}"
    return ""


def _arguments(task: Any) -> list[str]:
    """Return the names of a task's arguments."""
    own: Any = task if isinstance(task, type) else type(task)
    names = list(inspect.signature(own.run).parameters)
    return names if isinstance(inspect.getattr_static(own, "run"), staticmethod) else names[1:]
