"""`celery -A … alerts`: what people were told, and what they answer."""

from __future__ import annotations

from typing import Any

import click

from steadybeat.commands import completion
from steadybeat.commands.alert_tests import test
from steadybeat.commands.installed import installed
from steadybeat.commands.output import Output, json_option
from steadybeat.commands.output import as_json as plain
from steadybeat.commands.reports import report
from steadybeat.commands.silencing import silence, silences, unsilence
from steadybeat.commands.usage import NOTHING_CHANGED, Group, dry_run_option, reason_unless, reason_unless_dry

_EXAMPLE = "the bank is down, they know"

_alerts = click.argument(
    "alert", nargs=-1, required=True, type=click.IntRange(min=1), shell_complete=completion.alert_ids
)


@click.group(cls=Group, epilog="Example: celery -A tasks alerts list")
def alerts() -> None:
    """Show what is wrong, answer it, and try the ways to people."""


for command in (report, test, silence, silences, unsilence):
    alerts.add_command(command)


@alerts.command("list", epilog="Example: celery -A tasks alerts list --owner payments --state open")
@click.option("--state", type=click.Choice(["open", "acknowledged", "resolved"]), help="Only those in this state.")
@click.option("--rule", shell_complete=completion.rule_names, help="Only those of this rule.")
@click.option("--owner", shell_complete=completion.owner_names, help="Only those of this owner.")
@click.option("--service", shell_complete=completion.service_names, help="Only those of this service.")
@click.option("--all", "everything", is_flag=True, help="Also those that are resolved.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many.")
@json_option
@click.pass_context
def list_(ctx: click.Context, /, as_json: bool, **given: Any) -> None:
    """List what is wrong, the newest first.

    Exits with 1 if one of those that are listed is open.

    \b
    --json: [{"id": number, "rule", "subject", "state": "open" | "acknowledged" | "resolved", "severity", "owner",
              "service", "task", "schedule", "run", "summary", "facts": {…}, "error", "last_good_run", "cause_id",
              "since", "opened_at", "reopened_at", "last_seen_at": instants, "seen_count", "reopened_count",
              "acknowledged_at", "acknowledged_by", "acknowledged_reason", "resolved_at", "resolved_by",
              "resolved_reason", "told_at", "escalation_step", "escalate_at"}]
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    from steadybeat.commands.alerting import ALERT_COLUMNS, documented
    from steadybeat.errors import ConfigurationError, did_you_mean
    from steadybeat.ledger import Ledger
    from steadybeat.rules import RULES

    rule = given["rule"]
    if rule is not None and rule not in RULES:
        raise ConfigurationError(f"--rule={rule!r}: there is no such rule.{did_you_mean(rule, RULES)}")
    found = Ledger.of(installed(ctx)).alerts.find(**given)
    out = Output(ctx)
    if as_json:
        out.json([documented(alert) for alert in found])
    elif found:
        out.table(ALERT_COLUMNS, found)
    else:
        narrowed = any(given[name] for name in ("state", "rule", "owner", "service"))
        out.say("No such alerts." if narrowed else "Nothing is wrong.", "green")
    ctx.exit(1 if any(alert.state == "open" for alert in found) else 0)


@alerts.command(epilog="Example: celery -A tasks alerts show 17")
@click.argument("alert", type=click.IntRange(min=1), shell_complete=completion.alert_ids)
@json_option
@click.pass_context
def show(ctx: click.Context, alert: int, as_json: bool) -> None:
    """Show one alert, its history, and who was told.

    ALERT is its number, as `alerts list` shows it. A notice that failed is tried again, or the next channel has it.

    \b
    --json: {what `alerts list` prints, "events": [{"at": instant, "what", "who", "text"}],
             "notices": [{"kind", "channel", "title", "created_at", "publish_at", "tried_at", "try_count", "sent_at",
              "given_up_at", "error"}], "consequences": [{"id", "rule", "subject", "state"}], "links": {name: URL}}
    """  # noqa: D301
    from steadybeat.alerts.wording import closer
    from steadybeat.commands.alerting import EVENT_COLUMNS, NOTICE_COLUMNS, alert_of, documented, facts_of
    from steadybeat.ledger import Ledger
    from steadybeat.telemetry.redaction import redact

    app = installed(ctx)
    book, out, links = Ledger.of(app), Output(ctx), app.steadybeat.alerts.links
    found = alert_of(book, alert)
    events, consequences = book.alerts.events(alert), book.alerts.consequences(alert)
    notices = book.notices.of_alerts(sorted({alert, found.storm_id or alert}))
    if as_json:
        others = [{name: getattr(each, name) for name in ("id", "rule", "subject", "state")} for each in consequences]
        rest = {"events": redact(plain(events)), "notices": redact(plain(notices)), "consequences": others}
        out.json({**documented(found), **rest, "links": dict(links.shown(found))})
        return
    out.facts([*facts_of(found), *links.shown(found), ("look closer", closer(found, links))])
    if consequences:
        out.facts([("explains", ", ".join(f"{each.id} ({each.rule}: {each.subject})" for each in consequences))])
    for columns, rows in ((EVENT_COLUMNS, events), (NOTICE_COLUMNS, notices)):
        if rows:
            out.say("")
            out.table(columns, rows)


@alerts.command(epilog=f"Example: celery -A tasks alerts ack 17 --reason '{_EXAMPLE}'")
@_alerts
@dry_run_option
@reason_unless_dry
@json_option
@click.pass_context
def ack(ctx: click.Context, alert: tuple[int, ...], dry_run: bool, reason: str | None, as_json: bool) -> None:
    """Say that you see to it: nobody else is told.

    Each ALERT stays until it is resolved, and is told of again only when it becomes worse. Whoever was told of it is
    told that you answer.

    Exits with 1 if one is not open.

    \b
    --json: {"dry_run": bool, "acknowledged": [number, …], "left": [{"id": number, "state"}]}
    """  # noqa: D301
    _answer(ctx, "acknowledged", alert, reason, as_json, dry_run=dry_run)


@alerts.command(epilog="Example: celery -A tasks alerts resolve 17 --reason 'the schedule was retired'")
@_alerts
@dry_run_option
@reason_unless_dry
@json_option
@click.pass_context
def resolve(ctx: click.Context, alert: tuple[int, ...], dry_run: bool, reason: str | None, as_json: bool) -> None:
    """Say that it is over.

    Alerts resolve by themselves when they are not found any more; an ALERT that is resolved by hand and still found is
    opened again, and says so.

    Exits with 1 if one is resolved already.

    \b
    --json: {"dry_run": bool, "resolved": [number, …], "left": [{"id": number, "state"}]}
    """  # noqa: D301
    _answer(ctx, "resolved", alert, reason, as_json, dry_run=dry_run)


def _answer(
    ctx: click.Context, what: str, given: tuple[int, ...], reason: str | None, as_json: bool, *, dry_run: bool
) -> None:
    from steadybeat.commands.alerting import alert_of, answerable, numbers
    from steadybeat.ledger import Ledger
    from steadybeat.operating.rerun import who

    said = reason_unless(dry_run, reason, _EXAMPLE)
    app = installed(ctx)
    book, life = Ledger.of(app), app.steadybeat.alerts.life
    wanted = [alert_of(book, number).id for number in dict.fromkeys(given)]
    if dry_run:
        done = answerable(book, wanted, what)
    else:
        act = life.acknowledge if what == "acknowledged" else life.resolve
        done = act(wanted, who=who(), reason=said)
    left = [alert_of(book, number) for number in wanted if number not in done]
    out = Output(ctx)
    if as_json:
        out.json({"dry_run": dry_run, what: done, "left": [{"id": each.id, "state": each.state} for each in left]})
    else:
        for each in left:
            out.say(f"Alert {each.id} is {each.state} already.", "yellow")
        if dry_run:
            out.say(f"Would be {what}: {numbers(done) if done else 'none'}. {NOTHING_CHANGED}")
        elif done:
            out.say(f"{numbers(done)} {'is' if len(done) == 1 else 'are'} {what}.", "green")
    ctx.exit(1 if left else 0)
