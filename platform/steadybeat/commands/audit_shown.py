"""What `audit` prints: scores, then what is to be mended; of one task, every line."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from steadybeat.commands.output import Column, Output, one_line

if TYPE_CHECKING:
    from steadybeat.audit import Finding, Score
    from steadybeat.audit.report import Group, Report

NAMED = 2
"""So many tasks are named on a terminal where many lack the same."""
_STYLES = {"FAIL": "bold red", "PARTIAL": "bold yellow", "UNKNOWN": "bold"}


def document(report: Report) -> dict[str, Any]:
    """Return a report as one JSON document."""
    from steadybeat.audit import LINES, SECTIONS

    return {
        "app": report.app,
        "made_at": report.made_at,
        **_scored(report.whole),
        "sections": [
            {"section": number, "title": SECTIONS[number], **_scored(each)}
            for number, each in report.by_section.items()
        ],
        "services": [{"service": name, **_scored(each)} for name, each in report.by_service.items()],
        "tasks": [
            {"task": task, "service": service, **_scored(each)} for (service, task), each in report.by_task.items()
        ],
        "findings": [
            {
                "line": each.line,
                "text": LINES[each.line].text,
                "subject": each.subject,
                "service": each.service,
                "verdict": each.verdict,
                "evidence": each.evidence,
                "remedy": each.remedy,
            }
            for each in report.findings
        ],
        "broken": list(report.broken),
    }


def _scored(score: Score) -> dict[str, Any]:
    from steadybeat.audit import Verdict

    value = score.percent
    return {
        "score": None if value is None else round(value, 1),
        "counts": {str(verdict): score.counts.get(verdict, 0) for verdict in Verdict},
    }


def show(out: Output, report: Report, *, every_line: bool) -> None:
    """Print a report.

    Args:
        out: Where to.
        report: What was found.
        every_line: Whether also what is so is printed, as it is of one task.
    """
    from steadybeat.audit import SECTIONS
    from steadybeat.audit.report import percent

    rows: list[Mapping[str, Any]] = [
        {"service": name, "all": whole, **_of_service(report, name)} for name, whole in report.by_service.items()
    ]
    if len(rows) > 1:
        rows.append({"service": "all", "all": report.whole, **report.by_section})  # type: ignore[dict-item]
    out.table([_SERVICE, *(_section(number) for number in report.by_section), _ALL], rows)
    out.say("Sections: " + ", ".join(f"{number} {SECTIONS[number]}" for number in report.by_section) + ".", "dim")
    if every_line:
        out.table(_LINES, report.findings)
    elif out.console is not None:
        for verdict, line in blocks(report.groups, len(report.by_task), out.console.width):
            out.console.print(line, style=_STYLES[verdict] if verdict else "")
    elif report.groups:
        out.table(_GROUPS, report.groups)
    whole = report.whole.percent
    style = "green" if whole == 100 else "yellow" if (whole or 0) >= 50 else "red"
    out.say(f"Score: {percent(report.whole)} ({report.counts}).", style)
    for line in report.broken:
        out.say(f"The check of {line} failed: that is an error of the audit.", "red")


def blocks(groups: Sequence[Group], task_count: int, width: int) -> Iterator[tuple[str, str]]:
    """Yield what is to be mended as lines for a terminal: of each group its headline, then what to do about it.

    Args:
        groups: What is to be mended.
        task_count: How many tasks there are in all.
        width: Of the terminal, in characters.

    Returns:
        Of each line the verdict, which is empty but for headlines, and its text.
    """
    for group in groups:
        yield "", ""
        verdict = str(group.verdict)
        yield verdict, f"{verdict:<8}{group.line.number} {group.line.text}"
        if len(group.findings) == task_count > 1:
            of = f"all {task_count} tasks"
        else:
            more = len(group.subjects) - NAMED
            of = ", ".join(group.subjects[:NAMED]) + (f" and {more} more" if more > 0 else "")
        for title, text in (("of", of), ("read", group.evidence), ("mend", group.remedy)):
            lines = textwrap.wrap(one_line(text), max(20, width - 15), break_on_hyphens=False, break_long_words=False)
            for n, line in enumerate(lines):
                yield "", f"{'':8}{title if not n else '':<6}{line}"


def _of_service(report: Report, service: str) -> dict[Any, Score | None]:
    return {number: report.by_service_and_section.get((service, number)) for number in report.by_section}


def _percent(score: Score | None) -> str:
    from steadybeat.audit.report import percent

    return percent(score)


def _section(number: int) -> Column:
    return Column(title=str(number), value=lambda row: _percent(row[number]), right=True)


def _evidence(finding: Finding) -> str:
    return finding.evidence


def _named(group: Any) -> str:
    from steadybeat.audit.report_markdown import named

    return named(group.subjects)


_SERVICE = Column(title="service", value=lambda row: row["service"])
_ALL = Column(title="all", value=lambda row: _percent(row["all"]), right=True, style="bold")
_GROUPS = [
    Column(title="", value=lambda each: str(each.verdict)),
    Column(title="line", value=lambda each: f"{each.line.number} {each.line.text}", tight="wrap"),
    Column(title="tasks", value=lambda each: f"{len(each.findings):,}", right=True),
    Column(title="of", value=_named, tight="wrap"),
    Column(title="read", value=lambda each: each.evidence, tight="wrap"),
    Column(title="mend", value=lambda each: each.remedy, tight="wrap"),
]
_LINES = [
    Column(title="", value=lambda each: str(each.verdict)),
    Column(title="line", value=lambda each: f"{each.line} {_text_of(each.line)}", tight="wrap"),
    Column(title="of", value=lambda each: each.subject, tight="wrap"),
    Column(title="read", value=_evidence, tight="wrap"),
    Column(title="mend", value=lambda each: each.remedy, tight="wrap"),
]


def _text_of(line: str) -> str:
    from steadybeat.audit import LINES

    return LINES[line].text
