"""`celery -A … alerts report`: what a day was like, for everybody who answers for something, or for one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from steadybeat.commands import completion
from steadybeat.commands.installed import installed
from steadybeat.commands.output import Output, count, json_option
from steadybeat.commands.output import as_json as plain
from steadybeat.commands.progress import Progress
from steadybeat.commands.usage import NOTHING_CHANGED, Command, dry_run_option
from steadybeat.errors import ConfigurationError, did_you_mean

if TYPE_CHECKING:
    from steadybeat.alerts.report import Day, Report
    from steadybeat.alerts.reports import Reports


@click.command(cls=Command, epilog="Example: celery -A tasks alerts report --owner payments-team --day 2026-11-27")
@click.option(
    "--owner",
    shell_complete=completion.owner_names,
    help="Only of what this owner answers for; nobody: of what has no owner.",
)
@click.option("--day", metavar="DATE", help="Of this day; yesterday unless given.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write the mail there.")
@click.option("--send", is_flag=True, help="Send it where the owner's route says, however often it was sent.")
@dry_run_option
@json_option
@click.pass_context
def report(
    ctx: click.Context,
    /,
    owner: str | None,
    day: str | None,
    html: Path | None,
    send: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make the daily report.

    It says of each owner how the fires of a day ended, what failed, was missed, late or slow, which dead letters wait,
    which alerts there were, and what the next changes of the clocks do to schedules. A day is one of the time zone in
    steadybeat_report_at, at whose time the report is sent by itself; one of UTC where that is empty. With --dry-run it
    is also said where --send would send it.

    \b
    --json: [{"owner": text or null, "day": date, "tz": text, "since": instant, "until": instant, "verdict": text,
              "severity": text, "fires": {word: count, …}, "schedules": [{…}], "unfired": [{…}],
              "dead_letters": [{…}], "other_runs": [{…}], "alerts": [{…}], "clock_changes": [{…}],
              "left_out": [date, …]}]
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    from steadybeat.alerts.report_html import as_html
    from steadybeat.alerts.report_text import as_text
    from steadybeat.alerts.report_words import document

    app = installed(ctx)
    reports: Reports = app.steadybeat.alerts.reports
    out, of_day = Output(ctx), _day(day, reports.tz)
    with Progress.quiet(None if as_json else out, "gathering"):
        found = reports.of(of_day, _owners(reports, owner), datetime.now(UTC))
    if html is not None:
        html.write_text(as_html(_one(found)), encoding="utf-8")
    if as_json:
        out.json([plain(document(each)) for each in found])
    elif not found:
        out.say("There is nothing to report: no task, schedule, run or alert is known.")
    else:
        click.echo("\n\n".join(as_text(each) for each in found), nl=False)
    if send or dry_run:
        _send(app, reports, found, dry_run=dry_run)


def _day(text: str | None, tz: str) -> Day:
    from steadybeat.alerts.reports import day_of

    try:
        return day_of(text, tz)
    except ValueError as error:
        raise ConfigurationError(f"--day {text}: must be a date such as 2026-11-27.") from error


def _owners(reports: Reports, owner: str | None) -> Sequence[str | None]:
    from steadybeat.alerts.report import NOBODY

    known = reports.owners()
    if owner is None:
        return known
    if owner == NOBODY:
        return [None]
    if owner not in known:
        names = [each for each in known if each]
        near = did_you_mean(owner, names) or f" There are: {', '.join([*names, NOBODY])}."
        raise ConfigurationError(f"--owner {owner}: no task is owned by them, as far as the last deploy said.{near}")
    return [owner]


def _one(found: Sequence[Report]) -> Report:
    if len(found) != 1:
        from steadybeat.alerts.report_words import owner_of

        names = ", ".join(owner_of(each) for each in found)
        one = f", one of {names}" if names else ""
        raise ConfigurationError(f"--html writes one mail, and there are {len(found)} reports: give --owner{one}.")
    return found[0]


def _send(app: Any, reports: Reports, found: Sequence[Report], *, dry_run: bool) -> None:
    from steadybeat.alerts.report_words import owner_of

    for each in found:
        channels = app.steadybeat.alerts.routes.reports_of(each.owner)
        told = count(len(channels), "channel")
        if channels and dry_run:
            click.echo(f"Would be: the report of {owner_of(each)} sent to {told}: {', '.join(channels)}.", err=True)
        elif channels:
            reports.send(each, channels)
            click.echo(f"The report of {owner_of(each)} is sent to {told}: {', '.join(channels)}.", err=True)
        else:
            click.echo(f'The report of {owner_of(each)} goes nowhere: no route of theirs says "report".', err=True)
    if dry_run:
        click.echo(NOTHING_CHANGED, err=True)
