"""Plain: the same checklist for a Celery application that does not use steadybeat.

Nothing is installed on it, nothing is sent, no server is asked: what is answered was read from its configuration, its
tasks, its code and the files that start its processes.

loading    the application, by its name
program    what it is: configuration, jobs, own modules, receivers of signals
files      its modules, also those that no worker imports, and the files that start its processes
checking   which function answers which line
defined  locked  watched  repeated  failing  running  scaled  shared   those functions, one file for each section
asking     what several of them want to know of a job
telling    whom the application tells of its runs
"""

from __future__ import annotations

from collections.abc import Iterator

from steadybeat.audit.auditing import Audit, ask_all, refuse_unknown
from steadybeat.audit.finding import Finding, Verdict
from steadybeat.audit.plain.checking import checks
from steadybeat.audit.plain.loading import load
from steadybeat.audit.plain.program import Job, Program
from steadybeat.errors import ConfigurationError, did_you_mean

__all__ = ["Job", "Program", "audit_plain", "load"]


def audit_plain(name: str, *, service: str | None = None, task: str | None = None) -> Audit:
    """Ask every line of the checklist of every task of a Celery application that has no steadybeat.

    Args:
        name: The application, as `celery -A` takes it.
        service: Only tasks of this module.
        task: Only this task.

    Raises:
        ConfigurationError: It cannot be imported, has no such task, or has steadybeat.
    """
    program = Program(load(name), name)
    jobs = program.jobs
    if not jobs:
        raise ConfigurationError(
            f"--plain-celery={name}: has no tasks of its own. Name their modules in include=, imports= or"
            " autodiscover_tasks(), as its workers need it too."
        )
    refuse_unknown("service", service, {each.service for each in jobs})
    refuse_unknown("task", task, {each.name for each in jobs})
    chosen = [each for each in jobs if service in {None, each.service} and task in {None, each.name}]
    found = ask_all(checks(), sorted(chosen, key=lambda each: (each.service, each.name)), program)
    astray = [] if service or task else list(_astray(program))
    return Audit([*found.findings, *astray], found.broken)


def _astray(program: Program) -> Iterator[Finding]:
    """Yield that an entry of `beat_schedule` names a task that there is not, so that its fires are for nobody."""
    for task, entry in program.entries:
        if task not in program.app.tasks:
            yield Finding(
                line="1.1",
                subject=f"schedule {entry.name}",
                service=None,
                verdict=Verdict.FAIL,
                evidence=f"beat_schedule[{entry.name!r}] sends {task!r}, and there is no task of that name",
                remedy=f"Name one that there is.{did_you_mean(task, program.app.tasks)}",
            )
