"""Audit: is every job ready for production? Findings, each with its evidence.

finding     what a check says: a verdict, what it was read from, and what would mend it
checklist   the lines that are checked, and of what each is true
"""

from __future__ import annotations

from steadybeat.audit.checklist import LINES, Line
from steadybeat.audit.finding import Finding, Verdict

__all__ = ["LINES", "Finding", "Line", "Verdict"]
