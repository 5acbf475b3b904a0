"""What a check says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a line of the checklist is answered."""

    PASS = "PASS"  # noqa: S105 - it is so, and the evidence shows it
    PARTIAL = "PARTIAL"  # some of it is so; scores nothing
    FAIL = "FAIL"  # it is not so
    UNKNOWN = "UNKNOWN"  # nothing that was looked at tells; scores nothing
    NOT_APPLICABLE = "N/A"  # it cannot be asked of this task; counts neither way


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The answer to one line for one subject.

    Attributes:
        line: Number of the line in the checklist, such as ``2.3``; of the running system, the name of what must hold.
        subject: A task, a service, a queue, a server, a setting: what it is said of.
        service: The service whose score it counts for; None for what is no service's own.
        verdict: The answer.
        evidence: What was read, and where: a value from code, configuration, ledger, Redis or a probe.
        remedy: What would mend it; where the answer is not known, what to run to know it.
    """

    line: str
    subject: str
    service: str | None
    verdict: Verdict
    evidence: str
    remedy: str = ""

    def __post_init__(self) -> None:
        assert self.evidence, f"{self.line} of {self.subject}: says nothing of what was seen"
        wanted = self.verdict in {Verdict.FAIL, Verdict.PARTIAL, Verdict.UNKNOWN}
        assert self.remedy or not wanted, f"{self.line} of {self.subject}: {self.verdict} without a way out"
