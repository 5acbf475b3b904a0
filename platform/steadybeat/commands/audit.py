"""`celery -A … audit`: is every job ready for production?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from steadybeat.commands.installed import installed
from steadybeat.commands.output import Column, Output, json_option
from steadybeat.commands.usage import Command

if TYPE_CHECKING:
    from steadybeat.audit import Finding, Score


@click.command(cls=Command, epilog="Example: celery -A tasks audit --service royalties --min 100")
@click.option("--service", help="Only tasks of this service.")
@click.option("--task", help="Only this task.")
@click.option(
    "--min",
    "least",
    type=click.FloatRange(0, 100),
    default=0.0,
    show_default=True,
    metavar="PERCENT",
    help="A score below this is a finding.",
)
@json_option
@click.pass_context
def audit(ctx: click.Context, service: str | None, task: str | None, least: float, as_json: bool) -> None:
    """Say of each task what of the checklist for production it keeps, and what would mend the rest.

    Exits with 1 if the score is below --min.

    \b
    --json: {"score": percent or null, "findings": [{"line", "text", "subject", "service", "verdict", "evidence",
                                                      "remedy"}]}
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    from steadybeat.audit import LINES, Surroundings, score, subjects
    from steadybeat.audit import audit as ask

    app = installed(ctx, tasks=True, schema=False)
    found = ask(Surroundings(app), subjects(app, service=service, task=task))
    whole = score(found.findings)
    out = Output(ctx)
    if as_json:
        rows = [{**_row(each), "text": LINES[each.line].text} for each in found.findings]
        out.json({"score": whole.percent, "findings": rows})
    else:
        shown = [each for each in found.findings if task or each.remedy]
        out.table(_COLUMNS, shown)
        out.say(f"Score: {_percent(whole)}")
    if found.broken or (whole.percent is not None and whole.percent < least):
        ctx.exit(1)


def _row(finding: Finding) -> dict[str, Any]:
    names = ("line", "subject", "service", "verdict", "evidence", "remedy")
    return {name: getattr(finding, name) for name in names}


def _percent(score: Score) -> str:
    return "nothing was asked" if score.percent is None else f"{score.percent:.0f} %"


_COLUMNS = [
    Column(title="line", value=lambda each: each.line),
    Column(title="of", value=lambda each: each.subject),
    Column(title="", value=lambda each: each.verdict),
    Column(title="read", value=lambda each: each.evidence, tight="wrap"),
    Column(title="mend", value=lambda each: each.remedy, tight="wrap"),
]
