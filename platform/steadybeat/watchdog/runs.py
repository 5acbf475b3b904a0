"""What is wrong with runs: `running_too_long`, `stuck`, `lost`, `dead_letter`. One finding for each task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from steadybeat.ledger.rows import Finding
from steadybeat.watchdog.looking import Look, line_of
from steadybeat.watchdog.remembering import Memory
from steadybeat.watchdog.usual import Usual
from steadybeat.wording import count, length

_LOST_FOR = timedelta(hours=1)
_TOLD_FOR = timedelta(minutes=1)
"""A run that was lost and goes on again is told of for so long: most do within seconds."""

_PATIENCE = 2.0
"""A run that is slower is told of when it has ended; one that goes on for so many times as long as that, before."""

_PACE = 5.0
"""An item may take so many times as long as the items before it did."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What an attempt has gone beyond.

    Attributes:
        since: When it did.
        why: In words.
        seconds: How long it might take.
    """

    since: datetime
    why: str
    seconds: float


def running_too_long(look: Look, memory: Memory) -> list[Finding]:
    """An attempt goes on past its time limit, or far past what is usual."""
    look.wait_for_answers()
    usual = _usual(look, memory)
    found = dict[str, list[tuple[Any, Bound]]]()
    for row in look.running:
        bound = too_long(row, look, usual.get(row.schedule or row.task))
        if bound is not None and not _comes_first(stuck_since(row, look), bound.since):
            found.setdefault(row.task, []).append((row, bound))
    memory.note_too_long(row.run for rows in found.values() for row, _ in rows)
    return [_too_long(look, task, rows) for task, rows in found.items()]


def _comes_first(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and (other is None or one <= other)


def _usual(look: Look, memory: Memory) -> dict[str, Usual | None]:
    """Return what is usual for whatever has been running for long, by schedule or by task."""
    least = timedelta(seconds=look.settings.slower_seconds)
    long = [row for row in look.running if look.now - row.started_at > least]
    of_tasks = memory.usual_of_tasks({row.task: row.queue for row in long if row.schedule is None})
    return of_tasks | memory.usual_of_schedules({row.schedule: row.run for row in long if row.schedule is not None})


def too_long(row: Any, look: Look, usual: Usual | None) -> Bound | None:
    """Return the bound that an attempt has gone beyond first, if any.

    Args:
        row: The run.
        look: Of this pass.
        usual: What is usual for it.
    """
    settings, known = look.settings, look.tasks.get(row.task)
    own = known.time_limit_seconds if known is not None else None
    limit = row.time_limit_seconds or own or settings.time_limit_seconds
    bounds = [(limit + settings.lease_margin_seconds, f"its time limit is {limit:g} s")]
    if usual is not None:
        longest = _PATIENCE * usual.longest_seconds(settings.slower_factor, settings.slower_seconds)
        said = f"95 % of the last {usual.count} took no more than {usual.p95_seconds:.3g} s"
        bounds.append((longest, said))
    seconds, why = min(bounds)
    since: datetime = row.started_at + timedelta(seconds=seconds)
    return Bound(since, why, seconds) if since < look.now else None


def _too_long(look: Look, task: str, rows: list[tuple[Any, Bound]]) -> Finding:
    row, bound = min(rows, key=lambda each: each[0].started_at)
    goes_on = look.now - row.started_at
    said = f"An attempt has been going on for {length(goes_on)}; {bound.why}."
    more = f" So have {count(len(rows) - 1, 'other')}." if len(rows) > 1 else ""
    return look.about_task(
        "running_too_long",
        task,
        said + more,
        task=task,
        service=row.service,
        schedule=row.schedule,
        run=row.run,
        since=bound.since,
        facts={
            "run_count": len(rows),
            "running_seconds": goes_on.total_seconds(),
            "longest_seconds": bound.seconds,
            "attempt_count": row.attempt_count,
        },
        cause=look.silence_of([each.instance for each, _ in rows]),
    )


def stuck(look: Look, memory: Memory) -> list[Finding]:
    """A run that shows how far it is has come no further for long."""
    look.wait_for_answers()
    found, usual = dict[str, list[tuple[Any, datetime]]](), _usual(look, memory)
    for row in look.running:
        since = stuck_since(row, look)
        bound = too_long(row, look, usual.get(row.schedule or row.task))
        if since is not None and _comes_first(since, None if bound is None else bound.since):
            found.setdefault(row.task, []).append((row, since))
    return [_stuck(look, task, rows) for task, rows in found.items()]


def stuck_since(row: Any, look: Look) -> datetime | None:
    """Return since when a run counts as stuck: its last item takes far longer than those before it.

    Args:
        row: The run.
        look: Of this pass.
    """
    if not row.items_done or row.progressed_at is None:
        return None
    last = max(row.progressed_at, row.started_at)
    each = (row.progressed_at - row.started_at) / row.items_done
    since: datetime = last + max(timedelta(seconds=look.settings.stuck_seconds), _PACE * each)
    return since if since < look.now else None


def _stuck(look: Look, task: str, rows: list[tuple[Any, datetime]]) -> Finding:
    row, since = min(rows, key=lambda each: each[1])
    stands = look.now - max(row.progressed_at, row.started_at)
    of = f" of {row.items_total}" if row.items_total is not None else ""
    return look.about_task(
        "stuck",
        task,
        f"A run has been at item {row.items_done}{of} for {length(stands)}.",
        task=task,
        service=row.service,
        schedule=row.schedule,
        run=row.run,
        since=since,
        facts={
            "run_count": len(rows),
            "items_done": row.items_done,
            "items_total": row.items_total,
            "stands_seconds": stands.total_seconds(),
            "stuck_seconds": look.settings.stuck_seconds,
        },
        cause=look.silence_of([each.instance for each, _ in rows]),
    )


def lost(look: Look, memory: Memory) -> list[Finding]:
    """The worker or the message of runs was lost, and they were sent again."""
    found = []
    for row in look.ledger.watched_runs.lost(_LOST_FOR, _TOLD_FOR):
        if not row.by_worker_count and any(look.is_busy(queue) for queue in row.queues):
            continue  # a worker that is busy may have taken it ahead: it is sent again, and was not lost
        parts = {"worker": row.by_worker_count, "message": row.by_message_count}
        said = " and ".join(f"the {what} of {count(number, 'run')}" for what, number in parts.items() if number)
        silent = look.silence_of(row.instances or ())
        found.append(
            look.about_task(
                "lost",
                row.task,
                f"{said[0].upper()}{said[1:]} was lost; what was lost is sent again.",
                task=row.task,
                service=row.service,
                run=row.run,
                since=row.since,
                facts=_counted(row),
                cause=silent or _of_any(look, row) or memory.trouble_before(row.queues, look.now),
            )
        )
    return found


def _counted(row: Any) -> Mapping[str, int]:
    return {name: getattr(row, name) for name in ("run_count", "by_worker_count", "by_message_count")}


def _of_any(look: Look, row: Any) -> tuple[str, str] | None:
    """Return the worker that fell silent with messages which it had taken."""
    return next((silent for queue in row.queues if (silent := look.silent_worker_of(queue))), None)


def dead_letter(look: Look, memory: Memory) -> list[Finding]:
    """Runs of no schedule have given up, and wait for a person."""
    return [
        look.about_task(
            "dead_letter",
            row.task,
            f"{count(row.run_count, 'dead letter')} {'waits' if row.run_count == 1 else 'wait'} for a person.",
            task=row.task,
            service=row.service,
            run=row.run,
            since=row.since,
            error=line_of(row.error),
            facts={"run_count": row.run_count},
        )
        for row in look.ledger.watched_runs.dead()
    ]
