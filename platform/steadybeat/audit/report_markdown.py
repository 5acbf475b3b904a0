"""A report in Markdown, for a pull request or a wiki."""

from __future__ import annotations

from collections.abc import Sequence

from steadybeat.audit.checklist import LINES, SECTIONS
from steadybeat.audit.report import Report, percent
from steadybeat.wording import count, moment, one_line

NAMED = 5
"""So many tasks are named where many lack the same."""


def as_markdown(report: Report) -> str:
    """Return a report in Markdown: scores, what is to be mended, and every finding, folded by task."""
    parts = [
        f"# Audit of {_text(report.app)}: {percent(report.whole)}",
        f"{report.counts} · made at {moment(report.made_at)} by `celery -A {report.app} audit`",
        "## Scores",
        _table(
            ["service", *(f"{number}" for number in report.by_section), "all"],
            [
                [
                    service,
                    *(percent(report.by_service_and_section.get((service, number))) for number in report.by_section),
                    percent(whole),
                ]
                for service, whole in report.by_service.items()
            ],
        ),
        " · ".join(f"{number} {SECTIONS[number]}: {percent(each)}" for number, each in report.by_section.items()),
    ]
    groups = report.groups
    if groups:
        rows = [
            [
                str(each.verdict),
                f"{each.line.number} {each.line.text}",
                named(each.subjects),
                each.evidence,
                each.remedy,
            ]
            for each in groups
        ]
        parts += ["## To be mended", _table(["", "line", "of", "read", "mend"], rows)]
    parts += ["## Every task", *(_task(report, service, task) for service, task in report.by_task)]
    return "\n\n".join(parts) + "\n"


def named(subjects: Sequence[str]) -> str:
    """Return the names of a few subjects, and how many more there are."""
    shown = ", ".join(subjects[:NAMED])
    more = len(subjects) - NAMED
    return f"{shown} and {count(more, 'more', 'more')}" if more > 0 else shown


def _task(report: Report, service: str, task: str) -> str:
    own = [each for each in report.findings if each.subject == task and (each.service or "-") == service]
    rows = [[each.line, LINES[each.line].text, str(each.verdict), each.evidence, each.remedy] for each in own]
    title = f"{_text(task)}: {percent(report.by_task[service, task])}"
    table = _table(["", "line", "", "read", "mend"], rows)
    return f"<details><summary>{title}</summary>\n\n{table}\n\n</details>"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(map(_text, line))} |" for line in lines)


def _text(text: str) -> str:
    """Return text that neither ends a cell nor begins an element."""
    return one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("`", "\\`")
