"""Scoring: how much of the checklist is so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from steadybeat.audit.checklist import LINES
from steadybeat.audit.finding import Finding, Verdict

_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True)
class Score:
    """How many findings there are of each verdict."""

    counts: Mapping[Verdict, int]

    @property
    def asked(self) -> int:
        """How many count: all but those that cannot be asked."""
        return sum(count for verdict, count in self.counts.items() if verdict is not Verdict.NOT_APPLICABLE)

    @property
    def percent(self) -> float | None:
        """The share of PASS among those that count, from 0 to 100; None where none counts."""
        return 100 * self.counts.get(Verdict.PASS, 0) / self.asked if self.asked else None


def score(findings: Iterable[Finding]) -> Score:
    """Return the score of some findings."""
    return Score(Counter(each.verdict for each in findings))


def scores_by(findings: Iterable[Finding], key: Callable[[Finding], _Key]) -> dict[_Key, Score]:
    """Return the score of each group of findings, in the order in which the groups come up."""
    groups: dict[_Key, list[Finding]] = {}
    for each in findings:
        groups.setdefault(key(each), []).append(each)
    return {name: score(group) for name, group in groups.items()}


def section_of(finding: Finding) -> int:
    """Return the section of the checklist that a finding is about."""
    return LINES[finding.line].section
