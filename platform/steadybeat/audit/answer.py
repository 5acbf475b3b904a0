"""Answer: what one check says of one task."""

from __future__ import annotations

from dataclasses import dataclass

from steadybeat.audit.finding import Verdict


@dataclass(frozen=True, slots=True)
class Answer:
    """What a check says; `Finding` adds of whom.

    Attributes:
        verdict: The answer.
        evidence: What was read, and where.
        remedy: What would mend it, or what to run to know it.
    """

    verdict: Verdict
    evidence: str
    remedy: str = ""


def passed(evidence: str) -> Answer:
    """Return that it is so, and what shows it."""
    return Answer(Verdict.PASS, evidence)


def partly(evidence: str, remedy: str) -> Answer:
    """Return that only some of it is so, and what would mend the rest."""
    return Answer(Verdict.PARTIAL, evidence, remedy)


def failed(evidence: str, remedy: str) -> Answer:
    """Return that it is not so, and what would mend it."""
    return Answer(Verdict.FAIL, evidence, remedy)


def unknown(evidence: str, remedy: str) -> Answer:
    """Return that nothing which was looked at tells, and what to run to know it."""
    return Answer(Verdict.UNKNOWN, evidence, remedy)


def not_applicable(evidence: str) -> Answer:
    """Return that it cannot be asked of this task, and why."""
    return Answer(Verdict.NOT_APPLICABLE, evidence)
