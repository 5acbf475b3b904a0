"""What is wrong with workers and their queues: `worker_silent`, `no_consumer`, `not_consuming`, `queue_stalled`."""

from __future__ import annotations

from typing import Any

from steadybeat.ledger.rows import Finding
from steadybeat.watchdog.looking import Look, NotJudged, called
from steadybeat.watchdog.remembering import Memory
from steadybeat.wording import count, length


def worker_silent(look: Look, memory: Memory) -> list[Finding]:
    """A worker gives no sign of life and has not signed off, and no worker that came later consumes its queues."""
    return [_silent(look, row) for row in look.silent]


def _silent(look: Look, row: Any) -> Finding:
    lost = [run.run for run in look.running if run.instance == row.id]
    queues = ", ".join(row.queues)
    alone = sorted(queue for queue in row.queues if not look.consumers(queue))
    said = f" Nobody else consumes {', '.join(alone)}." if alone else ""
    return look.about_services(
        "worker_silent",
        called(row),
        f"The worker of {queues} gives no sign of life since {row.expires_at:%H:%M:%S}Z, and has not signed off.{said}",
        services=row.queues,
        since=row.expires_at,
        run=lost[0] if lost else None,
        facts={
            "instance": row.id,
            "host": row.host,
            "pid": row.pid,
            "queues": list(row.queues),
            "without_consumer": alone,
            "run_count": len(lost),
        },
    )


def no_consumer(look: Look, memory: Memory) -> list[Finding]:
    """No worker that lives has consumed for so long from a queue on which a run waits: a restart takes less."""
    look.wait_for_answers()
    if not look.knows_consumers or not memory.has_looked(look):
        raise NotJudged
    return [
        _about_queue(
            look,
            "no_consumer",
            row,
            f"{count(row.run_count, 'run')} on a queue from which no worker consumes, the first for"
            f" {length(look.now - row.since)}.",
            cause=look.silent_worker_of(queue),
        )
        for queue, row in look.deserted.items()
    ]


def queue_stalled(look: Look, memory: Memory) -> list[Finding]:
    """Runs wait on a queue, and none of it begins or goes on although a worker lives. A backlog that moves does not."""
    look.wait_for_answers()
    return [
        _about_queue(
            look,
            "queue_stalled",
            row,
            f"{count(row.run_count, 'run')} on a queue of which none begins, the first for"
            f" {length(look.now - row.since)}.",
            cause=look.without_redis or (("not_consuming", queue) if queue in look.unanswered else None),
        )
        for queue, row in look.stalled.items()
    ]


def not_consuming(look: Look, memory: Memory) -> list[Finding]:
    """A worker lives, and takes no message: it answers no canary, and nothing of its queue goes on or begins."""
    look.wait_for_answers()
    found = []
    for queue, row in look.unanswered.items():
        names = sorted(called(worker) for worker in look.consumers(queue))
        finding = look.about_services(
            "not_consuming",
            queue,
            f"{', '.join(names)} {'lives' if len(names) == 1 else 'live'}, and takes no message for"
            f" {length(look.now - row.since)}.",
            services=[queue],
            since=row.since,
            facts={
                "workers": names,
                "canary_no": row.number,
                "answered_at": row.answered_at and row.answered_at.isoformat(),
                "canary_seconds": look.settings.canary_seconds,
            },
            cause=look.without_redis,
        )
        found.append(finding)
    return found


def _about_queue(look: Look, rule: str, row: Any, summary: str, cause: tuple[str, str] | None) -> Finding:
    return look.about_services(
        rule,
        row.queue,
        summary,
        services=[row.queue],
        run=row.run,
        since=row.since,
        facts={
            "run_count": row.run_count,
            "waits_seconds": (look.now - row.since).total_seconds(),
            "stalled_seconds": look.settings.stalled_seconds,
        },
        cause=cause,
    )
