"""`celery -A … audit`: is every job ready for production?"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from steadybeat.commands import audit_live, audit_shown, completion
from steadybeat.commands.dev import app_name
from steadybeat.commands.installed import installed
from steadybeat.commands.output import Output, json_option
from steadybeat.commands.probing import probe
from steadybeat.commands.usage import Command, WrongUsage

if TYPE_CHECKING:
    from steadybeat.audit.report import Report


@click.command(cls=Command, epilog="Example: celery -A tasks audit --service royalties --min 100")
@click.option("--service", help="Only tasks of this service.", shell_complete=completion.service_names)
@click.option("--task", help="Only this task, and every line of it.", shell_complete=completion.task_names)
@click.option(
    "--min",
    "least",
    type=click.FloatRange(0, 100),
    default=0.0,
    show_default=True,
    metavar="PERCENT",
    help="A score below this is a finding.",
)
@click.option("--live", is_flag=True, help="Instead, hold the settings of all that runs against each other.")
@click.option("--all", "everything", is_flag=True, help="With --live, print what holds too.")
@click.option("--probe", "tries", is_flag=True, help="Try tasks in a scratch place first: twice, killed, many at once.")
@click.option(
    "--plain-celery",
    "plain",
    metavar="APP",
    help="Instead, ask of a Celery app without steadybeat, named as for celery -A; needs no server.",
)
@click.option("--markdown", is_flag=True, help="Print Markdown, for a pull request or a wiki.")
@click.option("--html", is_flag=True, help="Print one page of HTML that loads nothing.")
@json_option
@click.pass_context
def audit(
    ctx: click.Context,
    service: str | None,
    task: str | None,
    least: float,
    live: bool,
    everything: bool,
    tries: bool,
    plain: str | None,
    markdown: bool,
    html: bool,
    as_json: bool,
) -> None:
    """Say whether every job is ready for production.

    Each line of the checklist is answered with PASS, PARTIAL, FAIL, UNKNOWN or N/A, with what was read, and with what
    would mend it. The score is the share of PASS; N/A does not count. Nothing is changed.

    With --probe tasks that say how (audit_args=) are tried before, which takes some seconds for each; what that shows
    is kept in steadybeat_audit_proofs.

    With --live it asks instead what must hold between the settings of Redis, Postgres, Celery, steadybeat and the
    workers that run; what is violated comes first. It takes a second or two.

    With --plain-celery it asks the same of a Celery application that does not use steadybeat: its configuration, its
    tasks and their code are read. Nothing is installed on it, nothing is sent, and no Postgres is needed.

    Exits with 1 if the score is below --min, or if a check failed; with --live if something is violated.

    \b
    --json: {"app", "made_at": instant, "score": percent or null, "counts": {verdict: n, …},
             "sections": [{"section": n, "title", "score", "counts"}], "services": [{"service", "score", "counts"}],
             "tasks": [{"task", "service", "score", "counts"}],
             "findings": [{"line", "text", "subject", "service": text or null, "verdict": "PASS" | "PARTIAL" | "FAIL" |
                           "UNKNOWN" | "N/A", "evidence", "remedy"}],
             "broken": [line, …]}
            with --live: {"inequalities": [{"name", "formula", "otherwise", "change", "risk": "" | "lost" | "doubled",
                                            "verdict", "subject", "service": text or null, "evidence", "remedy"}]}
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    from steadybeat.audit.report_html import as_html
    from steadybeat.audit.report_markdown import as_markdown

    if markdown + html + as_json > 1:
        raise WrongUsage("--json, --markdown and --html: give one of them.", ctx)
    if live and (markdown or html or least or tries):
        raise WrongUsage("--live: leave --min, --probe, --markdown and --html out; it has no score.", ctx)
    if plain is not None and (live or tries):
        raise WrongUsage("--plain-celery: leave --live and --probe out; they are for an app that has steadybeat.", ctx)
    if live:
        app = installed(ctx, tasks=True, schema=False)
        seen = audit_live.live(app, service=service, task=task)
        audit_live.show(Output(ctx), seen, everything=everything, as_json=as_json)
        ctx.exit(audit_live.exit_code(seen))
    report = _report(ctx, plain, tries=tries, told=not (markdown or html or as_json), service=service, task=task)
    if as_json:
        Output(ctx).json(audit_shown.document(report))
    elif markdown or html:
        click.echo((as_markdown if markdown else as_html)(report), nl=False)
    else:
        audit_shown.show(Output(ctx), report, every_line=task is not None)
    score = report.whole.percent
    if report.broken or (score is not None and score < least):
        ctx.exit(1)


def _report(
    ctx: click.Context, plain: str | None, *, tries: bool, told: bool, service: str | None, task: str | None
) -> Report:
    """Return what is found of the app given to ``celery -A``, or of one that has no steadybeat.

    Args:
        ctx: Of the command.
        plain: The app without steadybeat, as for ``celery -A``.
        tries: Whether tasks are tried first.
        told: Whether somebody is told meanwhile how far that is.
        service: Only tasks of this service.
        task: Only this task.
    """
    from steadybeat.audit import Surroundings, audit, subjects
    from steadybeat.audit.report import Report

    if plain is not None:
        from steadybeat.audit.plain import audit_plain

        return Report.of(audit_plain(plain, service=service, task=task), plain)
    app = installed(ctx, tasks=True, schema=False)
    tasks = subjects(app, service=service, task=task)
    if tries:
        probe(app, app_name(ctx, sys.argv[1:]), [each.task for each in tasks], Output(ctx) if told else None)
    return Report.of(audit(Surroundings(app), tasks), app.steadybeat.settings.celery_app or app.main)
