"""A report as a mail in HTML: tables and colours that stand in it, light and dark, and nothing that is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from shlex import quote

from steadybeat.alerts import report_words as words
from steadybeat.alerts.report import Report
from steadybeat.alerts.report_sections import Cell, Section, sections

FONT = "-apple-system,BlinkMacSystemFont,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
MONO = "ui-monospace,SFMono-Regular,Menlo,Consolas,'Liberation Mono',monospace"

# Of each tone: ink, paper, and the bar; in light, then in dark. Ink on paper keeps a contrast of at least 4.5 to 1.
LIGHT: Mapping[str, tuple[str, str, str]] = {
    "good": ("#116329", "#dafbe1", "#2da44e"),
    "info": ("#0550ae", "#ddf4ff", "#54aeff"),
    "warn": ("#7d4e00", "#fff8c5", "#d4a72c"),
    "bad": ("#a40e26", "#ffebe9", "#cf222e"),
    "dim": ("#57606a", "#eaeef2", "#afb8c1"),
}
DARK: Mapping[str, tuple[str, str, str]] = {
    "good": ("#56d364", "#12261e", "#2ea043"),
    "info": ("#79c0ff", "#121d2f", "#388bfd"),
    "warn": ("#e3b341", "#2b2111", "#bb8009"),
    "bad": ("#ff8e88", "#30171b", "#da3633"),
    "dim": ("#9da7b1", "#21262d", "#484f58"),
}

WHOLE = ("day", "since")
"""Columns of text that are not broken either."""

_STYLE = """
  body, table, td, th { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
  @media (prefers-color-scheme: dark) {
    .page { background: #0d1117 !important; }
    .card { background: #161b22 !important; border-color: #30363d !important; }
    .ink { color: #e6edf3 !important; }
    .faint { color: #9da7b1 !important; }
    .line { border-color: #30363d !important; }
    TONES
  }
  @media only screen and (max-width: 560px) {
    .page { padding: 0 !important; }
    .card { border-radius: 0 !important; border-left: 0 !important; border-right: 0 !important; }
    .pad { padding-left: 16px !important; padding-right: 16px !important; }
    .figures { width: 100% !important; }
    .figure { display: inline-block !important; width: 31% !important; padding: 4px 0 !important; }
    .data thead { display: none !important; }
    .data tr { display: block !important; padding: 8px 0 !important; }
    .data tr.row { border-bottom: 1px solid #d0d7de; }
    .data td { display: inline-block !important; padding: 1px 12px 1px 0 !important; border: 0 !important;
      text-align: left !important; white-space: normal !important; }
    .data td.first { display: block !important; padding-right: 0 !important; }
    .data td.wide { display: block !important; }
    .data td.empty { display: none !important; }
    .label { display: inline !important; font-size: 12px !important; max-height: none !important; }
  }
  @media only screen and (max-width: 560px) and (prefers-color-scheme: dark) {
    .data tr.row { border-bottom-color: #30363d !important; }
  }
"""


def as_html(report: Report) -> str:
    """Return a report as one document of HTML that loads nothing."""
    said, tone = words.verdict(report)
    owner, day = escape(words.owner_of(report)), escape(words.long_day(report))
    body = "".join(_section(section, report.app) for section in sections(report))
    ink, paper, _ = LIGHT[tone]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<title>{escape(words.title(report))}</title>
<style>{_STYLE.replace("TONES", _dark_tones())}</style>
</head>
<body class="page" style="margin:0;padding:0;background:#f6f8fa;font-family:{FONT}">
<div style="display:none;max-height:0;overflow:hidden;mso-hide:all">{escape(said)}</div>
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0" class="page"
 style="background:#f6f8fa;padding:24px 8px"><tr><td align="center">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0" class="card"
 style="max-width:760px;background:#ffffff;border:1px solid #d0d7de;border-radius:12px;border-collapse:separate">
<tr><td class="pad" style="padding:28px 32px 4px">
<p class="faint" style="margin:0 0 4px;font-size:13px;line-height:18px;color:#57606a">Daily report · {day}</p>
<h1 class="ink" style="margin:0;font-size:24px;line-height:32px;font-weight:600;color:#1f2328">{owner}</h1>
</td></tr>
<tr><td class="pad" style="padding:12px 32px 4px">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0"><tr>
<td class="paper-{tone} ink-{tone}" style="padding:12px 16px;border-radius:8px;background:{paper};color:{ink};
font-size:16px;line-height:24px;font-weight:600">{escape(said)}</td>
</tr></table>
</td></tr>
{_figures(report)}{body}{_notes(report)}
<tr><td class="pad faint line" style="padding:16px 32px 24px;font-size:12px;line-height:18px;color:#57606a">
Made at {report.made_at:%Y-%m-%d %H:%M:%S}Z from the ledger. The same on a terminal:<br>
<code style="font-family:{MONO}">{escape(_same(report))}</code>
</td></tr>
</table>
</td></tr></table>
</body>
</html>
"""


def _same(report: Report) -> str:
    owner = f" --owner {quote(report.owner)}" if report.owner else ""
    return f"celery -A {report.app} alerts report{owner} --day {report.day.date}"


def _dark_tones() -> str:
    return "\n    ".join(
        f".ink-{tone} {{ color: {ink} !important; }} .paper-{tone} {{ background: {paper} !important; }}"
        f" .bar-{tone} {{ background: {bar} !important; }}"
        for tone, (ink, paper, bar) in DARK.items()
    )


def _figures(report: Report) -> str:
    """Return the bar of all fires, and below it what its parts are, in numbers and words."""
    total = report.total("fire_count")
    if not total:
        return ""
    figures = words.figures(report)
    parts = [
        f'<td class="bar-{each.tone}" width="{max(1, round(100 * each.count / total))}%" height="8" '
        f'style="background:{LIGHT[each.tone][2]};height:8px;font-size:0;line-height:0">&nbsp;</td>'
        for each in figures
        if each.count
    ]
    cells = "".join(
        f'<td class="figure" valign="top" style="padding:4px 24px 4px 0;white-space:nowrap">'
        f'<div class="{_ink(each)}" style="font-size:24px;line-height:30px;font-weight:600;'
        f'font-variant-numeric:tabular-nums;color:{_colour(each)}">{each.count:,}</div>'
        f'<div class="faint" style="font-size:13px;line-height:18px;color:#57606a">{each.word}</div></td>'
        for each in (words.Figure(total, "fire" if total == 1 else "fires", ""), *figures)
    )
    return f"""<tr><td class="pad" style="padding:16px 32px 0">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0"
 style="border-radius:4px;overflow:hidden"><tr>{"".join(parts)}</tr></table>
<table role="presentation" class="figures" cellpadding="0" cellspacing="0" border="0" style="margin-top:8px">
<tr>{cells}</tr></table>
</td></tr>
"""


def _ink(figure: words.Figure) -> str:
    return f"ink-{figure.tone}" if figure.tone and figure.count else "ink" if not figure.tone else "faint"


def _colour(figure: words.Figure) -> str:
    if not figure.tone:
        return "#1f2328"
    return LIGHT[figure.tone][0] if figure.count else "#57606a"


def _section(section: Section, app: str) -> str:
    heads = "".join(
        f'<th scope="col" class="faint line" align="{_align(section, n)}" style="padding:6px 0 6px {_gap(n)};'
        f"border-bottom:1px solid #d0d7de;font-size:12px;line-height:16px;font-weight:400;color:#57606a;"
        f'text-align:{_align(section, n)};white-space:nowrap">{escape(column)}</th>'
        for n, column in enumerate(section.columns)
    )
    rows = "".join(f'<tr class="row">{"".join(_cells(section, row))}</tr>\n' for row in section.rows)
    more = ""
    if section.more:
        look = escape(f"celery -A {app} {section.look}")
        more = (
            f'<p class="faint" style="margin:8px 0 0;font-size:13px;line-height:18px;color:#57606a">'
            f'{escape(section.more)}: <code style="font-family:{MONO};font-size:12px">{look}</code></p>'
        )
    return f"""<tr><td class="pad" style="padding:24px 32px 0">
<h2 class="ink" style="margin:0 0 4px;font-size:16px;line-height:24px;font-weight:600;color:#1f2328">\
{escape(section.title)}</h2>
<table class="data" width="100%" cellpadding="0" cellspacing="0" border="0" style="border-collapse:collapse">
<thead><tr>{heads}</tr></thead>
<tbody>
{rows}</tbody></table>{more}
</td></tr>
"""


def _cells(section: Section, row: Sequence[Cell]) -> Iterator[str]:
    """Yield the cells of a row; on a narrow screen they stand one after the other, with the name of their column."""
    for n, cell in enumerate(row):
        kind = "first" if n == 0 else "wide" if cell.detail else "" if cell.text else "empty"
        width = "white-space:nowrap;" if n in section.right or section.columns[n] in WHOLE else ""
        label = "" if n == 0 else _label(section.columns[n])
        yield (
            f'<td class="{kind} line ink" valign="top" align="{_align(section, n)}" style="padding:8px 0 8px {_gap(n)};'
            f"border-bottom:1px solid #eaeef2;font-size:14px;line-height:20px;color:#1f2328;{width}"
            f'text-align:{_align(section, n)};font-variant-numeric:tabular-nums">{label}{_value(n, cell, section)}</td>'
        )


def _label(column: str) -> str:
    return f'<span class="label faint" style="display:none;max-height:0;font-size:0;color:#57606a">{column} </span>'


def _value(n: int, cell: Cell, section: Section) -> str:
    text = escape(cell.text)
    if cell.tone and text:
        ink, paper, _ = LIGHT[cell.tone]
        text = (
            f'<span class="ink-{cell.tone} paper-{cell.tone}" style="display:inline-block;padding:0 8px;'
            f'border-radius:10px;background:{paper};color:{ink};font-weight:600;white-space:nowrap">{text}</span>'
        )
    elif n == 0:
        text = f'<span style="font-weight:600;overflow-wrap:anywhere">{text}</span>'
    elif section.columns[n] in ("run", "last run"):
        text = f'<code style="font-family:{MONO};font-size:11px;overflow-wrap:anywhere">{text}</code>'
    if cell.detail:
        text += (
            f'<div class="faint" style="font-size:13px;line-height:18px;color:#57606a;'
            f'overflow-wrap:anywhere">{escape(_short(cell.detail))}</div>'
        )
    return text


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:299]}…"


def _align(section: Section, n: int) -> str:
    return "right" if n in section.right else "left"


def _gap(n: int) -> str:
    return "16px" if n else "0"


def _notes(report: Report) -> str:
    said = "".join(
        f'<p class="faint" style="margin:0 0 4px;font-size:13px;line-height:18px;color:#57606a">{escape(note)}</p>'
        for note in words.notes(report)
    )
    return f'<tr><td class="pad" style="padding:24px 32px 0">{said}</td></tr>\n' if said else ""
