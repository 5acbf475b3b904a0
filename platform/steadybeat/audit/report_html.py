"""A report as one page of HTML that loads nothing: light and dark, on paper and on a narrow screen."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from steadybeat.audit.checklist import LINES, SECTIONS
from steadybeat.audit.finding import Finding, Verdict
from steadybeat.audit.report import Group, Report, percent
from steadybeat.audit.report_markdown import named
from steadybeat.audit.scoring import Score
from steadybeat.wording import moment

CLASSES = {
    Verdict.PASS: "good",
    Verdict.PARTIAL: "wait",
    Verdict.FAIL: "bad",
    Verdict.UNKNOWN: "quiet",
    Verdict.NOT_APPLICABLE: "quiet",
}
MARKS = {
    Verdict.PASS: "✓",
    Verdict.PARTIAL: "◐",
    Verdict.FAIL: "✕",
    Verdict.UNKNOWN: "?",
    Verdict.NOT_APPLICABLE: "–",
}

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2118; --paper: #f6f8f4; --card: #fff; --line: #d6dccf; --faint: #59624f;
  --good: #14602b; --good-bg: #dff3e3; --wait: #7d4a00; --wait-bg: #fbeed6; --bad: #a51d14; --bad-bg: #fce4e1;
  --quiet: #4d5649; --quiet-bg: #eceee9; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6ebe3; --paper: #121710; --card: #1b2219; --line: #344031; --faint: #aab5a5; --good: #7fd593;
    --good-bg: #17321d; --wait: #f0ba6c; --wait-bg: #3a2a10; --bad: #ff9d96; --bad-bg: #45191a; --quiet: #b9c3b4;
    --quiet-bg: #2a3327; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 78rem; color: var(--ink); background: var(--paper);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.75rem; letter-spacing: -0.02em; }
h2 { margin: 2.5rem 0 0.75rem; font-size: 1.15rem; }
p { margin: 0.35rem 0; }
.faint { color: var(--faint); }
.card { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 0.75rem; }
table { width: 100%; border-collapse: collapse; }
th, td { padding: 0.5rem 0.875rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
tr:last-child > td { border-bottom: 0; }
th { color: var(--faint); font-size: 0.8125rem; white-space: nowrap; }
td { overflow-wrap: anywhere; }
.scores td + td, .scores th + th { text-align: right; font-variant-numeric: tabular-nums; }
.label { display: inline-block; padding: 0 0.55em; font-size: 0.8125rem; font-weight: 650; white-space: nowrap;
  border-radius: 1em; }
.good { color: var(--good); background: var(--good-bg); }
.wait { color: var(--wait); background: var(--wait-bg); }
.bad { color: var(--bad); background: var(--bad-bg); }
.quiet { color: var(--quiet); background: var(--quiet-bg); }
details { margin: 0.5rem 0; background: var(--card); border: 1px solid var(--line); border-radius: 0.75rem; }
summary { padding: 0.5rem 0.875rem; cursor: pointer; font-weight: 600; overflow-wrap: anywhere; }
:focus-visible { outline: 2px solid var(--good); outline-offset: 2px; }
@media (max-width: 700px) {
  table:not(.scores) :is(tbody, tr, td) { display: block; }
  table:not(.scores) thead { display: none; }
  table:not(.scores) td:not(:last-child) { padding-bottom: 0; border: 0; }
}
@media print { body { max-width: none; font-size: 11px; } details > * { display: block; } .card { overflow: visible; } }
"""


def as_html(report: Report) -> str:
    """Return a report as one document of HTML."""
    app = escape(report.app)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Audit of {app}: {percent(report.whole)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<header>
<h1>Audit of {app}: {percent(report.whole)}</h1>
<p class="faint">{escape(report.counts)} · made at {moment(report.made_at)}</p>
</header>
<h2>Scores</h2>
{_scores(report)}
<h2>To be mended</h2>
{_groups(report.groups)}
<h2>Every task</h2>
{"".join(_task(report, service, task) for service, task in report.by_task)}
</main>
</body>
</html>
"""


def _scores(report: Report) -> str:
    sections = list(report.by_section)
    titles = ["service", *(f'<abbr title="{escape(SECTIONS[each])}">{each}</abbr>' for each in sections), "all"]
    rows = [
        [
            escape(service),
            *(_score(report.by_service_and_section.get((service, each))) for each in sections),
            _score(whole),
        ]
        for service, whole in report.by_service.items()
    ]
    rows.append(["<b>all</b>", *(_score(each) for each in report.by_section.values()), _score(report.whole)])
    legend = " · ".join(f"{each} {escape(SECTIONS[each])}" for each in sections)
    return f'{_table(titles, rows, "scores")}<p class="faint">{legend}</p>'


def _score(of: Score | None) -> str:
    value = of.percent if of else None
    if value is None:
        return '<span class="faint">–</span>'
    kind = "good" if value == 100 else "wait" if value >= 50 else "bad"
    return f'<span class="label {kind}">{percent(of)}</span>'


def _groups(groups: Sequence[Group]) -> str:
    if not groups:
        return "<p>Nothing: every line that can be asked is so.</p>"
    rows = [
        [
            _verdict(each.verdict),
            f"{each.line.number} {escape(each.line.text)}",
            escape(named(each.subjects)),
            escape(each.evidence),
            escape(each.remedy),
        ]
        for each in groups
    ]
    return _table(["answer", "line", "of", "read", "mend"], rows)


def _task(report: Report, service: str, task: str) -> str:
    own = [each for each in report.findings if each.subject == task and (each.service or "-") == service]
    score = _score(report.by_task[service, task])
    table = _table(["line", "answer", "read", "mend"], [_row(each) for each in own])
    return f"<details><summary>{escape(task)} {score}</summary>{table}</details>"


def _row(finding: Finding) -> list[str]:
    text = f"{finding.line} {escape(LINES[finding.line].text)}"
    return [text, _verdict(finding.verdict), escape(finding.evidence), escape(finding.remedy)]


def _verdict(verdict: Verdict) -> str:
    return f'<span class="label {CLASSES[verdict]}"><span aria-hidden="true">{MARKS[verdict]} </span>{verdict}</span>'


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """Return a table of cells that are HTML already."""
    head = "".join(f'<th scope="col">{each}</th>' for each in titles)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    region = 'class="card" tabindex="0" role="region" aria-label="table"'
    table = f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f"<div {region}>{table}</div>"
