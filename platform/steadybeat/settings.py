"""Every `steadybeat_*` setting: its type, unit, default, and one sentence.

A setting stands in the Celery configuration under its name here with the prefix ``steadybeat_``, or in the
environment under the same name in capitals (``STEADYBEAT_DATABASE_URL``), which wins. This is the only place
that reads either.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import time
from typing import Any
from zoneinfo import ZoneInfo

from steadybeat import fitting
from steadybeat.address import listening
from steadybeat.converting import convert
from steadybeat.errors import ConfigurationError, UnknownSetting, did_you_mean

PREFIX = fitting.PREFIX


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

    Durations are seconds and end in ``_seconds``; counts end in ``_count``, factors in ``_factor``, shares in
    ``_share``.
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
    guarded_queues: tuple[str, ...] = _setting((), "Queues no worker consumes while work could be lost or doubled.")
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
    stop_grace_seconds: float = _setting(
        0.0, "How long a worker has to end until it is killed, in Compose or Kubernetes; 0: not known.", low=0.0
    )
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
    page_roles: Mapping[str, str] = _document(
        dict,
        "What people may do on the pages in Flower: names or patterns of its users, each with viewer, operator or"
        " admin; the others may look. Empty: whoever signs in may do everything, as in Flower itself.",
        '{"ann@example.com": "admin", "*@example.com": "operator"}',
    )
    page_metrics: str = _setting(
        "signed-in",
        "Who gets Flower's own metrics at /metrics: signed-in, those whom Flower knows; or open, everybody.",
    )
    logs_url: str = _setting(
        "",
        "Where the lines of a run are, for the links of messages, with {run_id}, {task}, {schedule} and {service} where"
        " they belong.",
    )
    runbooks_url: str = _setting("", "The folder of the runbooks, for the links of messages; <rule>.md is in it.")

    retention_seconds: float = _setting(
        30 * 86400.0, "How long ended runs, fires and processed keys are kept.", low=3600.0
    )
    report_at: str = _setting(
        "",
        "When the daily report of the day before is sent, as 07:00 Europe/Berlin, by whose days it then goes; never if"
        " empty.",
    )
    sentry_dsn: str = _setting("", "Where crash reports go; none are sent while it is empty.")
    heartbeat_url: str = _setting(
        "",
        "The monitor elsewhere that is told of the runs of every schedule that names none, with {schedule} where"
        " its name belongs; none while it is empty. See the guide to heartbeats for its forms.",
    )
    platform_heartbeat_url: str = _setting(
        "",
        "The monitor elsewhere that the watchdog tells each minute that a Beat leads and messages are sent; none while"
        " it is empty.",
    )
    heartbeat_api_url: str = _setting(
        "", "Where `heartbeats sync` makes checks and monitors; that of the monitor's maker while it is empty."
    )
    heartbeat_api_key: str = _setting(
        "",
        "The key that `heartbeats sync` shows there; with one of Healthchecks, missing checks are made by themselves.",
    )
    heartbeat_timeout_seconds: float = _setting(
        5.0, "How long a monitor may take to connect, and to answer.", low=0.1, high=60.0
    )
    heartbeat_grace_seconds: float = _setting(
        300.0,
        "How late a run may begin until a monitor counts it as missed, beside the jitter of its schedule.",
        low=0.0,
    )
    metrics_address: str = _setting(
        "",
        "Where each worker, Beat and watchdog serves metrics to Prometheus, such as 0.0.0.0:9464; port 0 is any that is"
        " free, and is logged. None are counted or served while it is empty.",
    )
    metrics_seconds: float = _setting(
        10.0, "How often a watchdog reads the facts of the ledger that it serves as metrics.", low=1.0
    )
    metrics_schedules_count: int = _setting(
        10_000, "Schedules that have series of their own among the metrics; all others are counted together.", low=0
    )
    otlp_url: str = _setting(
        "",
        "Collector of OpenTelemetry that traces are sent to, as a URL for OTLP over HTTP; none are while it is empty.",
    )
    traces_share: float = _setting(
        0.1,
        "Share of the traces that are kept where no caller has decided; those that begin with a fire always are.",
        low=0.0,
        high=1.0,
    )
    redact: tuple[str, ...] = _setting(
        (),
        "Names of fields whose values are hidden wherever they would be read, beside passwords, tokens and keys: in any"
        " case, and as whole words of a name; iban also hides customer_iban.",
    )
    log_lines_count: int = _setting(
        0, "Lines of each run that are kept in the ledger for runs show; none are while it is 0.", low=0, high=10_000
    )
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
        (),
        "Sub-commands that the local stack keeps running: command:VARIABLE=value;VARIABLE=value, with {port} for a free"
        " port.",
    )
    dev_together: tuple[str, ...] = _setting(
        (), "Services that share one worker in the local stack: name:service+service."
    )

    audit_prepare: tuple[str, ...] = _setting(
        (),
        "Sub-commands that a probe of the audit runs in its scratch place, such as one that makes the app's tables; or"
        " programs: $ alembic upgrade head.",
    )
    audit_environment: tuple[str, ...] = _setting(
        (),
        "Variables that its processes get: NAME=value, with {database_url}, {redis_url} and {folder} of the scratch"
        " place.",
    )
    audit_proofs: str = _setting("audit-proofs.json", "File that keeps what probes of the audit have shown.")
    scratch_folder: str = _setting(
        "", "Folder of the scratch place that this process works in, set by probes of the audit; it then tells nobody."
    )

    def __post_init__(self) -> None:
        for spec in fields(self):
            fitting.check_range(spec.name, getattr(self, spec.name), spec.metadata["low"], spec.metadata["high"])
        fitting.check_postgres(self.database_url)
        fitting.check_locks(self.lock_urls)
        report_time(self.report_at)
        _check_words(f"{PREFIX}page_roles", self.page_roles.values(), ("viewer", "operator", "admin"))
        _check_words(f"{PREFIX}page_metrics", [self.page_metrics], ("signed-in", "open"))
        fitting.check_monitor("heartbeat_url", self.heartbeat_url, is_of_all=True)
        fitting.check_monitor("platform_heartbeat_url", self.platform_heartbeat_url)
        if self.metrics_address:
            listening(self.metrics_address, f"{PREFIX}metrics_address")
        fitting.check_order("keeper_seconds", self.keeper_seconds, "lease_seconds", self.lease_seconds)
        fitting.check_order("keeper_seconds", self.keeper_seconds, "leaderless_seconds", self.leaderless_seconds)
        fitting.check_order("lock_timeout_seconds", self.lock_timeout_seconds, "lease_seconds", self.lease_seconds)
        fitting.check_order(
            "leader_poll_seconds", self.leader_poll_seconds, "leader_lock_seconds", self.leader_lock_seconds
        )
        fitting.check_order(
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
            values[name] = convert(key, conf[key], known[name])
        for name, spec in known.items():
            variable = (PREFIX + name).upper()
            if environ.get(variable):
                values[name] = convert(variable, environ[variable], spec)
        return cls(**(values if not values.get("scratch_folder") else _told_to_nobody(values)))


def _told_to_nobody(values: dict[str, Any]) -> dict[str, Any]:
    """Return settings without those that name somebody elsewhere who would be told of runs, and of crashes."""
    silent = ("alert", "heartbeat", "platform_heartbeat", "sentry", "otlp", "report_at", "metrics_address")
    return {name: value for name, value in values.items() if not name.startswith(silent)}


def report_time(text: str) -> tuple[time, str] | None:
    """Return the time of day and the time zone of ``report_at``, or None where it is empty.

    Raises:
        ConfigurationError: It is no time of day, or there is no such time zone.
    """
    if not text:
        return None
    clock, _, tz = text.strip().partition(" ")
    tz = tz.strip() or "UTC"
    try:
        if not re.fullmatch(r"\d{2}:\d{2}", clock):
            raise ValueError
        at = time.fromisoformat(clock)
        ZoneInfo(tz)
    except (ValueError, KeyError, OSError) as error:
        raise ConfigurationError(
            f"{PREFIX}report_at={text!r}: must be a time of day and a time zone, such as '07:00 Europe/Berlin'.",
            name="report_at",
            value=text,
        ) from error
    return at, tz


def _check_words(name: str, given: Iterable[str], words: tuple[str, ...]) -> None:
    for each in given:
        if each not in words:
            near = did_you_mean(each, words)
            raise ConfigurationError(f"{name}: {each!r}: must be {' or '.join(words)}.{near}", name=name, value=each)
