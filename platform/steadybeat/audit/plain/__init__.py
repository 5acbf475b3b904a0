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

from steadybeat.audit.auditing import Audit, ask_all, refuse_unknown
from steadybeat.audit.plain.checking import checks
from steadybeat.audit.plain.loading import load
from steadybeat.audit.plain.program import Job, Program

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
    refuse_unknown("service", service, {each.service for each in jobs})
    refuse_unknown("task", task, {each.name for each in jobs})
    chosen = [each for each in jobs if service in {None, each.service} and task in {None, each.name}]
    return ask_all(checks(), sorted(chosen, key=lambda each: (each.service, each.name)), program)
