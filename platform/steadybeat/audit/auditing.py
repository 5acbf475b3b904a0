"""Auditing: every line asked of every task."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steadybeat.audit.answer import Answer
from steadybeat.audit.checking import checks
from steadybeat.audit.finding import Finding, Verdict
from steadybeat.audit.subject import Subject
from steadybeat.audit.surroundings import Surroundings
from steadybeat.errors import ConfigurationError, did_you_mean
from steadybeat.telemetry.redaction import redact_text


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found.

    Attributes:
        findings: One for each line and task, by task, in the order of the checklist.
        broken: Lines whose check could not answer, because of an error of its own.
    """

    findings: Sequence[Finding]
    broken: Collection[str]


def subjects(app: Any, *, service: str | None = None, task: str | None = None) -> list[Subject]:
    """Return the tasks of an app, but for Celery's own, by service and name.

    Args:
        app: A Celery app on which steadybeat is installed, with its tasks imported.
        service: Only those of this service.
        task: Only the one of this name.

    Raises:
        ConfigurationError: There is no such service, or no such task.
    """
    from steadybeat.beat import definitions
    from steadybeat.beat.definitions import entries

    rows = definitions(app)
    written = {name: dict(each) for name, each in entries(app)}
    found = []
    for name, each in sorted(app.tasks.items()):
        if name.startswith("celery."):
            continue
        own = [row for row in rows if row.task == name]
        found.append(Subject(each, app.steadybeat.service(name), own, {row.name: written[row.name] for row in own}))
    refuse_unknown("service", service, {each.service for each in found})
    refuse_unknown("task", task, {each.name for each in found})
    chosen = [each for each in found if service in {None, each.service} and task in {None, each.name}]
    return sorted(chosen, key=lambda each: (each.service, each.name))


def audit(around: Surroundings, tasks: Sequence[Subject]) -> Audit:
    """Ask every line of every task.

    Args:
        around: What stands around them.
        tasks: As `subjects` returns them.
    """
    return ask_all(checks(), tasks, around)


def ask_all(answering: Mapping[str, Callable[[Any, Any], Answer]], tasks: Iterable[Any], around: Any) -> Audit:
    """Ask lines of tasks.

    Args:
        answering: What answers each line, by its number.
        tasks: Each with its `name` and `service`.
        around: What stands around them.
    """
    findings, broken = list[Finding](), set[str]()
    for task in tasks:
        for line, ask in answering.items():
            finding, is_broken = _asked(line, ask, task, around)
            findings.append(finding)
            broken |= {line} if is_broken else set()
    return Audit(findings, broken)


def _asked(line: str, ask: Callable[[Any, Any], Answer], task: Any, around: Any) -> tuple[Finding, bool]:
    of: Mapping[str, Any] = {"line": line, "subject": task.name, "service": task.service}
    try:
        answer = ask(task, around)
    except Exception as error:  # noqa: BLE001 - a check that fails says so, and the others are asked
        evidence = f"the check failed: {type(error).__name__}: {error}"
        remedy = "Report it; it is an error of the audit, not of the task."
        return Finding(**of, verdict=Verdict.UNKNOWN, evidence=evidence, remedy=remedy), True
    evidence = redact_text(answer.evidence)  # it may quote the code, and code may hold what it should not
    return Finding(**of, verdict=answer.verdict, evidence=evidence, remedy=answer.remedy), False


def refuse_unknown(option: str, value: str | None, known: Collection[str]) -> None:
    """Refuse the value of an option that names nothing there is.

    Raises:
        ConfigurationError: Names the option, its value and the nearest that is known.
    """
    if value is not None and value not in known:
        raise ConfigurationError(
            f"--{option}={value!r}: there is no such {option}.{did_you_mean(value, known)}", name=option, value=value
        )
