"""Fitting: whether the value of a setting can be, alone and beside others; what cannot is refused with the way out."""

from __future__ import annotations

import re
from typing import Any

from steadybeat.address import Address
from steadybeat.errors import ConfigurationError
from steadybeat.monitor import Monitor

PREFIX = "steadybeat_"
"""What the name of every setting begins with in Celery's configuration."""


def check_postgres(url: str) -> None:
    """Refuse what is no URL of Postgres; the value stays unsaid, since it may hold a password."""
    if not re.match(r"postgres(ql)?(\+psycopg)?://", url):
        raise ConfigurationError(
            f"{PREFIX}database_url: must be a URL such as postgresql://user:password@host:5432/name.",
            name="database_url",
        )


def check_monitor(name: str, text: str, *, is_of_all: bool = False) -> None:
    """Refuse what names no monitor; of its value only the host is said."""
    monitor = Monitor.read(text, f"{PREFIX}{name}") if text else None
    if monitor is None:
        return
    if is_of_all and not monitor.tells_schedules_apart:
        raise ConfigurationError(
            f"{PREFIX}{name}={monitor.shown!r}: would tell one monitor of every schedule; write {{schedule}} where the"
            " name of a schedule belongs, or give it to a schedule as its heartbeat=.",
            name=name,
            value=monitor.shown,
        )
    if not is_of_all and (monitor.kind == "sentry" or "{schedule}" in monitor.url):
        raise ConfigurationError(
            f"{PREFIX}{name}={monitor.shown!r}: must be the URL of one monitor, without {{schedule}}.",
            name=name,
            value=monitor.shown,
        )


def check_locks(urls: tuple[str, ...]) -> None:
    """Refuse servers of which there is no clear majority; URLs stay unsaid, since they may hold passwords."""
    name = f"{PREFIX}lock_urls"
    addresses = [Address.read(url, name) for url in urls]
    counted = f"names {len(urls)} Redis server{'s' if len(urls) > 1 else ''}"
    wrong = ""
    if any(address.sentinels for address in addresses):
        wrong = "names sentinels, behind which there is one Redis at a time"
    elif len({address.server for address in addresses}) < len(urls):
        wrong = f"{counted}, one of them twice"
    elif urls and len(urls) < 3:
        wrong = f"{counted}, of which the first to fail takes every lock along"
    elif urls and len(urls) % 2 == 0:
        wrong = f"{counted}, which bears no more failures than one server less"
    if wrong:
        raise ConfigurationError(
            f"{name} {wrong}. List three, five or seven Redis servers that do not depend on each other; or none, and"
            " the Redis of the schedules keeps the locks.",
            name=name,
        )


def check_range(name: str, value: Any, low: float | None, high: float | None) -> None:
    """Refuse a number outside of its range.

    Args:
        name: Of the setting.
        value: Its value.
        low: The least that it may be; None: anything.
        high: The most that it may be; None: anything.

    Raises:
        ConfigurationError: It is outside.
    """
    if low is not None and value < low:
        raise ConfigurationError(f"{PREFIX}{name}={value!r}: must be at least {low:g}.", name=name, value=value)
    if high is not None and value > high:
        raise ConfigurationError(f"{PREFIX}{name}={value!r}: must be at most {high:g}.", name=name, value=value)


def check_order(name: str, value: float, other: str, limit: float) -> None:
    """Refuse a value that is not less than another's.

    Args:
        name: Of the setting.
        value: Its value.
        other: The setting that it must stay below.
        limit: That one's value.

    Raises:
        ConfigurationError: It does not.
    """
    if value >= limit:
        raise ConfigurationError(
            f"{PREFIX}{name}={value:g}: must be less than {PREFIX}{other}={limit:g}.", name=name, value=value
        )
