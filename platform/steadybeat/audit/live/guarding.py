"""Guarding: a worker does not start to consume a queue while its work could be lost or doubled."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from steadybeat.audit.finding import Verdict
from steadybeat.audit.live.asking import readings
from steadybeat.audit.live.inequality import INEQUALITIES, Judged, judge
from steadybeat.audit.live.readings import Readings
from steadybeat.errors import ConfigurationError, UnsafeStart, did_you_mean


def refuse_unsafe(app: Any, queues: Collection[str]) -> None:
    """Refuse to consume those of some queues that are guarded, where their work could be lost or doubled.

    Only what is violated refuses, and only what a worker that starts does not itself mend: neither what is not known,
    nor that nobody consumes.

    Args:
        app: A Celery app on which steadybeat is installed, with its tasks imported.
        queues: Those that a worker is about to consume.

    Raises:
        ConfigurationError: A guarded queue is not declared.
        UnsafeStart: One of them is not safe: a line for each inequality that is violated.
    """
    seen = readings(app, workers=False, schedules=False)
    guarded, known = seen.settings.guarded_queues, seen.configured.queues
    for name in guarded:
        if name not in known:
            raise ConfigurationError(
                f"steadybeat_guarded_queues={name!r}: there is no such queue.{did_you_mean(name, known)}"
                f" Known are: {', '.join(sorted(known))}.",
                queue=name,
            )
    concerned = sorted({*guarded} & {*queues})
    found = unsafe(seen, concerned) if concerned else []
    if found:
        raise UnsafeStart("\n".join(_line(each, concerned) for each in found), queues=concerned)


def unsafe(seen: Readings, queues: Collection[str]) -> list[Judged]:
    """Return what is violated and could lose or double the work of some queues.

    Args:
        seen: What was read.
        queues: Their names.
    """
    risky = [each for each in INEQUALITIES.values() if each.risk]
    return [
        each
        for each in judge(seen, risky)
        if each.answer.verdict is Verdict.FAIL
        and each.answer.risks
        and (each.answer.queues is None or each.answer.queues & {*queues})
    ]


def _line(judged: Judged, guarded: Collection[str]) -> str:
    answer, one = judged.answer, judged.inequality
    queues = ", ".join(sorted({*guarded} if answer.queues is None else answer.queues & {*guarded}))
    said = f"{one.name} of {answer.subject}: {answer.evidence}. {answer.remedy[:1].upper()}{answer.remedy[1:]}."
    return f"-Q {queues}: is guarded, and work could be {one.risk}: {' '.join(said.split())}"
