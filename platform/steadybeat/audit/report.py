"""Report: what an audit found, as it is told: scores, and what is to be mended, each thing once.

Forty tasks without a memory limit are one thing to mend: findings of one line that say the same of what would mend them
are told together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from steadybeat.audit.auditing import Audit
from steadybeat.audit.checklist import LINES, SECTIONS, Line
from steadybeat.audit.finding import Finding, Verdict
from steadybeat.audit.scoring import Score, score, scores_by, section_of

OPEN = (Verdict.FAIL, Verdict.PARTIAL, Verdict.UNKNOWN)
"""What keeps a score below 100, the worst first."""


@dataclass(frozen=True, slots=True)
class Group:
    """Findings of one line that are mended in the same way.

    Attributes:
        line: Which line of the checklist.
        verdict: What they say.
        remedy: What would mend them all, or what to run to know.
        findings: All of them.
    """

    line: Line
    verdict: Verdict
    remedy: str
    findings: Sequence[Finding]

    @property
    def subjects(self) -> list[str]:
        """Of what they are."""
        return [each.subject for each in self.findings]

    @property
    def evidence(self) -> str:
        """What was read, of the first of them, and whether others read otherwise."""
        first = self.findings[0].evidence
        others = sum(each.evidence != first for each in self.findings)
        return first if not others else f"{first} (of {self.findings[0].subject}; --task shows the others)"


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found.

    Attributes:
        app: What stands behind ``celery -A``.
        made_at: When it was made.
        findings: Every finding.
        broken: Lines whose check could not answer, because of an error of its own.
    """

    app: str
    made_at: datetime
    findings: Sequence[Finding]
    broken: Sequence[str]

    @classmethod
    def of(cls, audit: Audit, app: str) -> Report:
        """Return the report of an audit.

        Args:
            audit: What was found.
            app: What stands behind ``celery -A``.
        """
        return cls(app, datetime.now(UTC), audit.findings, sorted(audit.broken))

    @property
    def whole(self) -> Score:
        """The score of everything."""
        return score(self.findings)

    @property
    def by_section(self) -> Mapping[int, Score]:
        """The score of each section of the checklist."""
        found = scores_by(self.findings, section_of)
        return {number: found[number] for number in SECTIONS if number in found}

    @property
    def by_service(self) -> Mapping[str, Score]:
        """The score of each service; what is no service's own counts as ``-``."""
        return dict(sorted(scores_by(self.findings, lambda each: each.service or "-").items()))

    @property
    def by_task(self) -> Mapping[tuple[str, str], Score]:
        """The score of each task, by its service and its name."""
        return scores_by(self.findings, lambda each: (each.service or "-", each.subject))

    @property
    def by_service_and_section(self) -> Mapping[tuple[str, int], Score]:
        """The score of each service in each section."""
        return scores_by(self.findings, lambda each: (each.service or "-", section_of(each)))

    @property
    def groups(self) -> list[Group]:
        """What is not so, or not known: what most tasks lack first within a verdict."""
        found: dict[tuple[str, Verdict, str], list[Finding]] = {}
        for each in self.findings:
            if each.verdict in OPEN:
                found.setdefault((each.line, each.verdict, each.remedy), []).append(each)
        groups = [Group(LINES[line], verdict, remedy, of) for (line, verdict, remedy), of in found.items()]
        return sorted(groups, key=lambda each: (OPEN.index(each.verdict), -len(each.findings), places(each.line)))

    @property
    def counts(self) -> str:
        """How many findings there are of each verdict, in words."""
        counts = self.whole.counts
        return ", ".join(f"{counts.get(verdict, 0):,} {verdict}" for verdict in Verdict)


def places(line: Line) -> tuple[int, int]:
    """Return where a line stands in the checklist: 2.10 after 2.9."""
    section, _, number = line.number.partition(".")
    return int(section), int(number)


def percent(of: Score | None) -> str:
    """Return a score in words: ``97 %``; below 100 it is never rounded up to it; ``-`` where nothing counts."""
    value = of.percent if of else None
    return "-" if value is None else f"{int(value)} %"
