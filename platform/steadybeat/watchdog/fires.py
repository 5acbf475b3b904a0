"""What is missing of what schedules expect: `missed`, `late`, `never_started`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from steadybeat.ledger.rows import Finding
from steadybeat.watchdog.looking import Look, NotJudged
from steadybeat.watchdog.remembering import Memory, lateness, longest_wait
from steadybeat.wording import length

_WITHIN = timedelta(days=1)
"""A fire that was missed for good, or late, is forgotten after this."""


def missed(look: Look, memory: Memory) -> list[Finding]:
    """A fire is past its time and its grace, and nobody has dispatched it; or it was decided to be missed."""
    look.wait_for_answers()
    if not look.has_answered(look.settings.leaderless_seconds) or (look.has_new_leader and not look.is_leaderless):
        raise NotJudged
    grace = timedelta(seconds=look.settings.missed_seconds)
    return [
        look.about_task(
            "missed",
            row.schedule,
            _missed(row),
            task=row.task,
            service=row.service,
            schedule=row.schedule,
            since=row.since,
            error=row.reason,
            facts={
                "fire_count": row.fire_count,
                "first_for": row.first_for.isoformat(),
                "last_for": row.last_for.isoformat(),
                "missed_seconds": look.settings.missed_seconds,
            },
            cause=look.without_leader,
        )
        for row in look.ledger.watched_fires.missed(grace, _WITHIN)
    ]


def _missed(row: Any) -> str:
    first, reason = f"{row.first_for:%Y-%m-%d %H:%M:%S}Z", f": {row.reason}" if row.reason else ""
    if row.fire_count == 1:
        return f"The fire of {first} was not dispatched{reason}."
    return f"{row.fire_count} fires since {first} were not dispatched{reason}."


def late(look: Look, memory: Memory) -> list[Finding]:
    """A run began later after its fire was due than its schedule allows, or waits for longer than that."""
    look.wait_for_answers()
    if not memory.is_current:
        raise NotJudged
    settings = look.settings
    newest: dict[str, tuple[Any, timedelta | None]] = {
        name: (row, lateness(row, row.finished_at, settings))
        for name, row in memory.late.items()
        if row.finished_at > look.now - _WITHIN
    }
    for row in look.open_runs:
        known = newest.get(row.schedule)
        if known is None or known[0].scheduled_for <= row.scheduled_for:
            newest[row.schedule] = row, None if memory.is_explained(row) else lateness(row, look.now, settings)
    found = {name: _late(look, row, by) for name, (row, by) in newest.items() if by is not None}
    for row in look.ledger.watched_fires.waiting():
        allowed = settings.late_seconds if row.late_after_seconds is None else row.late_after_seconds
        if look.now - row.due_at > timedelta(seconds=allowed):
            found[row.schedule] = _late(look, row, look.now - row.due_at)
    defined = look.ledger.watched_schedules.defined(sorted(found)) if found else {}
    return [each for name, each in found.items() if name in defined]


def _late(look: Look, row: Any, by: timedelta) -> Finding:
    began = getattr(row, "began_at", None)
    said = "began" if began else "has not begun"
    return look.about_task(
        "late",
        row.schedule,
        f"The fire of {row.scheduled_for:%Y-%m-%d %H:%M:%S}Z {said} {length(by)} after it was due.",
        task=row.task,
        service=row.service,
        schedule=row.schedule,
        run=getattr(row, "run", None),
        since=row.due_at,
        facts={
            "scheduled_for": row.scheduled_for.isoformat(),
            "late_by_seconds": by.total_seconds(),
            "late_seconds": look.settings.late_seconds if row.late_after_seconds is None else row.late_after_seconds,
        },
    )


def never_started(look: Look, memory: Memory) -> list[Finding]:
    """A fire was dispatched, and no attempt of its run has begun in time."""
    look.wait_for_answers()
    if not memory.has_looked(look):
        raise NotJudged
    settings, waiting = look.settings, dict[str, list[Any]]()
    for row in look.open_runs:
        if row.began_at is not None or look.now - row.dispatched_at <= longest_wait(row, settings):
            continue
        had_time = look.could(row.queue, settings.stalled_seconds) and not memory.is_recovering(row.queue, look.now)
        if had_time or look.trouble_of(row.queue):
            waiting.setdefault(row.schedule, []).append(row)
    return [_never_started(look, rows) for rows in waiting.values()]


def _never_started(look: Look, rows: list[Any]) -> Finding:
    row = min(rows, key=lambda each: each.dispatched_at)
    waits = look.now - row.dispatched_at
    return look.about_task(
        "never_started",
        row.schedule,
        f"The run of {row.scheduled_for:%Y-%m-%d %H:%M:%S}Z was sent {length(waits)} ago, and no attempt has begun.",
        task=row.task,
        service=row.service,
        schedule=row.schedule,
        run=row.run,
        since=row.dispatched_at,
        facts={
            "run_count": len(rows),
            "queue": row.queue,
            "waits_seconds": waits.total_seconds(),
            "never_started_seconds": longest_wait(row, look.settings).total_seconds(),
        },
        cause=look.trouble_of(row.queue),
    )
