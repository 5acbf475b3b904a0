"""Inequality: what must hold between values of the running system, and the answer to it.

Each is one function over `Readings`. Its name is the name of what must hold, its docstring says what happens where it
does not. The registry knows them all; docs/audit-live.md lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from steadybeat.audit.finding import Finding, Verdict
from steadybeat.audit.live.readings import NotRead, Readings, Silent

PLATFORM = "platform"

Risk = Literal["", "lost", "doubled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an inequality says of one subject.

    Attributes:
        subject: A task, a queue, a service, an instance, a server, a setting, or the platform.
        verdict: PASS: it holds. FAIL: it is violated.
        evidence: The values, and where they were read.
        remedy: The setting to change, and to what; where it is not known, what to run.
        service: The service that it is of; None: no one's own.
        queues: The queues whose work is concerned; None: every one.
        risks: Whether work could be lost or doubled because of it.
    """

    subject: str
    verdict: Verdict
    evidence: str
    remedy: str = ""
    service: str | None = None
    queues: frozenset[str] | None = None
    risks: bool = False


Question = Callable[[Readings], Iterable[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inequality:
    """What must hold.

    Attributes:
        name: Of the function that asks.
        formula: In words.
        otherwise: What happens where it does not hold, in a sentence or two.
        change: The setting to change.
        risk: What could become of work: ``lost``, ``doubled``, or neither.
        ask: Returns the answers: the violated ones, or one that holds, or none where it cannot be asked.
    """

    name: str
    formula: str
    otherwise: str
    change: str
    risk: Risk
    ask: Question


INEQUALITIES: dict[str, Inequality] = {}
"""Every inequality by its name, in the order in which they are asked."""


def inequality(formula: str, *, change: str, risk: Risk = "") -> Callable[[Question], Question]:
    """Make a function an inequality.

    Args:
        formula: What must hold, in words.
        change: The setting to change where it does not.
        risk: What could become of work where it does not.
    """

    def register(ask: Question) -> Question:
        name = ask.__name__
        otherwise = " ".join((ask.__doc__ or "").split())
        assert name not in INEQUALITIES
        assert otherwise, name
        INEQUALITIES[name] = Inequality(
            name=name, formula=formula, otherwise=otherwise, change=change, risk=risk, ask=ask
        )
        return ask

    return register


def holds(subject: str, evidence: str) -> Answer:
    """Return that it holds."""
    return Answer(subject=subject, verdict=Verdict.PASS, evidence=evidence)


def violated(  # noqa: D417 - the others are those of `Answer`
    subject: str,
    evidence: str,
    remedy: str,
    *,
    risks: bool = False,
    service: str | None = None,
    queues: Iterable[str] | None = None,
) -> Answer:
    """Return that it does not hold.

    Args:
        risks: Whether work could be lost or doubled.
    """
    return Answer(
        subject=subject,
        verdict=Verdict.FAIL,
        evidence=evidence,
        remedy=remedy,
        service=service,
        queues=None if queues is None else frozenset(queues),
        risks=risks,
    )


def unknown(subject: str, evidence: str, remedy: str) -> Answer:
    """Return that it is not known."""
    return Answer(subject=subject, verdict=Verdict.UNKNOWN, evidence=evidence, remedy=remedy)


def cannot_be_asked(subject: str, evidence: str) -> Answer:
    """Return that there is nothing of which it could be asked."""
    return Answer(subject=subject, verdict=Verdict.NOT_APPLICABLE, evidence=evidence)


def silent(part: Silent) -> Answer:
    """Return that it is not known, since a part could not be read."""
    return unknown(part.part, part.why, part.ask)


@dataclass(frozen=True, slots=True)
class Judged:
    """An inequality with one answer to it.

    Attributes:
        inequality: What must hold.
        answer: What was found.
        is_broken: Whether the question itself failed, which is an error of the audit.
    """

    inequality: Inequality
    answer: Answer
    is_broken: bool = False

    @property
    def finding(self) -> Finding:
        """It as a finding of the audit."""
        answer = self.answer
        return Finding(
            line=self.inequality.name,
            subject=answer.subject,
            service=answer.service,
            verdict=answer.verdict,
            evidence=answer.evidence,
            remedy=answer.remedy,
        )


def judge(seen: Readings, inequalities: Iterable[Inequality] | None = None) -> list[Judged]:
    """Return the answers to every inequality: first those violated that put work at risk, then the other violated ones.

    Args:
        seen: What was read.
        inequalities: Those to ask; all unless given.
    """
    asked = INEQUALITIES.values() if inequalities is None else inequalities
    found = [each for one in asked for each in _judged(one, seen)]
    return sorted(found, key=lambda each: _order(each.answer))


_VERDICTS = (Verdict.FAIL, Verdict.PARTIAL, Verdict.UNKNOWN, Verdict.PASS, Verdict.NOT_APPLICABLE)


def _order(answer: Answer) -> tuple[int, bool]:
    return _VERDICTS.index(answer.verdict), not answer.risks


def _judged(one: Inequality, seen: Readings) -> Sequence[Judged]:
    try:
        answers = list(one.ask(seen))
    except NotRead as missing:
        return [Judged(one, silent(missing.silent))]
    except Exception as error:  # noqa: BLE001 - a question that fails must neither pass nor hide the others
        said = f"the question failed: {type(error).__name__}: {error}"
        return [Judged(one, unknown(PLATFORM, said, "report this as an error of steadybeat's audit"), is_broken=True)]
    assert answers, f"{one.name}: says nothing"
    return [Judged(one, answer) for answer in answers]
