"""What is wrong with how schedules do: `failed`, `paused`, `slower`, `empty`."""

from __future__ import annotations

from typing import Any

from steadybeat.ledger.rows import Finding
from steadybeat.watchdog.looking import Look, NotJudged, line_of
from steadybeat.watchdog.remembering import Memory
from steadybeat.wording import length


def failed(look: Look, memory: Memory) -> list[Finding]:
    """The last runs of a schedule are dead, as many as its owner wants to be told of."""
    return [
        look.about_task(
            "failed",
            row.schedule,
            f"The last {'run is' if row.consecutive_failures == 1 else f'{row.consecutive_failures} runs are'} dead.",
            task=row.task,
            service=row.service,
            schedule=row.schedule,
            run=row.run,
            since=row.failed_at,
            error=line_of(row.error),
            last_good_run=row.last_good_run,
            facts={
                "failure_count": row.consecutive_failures,
                "failures_before_alert": row.failures_before_alert or 1,
                "last_good_at": row.last_good_at and row.last_good_at.isoformat(),
            },
        )
        for row in look.troubled
        if _has_failed(row)
    ]


def _has_failed(row: Any) -> bool:
    return bool(row.consecutive_failures >= (row.failures_before_alert or 1))


def paused(look: Look, memory: Memory) -> list[Finding]:
    """A schedule is paused: nothing of it runs. Where it paused itself, that is a consequence of its failures."""
    return [
        look.about_task(
            "paused",
            row.schedule,
            f"Paused by {row.paused_by}: {row.paused_reason}",
            task=row.task,
            service=row.service,
            schedule=row.schedule,
            since=row.paused_at,
            last_good_run=row.last_good_run,
            facts={"paused_by": row.paused_by, "reason": row.paused_reason},
            cause=("failed", row.schedule) if row.paused_by == "steadybeat" and _has_failed(row) else None,
        )
        for row in look.troubled
        if row.paused_at is not None
    ]


def slower(look: Look, memory: Memory) -> list[Finding]:
    """The last run that succeeded took far longer than those before it."""
    found = []
    for row, usual in _current(look, memory, memory.slow):
        took = row.finished_at - row.started_at
        found.append(
            look.about_task(
                "slower",
                row.schedule,
                f"The last run took {length(took)}; 95 % of the {usual.count} before it took no more than"
                f" {usual.p95_seconds:.3g} s.",
                task=row.task,
                service=row.service,
                schedule=row.schedule,
                run=row.run,
                since=row.finished_at,
                facts={
                    "duration_seconds": took.total_seconds(),
                    "p95_seconds": usual.p95_seconds,
                    "median_seconds": usual.median_seconds,
                    "run_count": usual.count,
                    "slower_factor": look.settings.slower_factor,
                },
            )
        )
    return found


def empty(look: Look, memory: Memory) -> list[Finding]:
    """The last run that succeeded has not done what its schedule expects."""
    return [
        look.about_task(
            "empty",
            row.schedule,
            f"The last run succeeded with {wrong}.",
            task=row.task,
            service=row.service,
            schedule=row.schedule,
            run=row.run,
            since=row.finished_at,
            facts={"items_count": row.items_count, "expect": row.expect},
        )
        for row, wrong in _current(look, memory, memory.empty)
    ]


def _current(look: Look, memory: Memory, kept: dict[str, tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Return what is kept of schedules that still are, and say of their runs what they said then."""
    if not memory.is_current:
        raise NotJudged
    defined = look.ledger.watched_schedules.defined(sorted(kept)) if kept else {}
    return [each for name, each in kept.items() if name in defined and defined[name].expect == each[0].expect]
