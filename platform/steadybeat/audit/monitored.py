"""Monitored: which monitor elsewhere is told of a schedule, and what that can make of it."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from steadybeat.audit import record
from steadybeat.audit.answer import Answer, failed, not_applicable, partly, passed
from steadybeat.audit.guard import gap
from steadybeat.audit.subject import Subject
from steadybeat.audit.surroundings import Surroundings
from steadybeat.audit.timed import Timed, timed
from steadybeat.ledger.monitors import PLATFORM
from steadybeat.monitor import Monitor
from steadybeat.telemetry.heartbeats.cadence import cadence
from steadybeat.telemetry.heartbeats.plain import hears_all

NAME_ONE = "set STEADYBEAT_HEARTBEAT_URL, or heartbeat= of the schedule, to a monitor elsewhere; docs/heartbeats.md"

_KNOWABLE = "give it a rule that the monitor can be told: docs/heartbeats.md has a table"


def monitor_of(schedule: Timed, around: Surroundings) -> tuple[Monitor | None, str]:
    """Return who is told of a schedule, and where that is said.

    Args:
        schedule: One of the task's schedules.
        around: What the audit knows.
    """
    own, default = schedule.policies.heartbeat, around.settings.heartbeat_url
    where = f"heartbeat= of {schedule.name}" if own else "steadybeat_heartbeat_url"
    text = own or default
    monitor = Monitor.read(text, where) if text else None
    return (None if monitor is None or monitor.is_off else monitor), where


def signal(subject: Subject, around: Surroundings, event: str) -> Answer:
    """Say whether a monitor elsewhere is told of an event of the runs of a task's schedules.

    Args:
        subject: The task.
        around: What the audit knows.
        event: ``start``, ``success`` or ``fail``.
    """
    if not subject.schedules:
        return not_applicable("it has no schedule: no monitor waits for it; its runs are on record")
    why = gap(subject.task)
    if why:
        return failed(f"{why}: nothing tells a monitor of them", "let its runs be recorded")
    return worst([_signal(schedule, around, event) for schedule in timed(subject)])


def _signal(schedule: Timed, around: Surroundings, event: str) -> Answer:
    monitor, where = monitor_of(schedule, around)
    if monitor is None:
        return failed(f"{schedule.name}: {where} names no monitor", NAME_ONE)
    said = f"{schedule.name}: {event} → {monitor.shown} ({where})"
    if monitor.kind == "plain" and not hears_all(monitor.url) and event != "success":
        return failed(f"{said}: its URL has no {{event}}, so it is told of successes only", "put {event} into its URL")
    if monitor.kind == "sentry" and not around.settings.sentry_dsn:
        return failed(f"{said}: steadybeat_sentry_dsn is empty, so that nothing is sent", "set STEADYBEAT_SENTRY_DSN")
    return _standing(said, schedule.name, around)


def _standing(said: str, name: str, around: Surroundings) -> Answer:
    """Return a good answer unless it is on record that the monitor takes nothing."""
    row = record.monitors(around).get(name)
    if row is not None and row.failing_since is not None:
        return failed(
            f"{said}: takes nothing since {row.failing_since:%Y-%m-%d %H:%MZ}: {row.error}", "heartbeats test"
        )
    if row is not None and row.sent_at is not None:
        said = f"{said}; it took one at {row.sent_at:%Y-%m-%d %H:%MZ}"
    return passed(said)


def grace(schedule: Timed, around: Surroundings) -> Answer:
    """Say whether a monitor knows how late a fire of a schedule may be.

    Args:
        schedule: The schedule.
        around: What the audit knows.
    """
    monitor, where = monitor_of(schedule, around)
    if monitor is None:
        return failed(f"{schedule.name}: {where} names no monitor, which could have one", NAME_ONE)
    settings, jitter = around.settings, schedule.policies.jitter.total_seconds()
    own = f"steadybeat_heartbeat_grace_seconds={settings.heartbeat_grace_seconds:g} s and jitter={jitter:g} s"
    late = schedule.policies.late_after
    here = f"late_after={late.total_seconds():g} s" if late else f"steadybeat_late_seconds={settings.late_seconds:g} s"
    if monitor.kind == "plain":
        return partly(
            f"{schedule.name}: {here} here; that of {monitor.shown} is known to itself only",
            "use a monitor that is told it: healthchecks+, cronitor+ or sentry:",
        )
    known = cadence(schedule.spec)
    known = known if monitor.kind == "cronitor" else known.without_combinations()
    if known.why_not:
        return partly(
            f"{schedule.name}: {monitor.shown} cannot know when it is due: {known.why_not}; {here} here", _KNOWABLE
        )
    return passed(f"{schedule.name}: {own}, told to {monitor.shown}; {here} here")


def external(subject: Subject, around: Surroundings) -> Answer:
    """Say whether the monitor stands outside of Redis, Postgres and the workers.

    Args:
        subject: The task.
        around: What the audit knows.
    """
    settings = around.settings
    told: list[tuple[str, Monitor | None, str]] = [(each.name, *monitor_of(each, around)) for each in timed(subject)]
    if not told:
        url = settings.platform_heartbeat_url
        told = [(PLATFORM, Monitor.read(url) if url else None, "steadybeat_platform_heartbeat_url")]
    return worst([_external(name, monitor, where, around) for name, monitor, where in told])


def _external(name: str, monitor: Monitor | None, where: str, around: Surroundings) -> Answer:
    if monitor is None:
        remedy = NAME_ONE if name != PLATFORM else "set STEADYBEAT_PLATFORM_HEARTBEAT_URL to a monitor elsewhere"
        return failed(f"{name}: {where} names no monitor", remedy)
    host = monitor.host or urlsplit(around.settings.sentry_dsn).hostname or ""
    said = f"{name}: {monitor.shown} at {host or 'nowhere'} ({where})"
    near = _near(host, around)
    if near:
        return failed(f"{said}, which is {near}", "let it stand where nothing of this platform does")
    return _standing(said, name, around)


def _near(host: str, around: Surroundings) -> str:
    """Return why a host is not elsewhere, or an empty text."""
    if not host:
        return "no host"
    if host in ("localhost", socket.gethostname()) or host.endswith(".localhost"):
        return "this machine"
    try:
        if ipaddress.ip_address(host).is_loopback:
            return "this machine"
    except ValueError:
        pass
    for what, url in (("Postgres", around.settings.database_url), ("Redis", str(around.conf.broker_url))):
        if urlsplit(url.split(";")[0]).hostname == host:
            return f"the host of {what}"
    return ""


_ORDER = ("FAIL", "UNKNOWN", "PARTIAL", "PASS", "N/A")


def worst(answers: list[Answer]) -> Answer:
    """Return the worst of several answers, with the evidence of all.

    Args:
        answers: At least one.
    """
    found = min(answers, key=lambda each: _ORDER.index(each.verdict))
    evidence = "; ".join(dict.fromkeys(each.evidence for each in answers))
    return Answer(found.verdict, evidence, found.remedy)
