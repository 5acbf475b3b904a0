"""What a task may be told beside Celery's own options, checked when the task is registered."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from steadybeat.errors import LONGEST_PAUSE, ConfigurationError, did_you_mean
from steadybeat.schedule.policies import POLICIES, policies
from steadybeat.settings import Settings
from steadybeat.task.trying import check_trials
from steadybeat.template import why_unfillable

ON_CONFLICT = ("skip", "return_result")
SEVERITIES = ("info", "warning", "error", "critical")
ON_LOCKED = ("wait", "skip")
OPTIONS = frozenset({
    "service", "owner", "severity", "depends_on", "key_template", "key_ttl", "on_conflict", "classify", "retry_for",
    "for_each", "lock", "concurrency", "concurrency_key", "on_locked", "memory_limit", "recorded",
    "audit_args", "audit_count", "audit_ignore", "schedule", "schedules", *POLICIES,
})  # fmt: skip


def check(task: Any, settings: Settings) -> None:
    """Refuse options that cannot be, and give a task the limits that it does not name.

    Args:
        task: A task, bound to its app.
        settings: Where the limits come from.

    Raises:
        ConfigurationError: Names the task, the option, its value and the way out.
    """
    _check_retries(task)
    if task.severity not in SEVERITIES:
        near = did_you_mean(str(task.severity), SEVERITIES)
        raise _wrong(task, "severity", task.severity, f"one of {', '.join(SEVERITIES)}.{near}")
    if isinstance(task.depends_on, str):
        raise _wrong(task, "depends_on", task.depends_on, f"a list of names, such as [{task.depends_on!r}]")
    if task.serializer not in (None, "json"):
        raise _wrong(task, "serializer", task.serializer, "json: the ledger keeps messages as text")
    _check_keys(task)
    _check_turns(task)
    _check_templates(task)
    _check_for_each(task)
    check_trials(task)
    limit = task.memory_limit
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise _wrong(task, "memory_limit", limit, "a whole number of bytes, such as 256 * 2**20")
    try:
        policies({name: getattr(task, name, None) for name in POLICIES})
    except ConfigurationError as error:
        raise type(error)(f"{task.name}: {error}", **error.facts) from None
    _limit(task, settings)


def _check_retries(task: Any) -> None:
    """Refuse retries without an end, and make a classifier that is a function of its own callable on the task."""
    if task.max_retries is None and not task.expires and task.retry_for is None:
        raise _wrong(task, "max_retries", None, "a count, unless retry_for= or expires= bounds its retries in time")
    if task.retry_for is not None:
        if not isinstance(task.retry_for, timedelta) or not timedelta(0) < task.retry_for <= LONGEST_PAUSE:
            way_out = "a timedelta of more than nothing, ten years at the most, such as timedelta(hours=6)"
            raise _wrong(task, "retry_for", task.retry_for, way_out)
        if not task.recorded:
            raise _wrong(
                task, "retry_for", task.retry_for, "left out with recorded=False: nobody knows its first start"
            )
    _check_classifier(task)


def _check_classifier(task: Any) -> None:
    """Refuse what cannot be asked about an error; a function that takes the error alone is no method of the task."""
    given = inspect.getattr_static(task, "classify")
    if given is None:
        return
    of_the_class = isinstance(given, staticmethod | classmethod)
    if not of_the_class and can_be_asked(given):
        task.classify = staticmethod(given)
    elif not can_be_asked(task.classify, beside_self=not of_the_class):
        raise _wrong(task, "classify", given, "a function of one argument, the error")


def can_be_asked(classifier: Any, *, beside_self: bool = False) -> bool:
    """Return whether something can be called with an error alone; or, as a method, with the task and an error."""
    if not callable(classifier) or isinstance(classifier, type):
        return False
    try:
        inspect.signature(classifier).bind(*[None] * (2 if beside_self else 1))
    except (TypeError, ValueError):
        return False
    return True


def _check_keys(task: Any) -> None:
    if task.key_ttl is not None and (not isinstance(task.key_ttl, timedelta) or task.key_ttl <= timedelta()):
        raise _wrong(task, "key_ttl", task.key_ttl, "a time such as timedelta(days=1)")
    if task.on_conflict not in ON_CONFLICT:
        near = did_you_mean(str(task.on_conflict), ON_CONFLICT)
        raise _wrong(task, "on_conflict", task.on_conflict, f"one of {', '.join(ON_CONFLICT)}.{near}")


def _check_turns(task: Any) -> None:
    """Refuse a lock, or a bound of concurrency, that could never be had."""
    lock, count = task.lock, task.concurrency
    if lock is not None and (lock == "" or not isinstance(lock, str | bool)):
        raise _wrong(task, "lock", lock, "True, or a text such as 'sale:{sale_id}'")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise _wrong(task, "concurrency", count, "a count of at least 1")
    if task.concurrency_key is not None and count is None:
        raise _wrong(task, "concurrency_key", task.concurrency_key, "beside concurrency=, which says how many")
    if task.on_locked not in (None, *ON_LOCKED):
        near = did_you_mean(str(task.on_locked), ON_LOCKED)
        raise _wrong(task, "on_locked", task.on_locked, f"one of {', '.join(ON_LOCKED)}.{near}")
    if lock or count is not None:
        if not task.recorded:
            raise _wrong(task, "recorded", False, "left out beside lock= or concurrency=: a run waits in the ledger")
    elif task.on_locked is not None:
        raise _wrong(task, "on_locked", task.on_locked, "beside lock= or concurrency=")


def _check_templates(task: Any) -> None:
    """Refuse a template over arguments that the task does not have."""
    for option in ("key_template", "lock", "concurrency_key"):
        template = getattr(task, option)
        if template is not None and not isinstance(template, str) and option != "lock":
            raise _wrong(task, option, template, "a text such as 'sale:{sale_id}'")
        wrong = why_unfillable(task, template) if isinstance(template, str) else ""
        if wrong:
            raise _wrong(task, option, template, wrong)


def _check_for_each(task: Any) -> None:
    """Refuse a fan-out that could never be, and make a plan of tenants alone."""
    given = inspect.getattr_static(task, "for_each")  # a function is no method of the task
    if given is None:
        return
    if not task.recorded:
        raise _wrong(task, "recorded", False, "left out beside for_each=: who is done, the ledger says")
    try:
        task.for_each = task.app.steadybeat.fan_outs.planned(given)
    except ConfigurationError as error:
        raise type(error)(f"{task.name}: for_each: {error}", **error.facts) from None
    header = getattr(task, "__header__", None)
    if header is not None:
        task.__header__ = staticmethod(_or_nothing(header))


def _or_nothing(header: Callable[..., Any]) -> Callable[..., None]:
    """Return Celery's check of a call's arguments; none at all will do: the task is called for each tenant then."""

    def check(*args: Any, **kwargs: Any) -> None:
        if args or kwargs:
            header(*args, **kwargs)

    return check


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
