"""A report as text: aligned columns that a terminal and a plain mail can hold."""

from __future__ import annotations

import textwrap

from steadybeat.alerts import report_words as words
from steadybeat.alerts.report import Report
from steadybeat.alerts.report_sections import Section, sections

WIDTH = 120
GAP = 2
NARROWEST = 12


def as_text(report: Report) -> str:
    """Return a report as text, no line of it longer than 120 characters."""
    said, _ = words.verdict(report)
    lines = [f"DAILY REPORT of {words.owner_of(report)}", words.long_day(report), "", *_wrapped(said)]
    figures = [f"{figure.count:,} {figure.word}" for figure in words.figures(report)]
    if report.total("fire_count"):
        lines += _wrapped(f"Fires: {report.total('fire_count'):,}, of them {', '.join(figures)}.")
    for section in sections(report):
        lines += ["", section.title.upper(), *_table(section)]
        if section.more:
            lines.append(f"{section.more}: celery -A {report.app} {section.look}")
    notes = words.notes(report)
    if notes:
        lines += ["", *(line for note in notes for line in _wrapped(note))]
    return "\n".join([*lines, "", f"Made at {report.made_at:%Y-%m-%d %H:%M:%S}Z from the ledger."]) + "\n"


def _table(section: Section) -> list[str]:
    titles = [column.upper() for column in section.columns]
    cells = [[cell.text or "-" for cell in row] for row in section.rows]
    widths = [max(len(row[n]) for row in (titles, *cells)) for n in range(len(titles))]
    while sum(widths) + GAP * (len(widths) - 1) > WIDTH:
        widest = widths.index(max(widths))
        if widths[widest] <= NARROWEST:
            break
        widths[widest] -= 1
    lines = [_line(section, titles, widths)]
    for row, texts in zip(section.rows, cells, strict=True):
        lines.append(_line(section, texts, widths))
        lines += [
            f"    {line}" for cell in row if cell.detail for line in textwrap.wrap(cell.detail, WIDTH - 4, max_lines=3)
        ]
    return lines


def _line(section: Section, texts: list[str], widths: list[int]) -> str:
    cells = []
    for n, (text, width) in enumerate(zip(texts, widths, strict=True)):
        shown = text if len(text) <= width else f"{text[: width - 1]}…"
        cells.append(shown.rjust(width) if n in section.right else shown.ljust(width))
    return (" " * GAP).join(cells).rstrip()


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH)
