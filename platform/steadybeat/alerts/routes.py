"""Routes: who is told of what, through which channels, and who next if nobody answers. Pure: no clock, no I/O.

{
    "owner": "payments-*", "service": …, "rule": …, "subject": …,  patterns, or lists of them; left out: any
    "severity": "error",                                          at least so bad
    "to": ["payments-slack"],                                     channels
    "fallback": ["mail"],                                         where one of them fails
    "escalate": [{"after": "15m", "to": ["oncall"]}],             until somebody acknowledges it
    "quiet": {"from": "22:00", "until": "07:00", "tz": "Europe/Berlin", "below": "critical"},
    "recovery": true,                                             whether it is told that it is over
    "continue": false,                                            whether later routes are asked as well
}
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, Protocol

from steadybeat.alerts.quiet import SEVERITIES, Quiet, rank
from steadybeat.errors import ConfigurationError, did_you_mean
from steadybeat.rules import RULES

_MATCHES = ("owner", "service", "rule", "subject")
_KEYS = (*_MATCHES, "severity", "to", "fallback", "escalate", "quiet", "recovery", "continue")
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+")


class Matched(Protocol):
    """What a route is asked of: a finding, or an alert."""

    @property
    def rule(self) -> str: ...  # noqa: D102
    @property
    def subject(self) -> str: ...  # noqa: D102
    @property
    def severity(self) -> str: ...  # noqa: D102
    @property
    def owner(self) -> str | None: ...  # noqa: D102
    @property
    def service(self) -> str | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an escalation.

    Attributes:
        after: How long nobody has answered since the step before.
        to: Channels that are told then.
    """

    after: timedelta
    to: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Who is told of what.

    Attributes:
        number: Its place among the routes, from 1 on.
        matches: Patterns, of which one must fit, by what they are of.
        severity: At least so bad.
        to: Channels that are told.
        fallback: Channels that are tried in their order where one fails.
        escalate: Who is told next, as long as nobody answers; the last step comes again and again.
        quiet: When people are left alone.
        recovery: Whether they are told that it is over.
        goes_on: Whether later routes are asked as well.
    """

    number: int
    to: tuple[str, ...]
    matches: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    severity: str = "info"
    fallback: tuple[str, ...] = ()
    escalate: tuple[Step, ...] = ()
    quiet: Quiet | None = None
    recovery: bool = True
    goes_on: bool = False

    def fits(self, what: Matched) -> bool:
        """Return whether it takes a finding or an alert."""
        return rank(what.severity) >= rank(self.severity) and all(
            any(fnmatchcase(getattr(what, name) or "", pattern) for pattern in patterns)
            for name, patterns in self.matches.items()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How people are told of one alert: what the routes that fit say together.

    Attributes:
        routes: Numbers of these.
        to: Channels, each once.
        fallbacks: Where one fails.
        escalate: Of the first that escalates.
        quiet: Of the first.
        recovery: Whether any wants it.
    """

    routes: tuple[int, ...] = ()
    to: tuple[str, ...] = ()
    fallbacks: tuple[str, ...] = ()
    escalate: tuple[Step, ...] = ()
    quiet: Quiet | None = None
    recovery: bool = True

    def held_until(self, now: datetime, severity: str) -> datetime | None:
        """Return when people may be told, or None: now."""
        return None if self.quiet is None else self.quiet.until(now, severity)

    def step(self, number: int) -> Step | None:
        """Return a step of the escalation, from 0 on; the last one again after that; None where there is none."""
        return self.escalate[min(number, len(self.escalate) - 1)] if self.escalate else None


class Routes:
    """All routes.

    Args:
        routes: In their order.
        channels: Names of all channels, in their order.
    """

    def __init__(self, routes: Sequence[Route], channels: Sequence[str]) -> None:
        self.routes = tuple(routes)
        self.channels = tuple(channels)

    @classmethod
    def read(cls, given: Sequence[Mapping[str, Any]], channels: Sequence[str]) -> Routes:
        """Return the routes that the settings mean; with channels and no routes, everything goes to every channel.

        Args:
            given: ``steadybeat_alert_routes``.
            channels: Names of the channels.

        Raises:
            ConfigurationError: Names the route, the field and the way out.
        """
        routes = [_read(number, each, channels) for number, each in enumerate(given, 1)]
        if not given and channels:
            routes = [Route(number=1, to=tuple(channels))]
        return cls(routes, channels)

    def way(self, what: Matched, without: Sequence[str] = ()) -> Way:
        """Return how people are told of a finding or an alert.

        Args:
            what: Of which.
            without: Channels that are known to fail: others take their place.
        """
        fitting = []
        for route in self.routes:
            if route.fits(what):
                fitting.append(route)
                if not route.goes_on:
                    break
        if not fitting:
            return Way()
        to = [*dict.fromkeys(name for route in fitting for name in route.to)]
        steps = next((route.escalate for route in fitting if route.escalate), ())
        own = [name for route in fitting for name in route.fallback]
        later = [*own, *(name for step in steps for name in step.to), *self.channels]
        rest = [name for name in dict.fromkeys(later) if name not in to and name not in without]
        told = [name for name in to if name not in without] or rest[:1] or to
        return Way(
            routes=tuple(route.number for route in fitting),
            to=tuple(told),
            fallbacks=tuple(name for name in rest if name not in told),
            escalate=steps,
            quiet=fitting[0].quiet,
            recovery=any(route.recovery for route in fitting),
        )


def duration(value: Any, where: str) -> timedelta:
    """Return a duration: a timedelta, or a text such as ``15m`` or ``1h30m``.

    Raises:
        ConfigurationError: It is none, or shorter than a second.
    """
    if isinstance(value, str) and _DURATION.fullmatch(value):
        parts = re.findall(r"(\d+(?:\.\d+)?)([dhms])", value)
        value = timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))
    if not isinstance(value, timedelta) or value < timedelta(seconds=1):
        raise ConfigurationError(
            f'{where}={value!r}: must be a timedelta, or a text such as "15m", of a second or more.'
        )
    return value


def _read(number: int, given: Mapping[str, Any], channels: Sequence[str]) -> Route:
    where = f"steadybeat_alert_routes, route {number}"
    for key in given:
        if key not in _KEYS:
            raise ConfigurationError(f"{where}: there is no {key!r}.{did_you_mean(str(key), _KEYS)}")
    severity = given.get("severity", "info")
    if severity not in SEVERITIES:
        near = did_you_mean(str(severity), SEVERITIES) or f" There are: {', '.join(SEVERITIES)}."
        raise ConfigurationError(f"{where}: severity={severity!r}: there is no such severity.{near}")
    if "to" not in given:
        raise ConfigurationError(f"{where}: lacks 'to', the channels that are told.")
    return Route(
        number=number,
        to=_channels(given["to"], channels, f"{where}: to"),
        matches={name: _patterns(given[name], name, where) for name in _MATCHES if name in given},
        severity=severity,
        fallback=_channels(given["fallback"], channels, f"{where}: fallback") if "fallback" in given else (),
        escalate=_steps(given.get("escalate", ()), channels, f"{where}: escalate"),
        quiet=Quiet.read(given["quiet"], f"{where}: quiet") if "quiet" in given else None,
        recovery=_flag(given, "recovery", True, where),
        goes_on=_flag(given, "continue", False, where),
    )


def _flag(given: Mapping[str, Any], name: str, default: bool, where: str) -> bool:
    value = given.get(name, default)
    if not isinstance(value, bool):
        raise ConfigurationError(f"{where}: {name}={value!r}: must be true or false.")
    return value


def _patterns(given: Any, name: str, where: str) -> tuple[str, ...]:
    patterns = (given,) if isinstance(given, str) else given
    if not isinstance(patterns, list | tuple) or not patterns or not all(isinstance(each, str) for each in patterns):
        raise ConfigurationError(
            f"{where}: {name}={given!r}: must be a pattern, such as payments-*, or a list of them."
        )
    for pattern in patterns:
        if name == "rule" and not any(fnmatchcase(rule, pattern) for rule in RULES):
            raise ConfigurationError(f"{where}: rule={pattern!r}: there is no such rule.{did_you_mean(pattern, RULES)}")
    return tuple(patterns)


def _channels(given: Any, channels: Sequence[str], where: str) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else given
    if not isinstance(names, list | tuple) or not names:
        raise ConfigurationError(f"{where}={given!r}: must be a list of channels.")
    for name in names:
        if name not in channels:
            there_are = f" There are: {', '.join(channels)}." if channels else " steadybeat_alert_channels has none."
            near = did_you_mean(str(name), channels) or there_are
            raise ConfigurationError(f"{where}: there is no channel {name!r}.{near}")
    return tuple(names)


def _steps(given: Any, channels: Sequence[str], where: str) -> tuple[Step, ...]:
    if not isinstance(given, list | tuple):
        raise ConfigurationError(f'{where}={given!r}: must be a list such as [{{"after": "15m", "to": ["oncall"]}}].')
    steps = []
    for number, each in enumerate(given, 1):
        own = f"{where}, step {number}"
        if not isinstance(each, Mapping) or {*each} != {"after", "to"}:
            raise ConfigurationError(f'{own}: must be such as {{"after": "15m", "to": ["oncall"]}}.')
        steps.append(Step(duration(each["after"], f"{own}: after"), _channels(each["to"], channels, f"{own}: to")))
    return tuple(steps)
