"""Telling: whom alerts about a task reach, read from routes, channels and the ledger."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass
from typing import Any

from steadybeat.alerts.routes import Way
from steadybeat.audit import record
from steadybeat.audit.answer import Answer, failed, partly, passed, unknown
from steadybeat.audit.guard import gap
from steadybeat.audit.subject import Subject
from steadybeat.audit.surroundings import Surroundings
from steadybeat.audit.timed import queue_of
from steadybeat.ledger.rows import Finding
from steadybeat.rules import RULES
from steadybeat.task.options import SEVERITIES
from steadybeat.watchdog.looking import PLATFORM, as_bad_as

APPLY = "celery -A … schedules apply"
CHANNELS = "name a way to people in steadybeat_alert_channels, and a route to it; docs/alerts.md"


@dataclass(frozen=True, slots=True)
class Told:
    """How people are told of one rule.

    Attributes:
        rule: Its name.
        severity: How bad it is then.
        way: Who is told.
    """

    rule: str
    severity: str
    way: Way

    def __str__(self) -> str:
        routes = ", ".join(str(number) for number in self.way.routes) or "none"
        channels = ", ".join(self.way.to) or "nobody"
        return f"{self.rule} ({self.severity}) → {channels} (steadybeat_alert_routes, route {routes})"


def told(subject: Subject, around: Surroundings, rule: str) -> Told:
    """Return how people are told of a rule about a task; where its schedules go different ways, the worst of these.

    Args:
        subject: The task.
        around: What the audit knows.
        rule: Its name.
    """
    owner, severity = _whose(subject, around, rule)
    kind = RULES[rule].subject
    service = None if kind == "platform" else subject.service
    findings = [
        Finding(rule=rule, subject=about, summary="", severity=severity, owner=owner, service=service)
        for about in _abouts(subject, around, kind)
    ]
    ways = [around.routes.way(finding) for finding in findings]
    return Told(rule, severity, min(ways, key=lambda way: (bool(way.to), bool(way.escalate))))


def _abouts(subject: Subject, around: Surroundings, kind: str) -> list[str]:
    """Return what alerts about a kind of thing are about, where it is this task's."""
    if kind == "schedule" and subject.schedules:
        return [each.name for each in subject.schedules]
    return [{"platform": PLATFORM, "task": subject.name}.get(kind, queue_of(around.app, subject.name))]


def _whose(subject: Subject, around: Surroundings, rule: str) -> tuple[str | None, str]:
    """Return who owns what a rule is about, and how bad it is then, as the watchdog says it."""
    severity, kind = RULES[rule].severity, RULES[rule].subject
    if kind == "platform":
        return None, severity
    if kind in ("schedule", "task"):
        return subject.task.owner, as_bad_as(severity, subject.task.severity)
    owner, worst = _of_service(around.app, subject.service)
    return owner, worst if severity == "error" else severity


@functools.lru_cache(maxsize=512)
def _of_service(app: Any, service: str) -> tuple[str | None, str]:
    """Return who owns most tasks of a service, and how bad it is when the worst of them does not run."""
    mates = [task for name, task in app.tasks.items() if app.steadybeat.service(name) == service]
    owners = Counter(each.owner for each in mates if getattr(each, "owner", None))
    owner = min(owners, key=lambda each: (-owners[each], each), default=None)
    return owner, max((getattr(each, "severity", "error") for each in mates), key=SEVERITIES.index)


def is_told(subject: Subject, around: Surroundings, *rules: str, also: str = "") -> Answer:
    """Say whether people are told of all of some rules.

    Args:
        subject: A task.
        around: What the audit knows.
        rules: Their names.
        also: What else was read.
    """
    why = gap(subject.task)
    if why:
        return failed(f"{why}, so that no rule of the watchdog sees them", "let its runs be recorded")
    ways = [told(subject, around, rule) for rule in rules]
    said = "; ".join([*map(str, ways), *([also] if also else [])])
    if not all(each.way.to for each in ways):
        channels = ", ".join(around.routes.channels) or "empty"
        return failed(f"{said}; steadybeat_alert_channels: {channels}", CHANNELS)
    return watched(around, said)


def watched(around: Surroundings, said: str) -> Answer:
    """Return a good answer if a watchdog lives, without which nobody looks.

    Args:
        around: What the audit knows.
        said: What is so if one does.
    """
    living = record.living(around, "watchdog")
    if living is None:
        return unknown(f"{said}; whether a watchdog lives: {record.away(around)}", record.REACH)
    if not living:
        return partly(f"{said}; but no watchdog lives, by steadybeat.instances", "keep `celery -A … watchdog` running")
    return passed(f"{said}; a watchdog lives: {', '.join(f'{each.host}:{each.pid}' for each in living)}")
