"""Audit: is every job ready for production? Findings, each with its evidence.

checklist     the lines that are asked
finding       what is found: a verdict, what it was read from, and what would mend it
subject       a task as the audit sees it
source        what its code says
surroundings  what stands around it: configuration, settings, routes, the ledger
registry      which function answers which line
checking      those for a task that steadybeat guards
checks        those functions, one file for each section
answer        what they answer
auditing      every line asked of every task
naming        which functions would be tasks of one name
pooled        whether an attempt has a process of its own, and what bounds that
doing         what a task's code does to the world, and what keeps that from happening twice
guard         whether runs of a task pass through the platform's claim and outcome
by_hand       what a task's own locks are worth, where they do not
record        what the ledger says
timed         a schedule as checks want it
telling       whom alerts about a task reach
monitored     which monitor elsewhere hears of its schedules
fanned        how it deals with tenants
loops         what is so where it loops over them
machines      what its code keeps on its machine, and how many connections it opens
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
