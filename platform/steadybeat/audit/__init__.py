"""Audit: is every job ready for production? Findings, each with its evidence.

checklist     the lines that are asked
finding       what is found: a verdict, what it was read from, and what would mend it
subject       a task as the audit sees it
source        what its code says
surroundings  what stands around it: configuration, settings, routes, the ledger
checking      which function answers which line
checks        those functions, one file for each section
answer        what they answer
auditing      every line asked of every task
scoring       how much of it is so
"""

from __future__ import annotations

from steadybeat.audit.auditing import Audit, audit, subjects
from steadybeat.audit.checklist import LINES, SECTIONS, Line
from steadybeat.audit.finding import Finding, Verdict
from steadybeat.audit.scoring import Score, score, scores_by, section_of
from steadybeat.audit.surroundings import Surroundings

__all__ = [
    "LINES",
    "SECTIONS",
    "Audit",
    "Finding",
    "Line",
    "Score",
    "Surroundings",
    "Verdict",
    "audit",
    "score",
    "scores_by",
    "section_of",
    "subjects",
]
