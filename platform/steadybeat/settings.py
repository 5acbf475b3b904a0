"""Every `steadybeat_*` setting: its type, unit, default, and one sentence.

A setting stands in the Celery configuration under its name here with the prefix ``steadybeat_``, or in the
environment under the same name in capitals (``STEADYBEAT_DATABASE_URL``), which wins. This is the only place
that reads either.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

from steadybeat.address import Address
from steadybeat.errors import ConfigurationError, UnknownSetting, did_you_mean

PREFIX = "steadybeat_"


def _setting(default: Any, text: str, *, low: float | None = None, high: float | None = None) -> Any:
    return field(default=default, metadata={"text": text, "low": low, "high": high})


def _document(kind: type[dict[str, Any]] | type[list[Any]], text: str, example: str) -> Any:
    """Return a setting that is a document: JSON in the environment. It may hold secrets, and is shown nowhere."""
    made: Any = dict if kind is dict else tuple
    metadata = {"text": text, "low": None, "high": None, "document": kind, "example": example}
    return field(default_factory=made, repr=False, hash=False, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What steadybeat is told, complete and checked.

    Durations are seconds and end in ``_seconds``; counts end in ``_count``, and what is multiplied by in ``_factor``.
    """

    database_url: str = _setting("postgresql://localhost/steadybeat", "Postgres of the ledger, as a URL.")
    redis_url: str = _setting(
        "redis://localhost:6379/0",
        "Redis of the broker, of RedBeat and of the locks, as a URL: of one server, or of its sentinels.",
    )
    lock_urls: tuple[str, ...] = _setting(
        (),
        "Redis servers that keep the locks of tasks together, as URLs: three, five or seven that do not depend on each"
        " other. A lock is held where most of them gave it. Empty: the Redis of the schedules keeps them.",
    )
    lock_timeout_seconds: float = _setting(
        0.5, "How long one Redis that keeps the locks of tasks may take to answer.", low=0.01
    )
    services: tuple[str, ...] = _setting((), "Services whose tasks are called by name only from this program.")

    lease_seconds: float = _setting(15.0, "How long an instance counts as alive after its last sign of life.", low=1.0)
    keeper_seconds: float = _setting(2.0, "How often an instance gives a sign of life.", low=0.1)
    ledger_timeout_seconds: float = _setting(
        5.0, "How long one statement of the ledger may take before it counts as unanswered.", low=0.1
    )
    ledger_pool_count: int = _setting(5, "Connections to Postgres that one process may hold.", low=1)

    leader_lock_seconds: float = _setting(
        3.0, "How long the Beat that leads keeps the lock without renewing it.", low=0.5
    )
    leader_poll_seconds: float = _setting(0.5, "How often a Beat renews the lock, or asks for it.", low=0.05)
    horizon_seconds: float = _setting(60.0, "How far ahead fires are written into the ledger.", low=1.0)
    clock_skew_seconds: float = _setting(1.0, "How far a Beat's clock may be off Postgres' for it to lead.", low=0.0)

    grace_seconds: float = _setting(
        30.0, "How long a sent message may wait before an empty queue means that it was lost.", low=0.5
    )
    rescue_backoff_max_seconds: float = _setting(3600.0, "Longest pause between two rescues of one run.", low=1.0)
    rescue_count: int = _setting(100, "Runs rescued in one pass at the most.", low=1)
    crash_count: int = _setting(3, "Deaths of a worker under one run that make it a dead letter.", low=1)

    fan_out_count: int = _setting(
        50, "Runs of one fan-out that are sent or at work at a time, where it says nothing else.", low=1
    )

    watch_seconds: float = _setting(5.0, "How often the watchdog looks for what is wrong.", low=0.1)
    missed_seconds: float = _setting(
        30.0, "How long past its time a fire that nobody has dispatched is missed; a failover takes less.", low=1.0
    )
    late_seconds: float = _setting(
        120.0, "How long past its time a fire may begin that has no late_after of its own.", low=1.0
    )
    never_started_seconds: float = _setting(
        600.0, "How long the run of a dispatched fire may wait for its first attempt.", low=1.0
    )
    stalled_seconds: float = _setting(
        60.0, "How long the outbox, or a queue on which runs wait, may stand still; a restart takes less.", low=1.0
    )
    stuck_seconds: float = _setting(300.0, "How long a run that shows how far it is may show no progress.", low=1.0)
    leaderless_seconds: float = _setting(
        10.0, "How long no Beat may be heard of that leads: five signs of life, and two failovers.", low=1.0
    )
    canary_seconds: float = _setting(
        60.0,
        "How often a queue is asked whether its workers consume, and how long its answer may take; 0: never.",
        low=0.0,
    )
    slower_factor: float = _setting(
        5.0, "How many times as long as 95 % of the runs before it a run takes that is slower.", low=1.1
    )
    slower_seconds: float = _setting(10.0, "No run that takes less than this is slower, or too long.", low=0.0)

    soft_time_limit_seconds: float = _setting(
        540.0, "Soft time limit of a task that names none: the task may clean up.", low=0.1
    )
    time_limit_seconds: float = _setting(
        600.0, "Hard time limit of a task that names none: its process is killed.", low=0.1
    )
    lease_margin_seconds: float = _setting(5.0, "How long past its hard time limit a run counts as worked on.", low=0.0)
    retry_backoff_seconds: float = _setting(
        1.0, "Pause before the first retry of a task that names none; it doubles with each.", low=0.0
    )
    retry_backoff_max_seconds: float = _setting(600.0, "Longest pause between two attempts of a run.", low=0.0)

    alert_channels: Mapping[str, str] = _document(
        dict,
        "Ways to people: of each its name and its URL as Apprise has it. Empty: alerts are kept, and nobody is told.",
        '{"ops": "slack://…"}',
    )
    alert_routes: tuple[Mapping[str, Any], ...] = _document(
        list,
        "Who is told of what: the first route that fits says so. Empty: everybody is told of everything.",
        '[{"owner": "payments", "to": ["ops"]}]',
    )
    alert_timeout_seconds: float = _setting(
        10.0, "How long the server of a channel may take to be reached, and to answer.", low=0.1
    )
    alert_flap_seconds: float = _setting(
        900.0, "An alert that comes back this soon after it was resolved is the same one, opened again.", low=0.0
    )
    alert_storm_count: int = _setting(
        10, "Alerts of one rule and one route in one minute that are told one by one; more are one message.", low=1
    )
    celery_app: str = _setting(
        "", "What stands behind `celery -A` in the commands that messages name; the app's own name if empty."
    )
    flower_url: str = _setting("", "Where Flower is, for the links of messages.")
    logs_url: str = _setting(
        "",
        "Where the lines of a run are, for the links of messages, with {run_id}, {task}, {schedule} and {service} where"
        " they belong.",
    )
    runbooks_url: str = _setting("", "The folder of the runbooks, for the links of messages; <rule>.md is in it.")

    retention_seconds: float = _setting(
        30 * 86400.0, "How long ended runs, fires and processed keys are kept.", low=3600.0
    )
    sentry_dsn: str = _setting("", "Where crash reports go; none are sent while it is empty.")
    health_folder: str = _setting(
        "",
        "Where processes show their health on their own machine; a folder below the system's temporary one if empty.",
    )
    health_seconds: float = _setting(12.0, "How long a process may do nothing before its health check fails.", low=3.0)
    crash_at: tuple[str, ...] = _setting(
        (), "Points at which a process kills itself, for tests only: point, point:task or point:task:times."
    )
    crash_folder: str = _setting("", "Where crashes are counted; an existing folder without which none is armed.")
    dev_prepare: tuple[str, ...] = _setting((), "Sub-commands that the local stack runs before it starts workers.")
    dev_run: tuple[str, ...] = _setting(
        (), "Sub-commands that the local stack keeps running: command:VARIABLE=value, with {port} for a free port."
    )
    dev_together: tuple[str, ...] = _setting(
        (), "Services that share one worker in the local stack: name:service+service."
    )

    def __post_init__(self) -> None:
        for spec in fields(self):
            _check_range(spec.name, getattr(self, spec.name), spec.metadata["low"], spec.metadata["high"])
        _check_postgres(self.database_url)
        _check_locks(self.lock_urls)
        _check_order("keeper_seconds", self.keeper_seconds, "lease_seconds", self.lease_seconds)
        _check_order("keeper_seconds", self.keeper_seconds, "leaderless_seconds", self.leaderless_seconds)
        _check_order("lock_timeout_seconds", self.lock_timeout_seconds, "lease_seconds", self.lease_seconds)
        _check_order("leader_poll_seconds", self.leader_poll_seconds, "leader_lock_seconds", self.leader_lock_seconds)
        _check_order(
            "soft_time_limit_seconds",
            self.soft_time_limit_seconds,
            "time_limit_seconds",
            self.time_limit_seconds,
        )

    @classmethod
    def read(cls, conf: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Settings:
        """Return the settings that a Celery configuration and the environment hold.

        Args:
            conf: Celery's configuration, other keys included.
            environ: The process environment unless given.

        Raises:
            UnknownSetting: A key starts with ``steadybeat_`` and is none of these.
            ConfigurationError: A value has the wrong type or is out of range.
        """
        environ = os.environ if environ is None else environ
        known = {spec.name: spec for spec in fields(cls)}
        values: dict[str, Any] = {}
        for key in conf:
            if not key.startswith(PREFIX):
                continue
            name = key.removeprefix(PREFIX)
            if name not in known:
                nearest = did_you_mean(key, (PREFIX + each for each in known))
                raise UnknownSetting(f"{key}: there is no such setting.{nearest}", name=key)
            values[name] = _convert(key, conf[key], known[name])
        for name, spec in known.items():
            variable = (PREFIX + name).upper()
            if environ.get(variable):
                values[name] = _convert(variable, environ[variable], spec)
        return cls(**values)


def _convert(key: str, value: Any, spec: Field[Any]) -> Any:
    """Return `value` in the type of the setting; texts come from the environment."""
    if "document" in spec.metadata:
        return _convert_document(key, value, spec)
    default: Any = spec.default
    wanted: Any = type(default)
    if wanted is tuple:
        parts = value.replace(",", " ").split() if isinstance(value, str) else value
        if isinstance(parts, list | tuple) and all(isinstance(part, str) for part in parts):
            return tuple(parts)
    elif isinstance(value, str) or (wanted is not str and not isinstance(value, bool)):
        try:
            converted = wanted(value)
        except (TypeError, ValueError):
            pass
        else:
            if wanted is not int or float(value) == converted:
                return converted
    kind = {tuple: "a list of names", int: "a whole number", float: "a number of seconds", str: "a text"}[wanted]
    kind = "a number" if key.lower().endswith("_factor") else kind
    raise ConfigurationError(f"{key}={value!r}: must be {kind}, such as {default!r}.", name=key, value=value)


def _convert_document(key: str, value: Any, spec: Field[Any]) -> Any:
    """Return a document; texts are JSON. What is wrong stays unsaid, since it may hold secrets."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if spec.metadata["document"] is dict:
        if isinstance(value, Mapping) and all(isinstance(text, str) for pair in value.items() for text in pair):
            return dict(value)
        kind = "names with their URLs"
    else:
        if isinstance(value, list | tuple) and all(isinstance(each, Mapping) for each in value):
            return tuple(dict(each) for each in value)
        kind = "a list of routes"
    example = spec.metadata["example"]
    raise ConfigurationError(f"{key}: must be {kind}, as JSON in the environment, such as {example}.", name=key)


def _check_postgres(url: str) -> None:
    """Refuse what is no URL of Postgres; the value stays unsaid, since it may hold a password."""
    if not re.match(r"postgres(ql)?(\+psycopg)?://", url):
        raise ConfigurationError(
            f"{PREFIX}database_url: must be a URL such as postgresql://user:password@host:5432/name.",
            name="database_url",
        )


def _check_locks(urls: tuple[str, ...]) -> None:
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


def _check_range(name: str, value: Any, low: float | None, high: float | None) -> None:
    if low is not None and value < low:
        raise ConfigurationError(f"{PREFIX}{name}={value!r}: must be at least {low:g}.", name=name, value=value)
    if high is not None and value > high:
        raise ConfigurationError(f"{PREFIX}{name}={value!r}: must be at most {high:g}.", name=name, value=value)


def _check_order(name: str, value: float, other: str, limit: float) -> None:
    if value >= limit:
        raise ConfigurationError(
            f"{PREFIX}{name}={value:g}: must be less than {PREFIX}{other}={limit:g}.", name=name, value=value
        )
