"""What is wrong with the platform: `no_leader`, `relay_stalled`, `clock_skew`, `schema_skew`, `heartbeat_failing`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from steadybeat.ledger.rows import Finding
from steadybeat.rules import RULES
from steadybeat.watchdog.looking import PLATFORM, Look, NotJudged, called, line_of
from steadybeat.watchdog.remembering import Memory
from steadybeat.wording import length

_DEPLOY = timedelta(minutes=10)
"""So long instances of two releases may live together: a rolling deploy takes no longer."""

_FAILURE_COUNT = 3
"""A heartbeat that is not taken is tried again; so many in a row mean more than a bad moment."""


def no_leader(look: Look, memory: Memory) -> list[Finding]:
    """There are schedules, and no Beat is heard of that leads."""
    if not look.has_answered(look.settings.leaderless_seconds):
        raise NotJudged
    since = look.leaderless_since
    if since is None:
        return []
    last = look.leading
    said = "No Beat has ever led" if last.term is None else f"No Beat leads; {last.host} led last"
    return [
        _platform(
            look,
            "no_leader",
            f"{said}. Nobody leads for {length(look.now - since)}, and no fire is dispatched.",
            since=since,
            facts={
                "term": last.term,
                "host": last.host,
                "leaderless_seconds": (look.now - since).total_seconds(),
                "beats": sorted(called(each) for each in look.instances if each.role == "beat" and each.alive),
            },
        )
    ]


def relay_stalled(look: Look, memory: Memory) -> list[Finding]:
    """Messages in the outbox are past their time, and nobody sends them."""
    look.wait_for_answers()
    since = look.ledger.watched_platform.relay_stands_since(timedelta(seconds=look.settings.stalled_seconds))
    if since is None:
        return []
    overdue = look.now - since
    return [
        _platform(
            look,
            "relay_stalled",
            f"The first message in the outbox is {length(overdue)} past its time.",
            since=since,
            facts={"overdue_seconds": overdue.total_seconds(), "stalled_seconds": look.settings.stalled_seconds},
            cause=look.without_leader if look.redis_error else None,  # both are because of Redis
        )
    ]


def _platform(look: Look, rule: str, summary: str, **facts: Any) -> Finding:
    error = line_of(look.redis_error)
    said = f"{summary} Redis does not answer." if error else summary
    return Finding(rule=rule, subject=PLATFORM, summary=said, severity=RULES[rule].severity, error=error, **facts)


def clock_skew(look: Look, memory: Memory) -> list[Finding]:
    """The clock of an instance is off that of Postgres; a Beat whose clock is does not lead."""
    return [
        Finding(
            rule="clock_skew",
            subject=called(each),
            summary=f"The clock of {each.host} is {abs(each.clock_offset_seconds):.3g} s"
            f" {'ahead of' if each.clock_offset_seconds > 0 else 'behind'} that of Postgres.",
            severity=RULES["clock_skew"].severity,
            facts={
                "clock_offset_seconds": each.clock_offset_seconds,
                "clock_skew_seconds": look.settings.clock_skew_seconds,
                "role": each.role,
                "host": each.host,
            },
        )
        for each in look.instances
        if each.alive and abs(each.clock_offset_seconds or 0.0) > look.settings.clock_skew_seconds
    ]


def schema_skew(look: Look, memory: Memory) -> list[Finding]:
    """Instances of different releases, or that need different schemas, live together for longer than a deploy takes."""
    first = dict[str, Any]()
    for each in look.instances:
        if each.alive:
            needs = f", schema {each.schema_version}" if each.schema_version else ""
            first.setdefault(f"{each.release}{needs}", each.started_at)
    if len(first) < 2:
        return []
    since = max(first.values())
    if look.now - since < _DEPLOY:
        return []
    kinds = sorted(first)
    return [
        Finding(
            rule="schema_skew",
            subject=PLATFORM,
            summary=f"Instances of {len(kinds)} kinds have lived together for {length(look.now - since)}:"
            f" {'; '.join(kinds)}.",
            severity=RULES["schema_skew"].severity,
            since=since,
            facts={"releases": kinds, "together_seconds": (look.now - since).total_seconds()},
        )
    ]


def heartbeat_failing(look: Look, memory: Memory) -> list[Finding]:
    """A monitor elsewhere does not take the heartbeats that it is sent, several in a row."""
    found = []
    for row in look.ledger.watched_platform.failing_monitors():
        if row.failure_count < _FAILURE_COUNT:
            continue
        said = f"{row.failure_count} heartbeats in a row were not taken."
        facts: dict[str, Any] = {"since": row.failing_since, "error": line_of(row.error)}
        facts["facts"] = {"failure_count": row.failure_count, "kind": row.kind}
        if row.task is None:
            severity = RULES["heartbeat_failing"].severity
            found.append(Finding(rule="heartbeat_failing", subject=row.name, summary=said, severity=severity, **facts))
        else:
            found.append(
                look.about_task("heartbeat_failing", row.name, said, task=row.task, schedule=row.name, **facts)
            )
    return found
