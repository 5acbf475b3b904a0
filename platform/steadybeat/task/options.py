"""What a task may be told beside Celery's own options, checked when the task is registered."""

from __future__ import annotations

from typing import Any

from steadybeat.errors import ConfigurationError, did_you_mean
from steadybeat.schedule.policies import POLICIES, policies
from steadybeat.settings import Settings

SEVERITIES = ("info", "warning", "error", "critical")
OPTIONS = frozenset({
    "service", "owner", "severity", "depends_on", "key_template", "memory_limit", "recorded",
    "schedule", "schedules", *POLICIES,
})  # fmt: skip


def check(task: Any, settings: Settings) -> None:
    """Refuse options that cannot be, and give a task the limits that it does not name.

    Args:
        task: A task, bound to its app.
        settings: Where the limits come from.

    Raises:
        ConfigurationError: Names the task, the option, its value and the way out.
    """
    if task.max_retries is None and not task.expires:
        raise _wrong(task, "max_retries", None, "a count, unless expires= bounds its retries in time")
    if task.severity not in SEVERITIES:
        near = did_you_mean(str(task.severity), SEVERITIES)
        raise _wrong(task, "severity", task.severity, f"one of {', '.join(SEVERITIES)}.{near}")
    if isinstance(task.depends_on, str):
        raise _wrong(task, "depends_on", task.depends_on, f"a list of names, such as [{task.depends_on!r}]")
    if task.serializer not in (None, "json"):
        raise _wrong(task, "serializer", task.serializer, "json: the ledger keeps messages as text")
    if task.key_template is not None and not isinstance(task.key_template, str):
        raise _wrong(task, "key_template", task.key_template, "a text such as 'sale:{sale_id}'")
    limit = task.memory_limit
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise _wrong(task, "memory_limit", limit, "a whole number of bytes, such as 256 * 2**20")
    try:
        policies({name: getattr(task, name, None) for name in POLICIES})
    except ConfigurationError as error:
        raise type(error)(f"{task.name}: {error}", **error.facts) from None
    _limit(task, settings)


def _limit(task: Any, settings: Settings) -> None:
    if task.time_limit is None:
        soft = task.soft_time_limit
        task.time_limit = (
            settings.time_limit_seconds if soft is None or soft < settings.time_limit_seconds else soft + 60
        )
    if task.soft_time_limit is None:
        share = settings.soft_time_limit_seconds / settings.time_limit_seconds
        task.soft_time_limit = min(settings.soft_time_limit_seconds, task.time_limit * share)
    if task.soft_time_limit >= task.time_limit:
        raise _wrong(
            task, "soft_time_limit", task.soft_time_limit, f"less than time_limit={task.time_limit:g} (seconds)"
        )


def _wrong(task: Any, option: str, value: Any, way_out: str) -> ConfigurationError:
    return ConfigurationError(f"{task.name}: {option}={value!r}: must be {way_out}.", option=option, value=value)
