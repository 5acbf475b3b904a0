"""`alerts test`: whether the ways to people work, and which one something would take."""

from __future__ import annotations

import socket
from typing import Any

import click

from steadybeat.commands import completion
from steadybeat.commands.installed import installed
from steadybeat.commands.output import Column, Output, count, json_option
from steadybeat.commands.progress import Progress
from steadybeat.commands.usage import NOTHING_CHANGED, Command, dry_run_option
from steadybeat.errors import ConfigurationError, did_you_mean

_COLUMNS = [
    Column(title="channel", value=lambda each: each["channel"]),
    Column(title="service", value=lambda each: each["service"]),
    Column(title="sent", value=lambda each: "yes" if each["sent"] else "no"),
    Column(title="error", value=lambda each: each["error"] or "", tight="wrap"),
]


@click.command(cls=Command, epilog="Example: celery -A tasks alerts test ops --owner payments --dry-run")
@click.argument("channel", nargs=-1, shell_complete=completion.channel_names)
@click.option("--rule", shell_complete=completion.rule_names, help="Of what to make up; failed unless given.")
@click.option("--owner", shell_complete=completion.owner_names, help="Whose it is to be.")
@click.option("--service", shell_complete=completion.service_names, help="Of which service it is to be.")
@click.option("--severity", type=click.Choice(["info", "warning", "error", "critical"]), help="How bad it is to be.")
@dry_run_option
@json_option
@click.pass_context
def test(ctx: click.Context, /, channel: tuple[str, ...], dry_run: bool, as_json: bool, **given: Any) -> None:
    """Send a test message, and say what came back.

    It goes to each CHANNEL; without one, to those that the routes name for something of this rule, owner, service and
    severity; where none of these is given, to every channel. URLs and routes are checked first.

    Exits with 1 if a channel does not take it, or no route fits.

    \b
    --json: {"routes": [number, …], "to": [channel, …], "fallbacks": [channel, …],
             "escalate": [{"after_seconds": number, "to": [channel, …]}], "held_until": instant or null,
             "sent": [{"channel", "service", "sent": bool, "error"}]}
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    from datetime import UTC, datetime

    app = installed(ctx)
    alerts = app.steadybeat.alerts
    alerts.check()
    finding, way = _made_up(alerts, channel, given)
    held, out, sent = way.held_until(datetime.now(UTC), finding.severity), Output(ctx), list[dict[str, Any]]()
    with Progress.quiet(None if as_json else out, "channels", len(way.to)) as progress:
        for name in () if dry_run else way.to:
            sent.append(_send(app, name, finding.severity))
            progress.advance()
    if as_json:
        steps = [{"after_seconds": each.after.total_seconds(), "to": each.to} for each in way.escalate]
        said = {"routes": way.routes, "to": way.to, "fallbacks": way.fallbacks, "escalate": steps}
        out.json({**said, "held_until": held, "sent": sent})
    else:
        _say(out, way, held, sent)
    ctx.exit(1 if not way.to or any(not each["sent"] for each in sent) else 0)


def _made_up(alerts: Any, channels: tuple[str, ...], given: dict[str, Any]) -> tuple[Any, Any]:
    """Return something that could be found, and the way that people would be told of it."""
    from steadybeat.alerts.routes import Way
    from steadybeat.ledger.rows import Finding
    from steadybeat.rules import RULES

    rule = given["rule"] or "failed"
    if rule not in RULES:
        raise ConfigurationError(f"--rule={rule!r}: there is no such rule.{did_you_mean(rule, RULES)}")
    finding = Finding(
        rule=rule,
        subject="made-up",
        summary="This is a test.",
        severity=given["severity"] or RULES[rule].severity,
        owner=given["owner"],
        service=given["service"],
    )
    known = alerts.channels.names
    for name in channels:
        if name not in known:
            there_are = f" There are: {', '.join(known)}." if known else " steadybeat_alert_channels has none."
            raise ConfigurationError(
                f"CHANNEL={name!r}: there is no such channel.{did_you_mean(name, known) or there_are}", channel=name
            )
    if channels:
        return finding, Way(to=tuple(dict.fromkeys(channels)))
    if any(value is not None for value in given.values()):
        return finding, alerts.routes.way(finding)
    return finding, Way(to=known)


def _send(app: Any, channel: str, severity: str) -> dict[str, Any]:
    """Send a test message, and write down what became of it."""
    from steadybeat.alerts.channels import Post
    from steadybeat.ledger import Ledger
    from steadybeat.operating.rerun import who

    alerts, book = app.steadybeat.alerts, Ledger.of(app)
    title = f"[test] steadybeat: {app.steadybeat.name}"
    body = f"{who()} tries channel {channel} on {socket.gethostname()}. There is nothing to do."
    book.story.note(who(), "alerts test", channel, "a test message")
    error = alerts.channels.send(channel, Post(kind="test", severity=severity, title=title, body=body, short=title))
    book.notices.tried(channel, severity=severity, title=title, body=body, error=error)
    return {"channel": channel, "service": alerts.channels.service(channel), "sent": error is None, "error": error}


def _say(out: Output, way: Any, held: Any, sent: list[dict[str, Any]]) -> None:
    from steadybeat.commands.output import length, moment

    if not way.to:
        out.say("No route fits, or there is no channel: nobody would be told.", "yellow")
        return
    steps = [f"after {length(each.after)} {', '.join(each.to)}" for each in way.escalate]
    out.facts([
        ("route", ", ".join(map(str, way.routes))),
        ("to", ", ".join(way.to)),
        ("where one fails", ", ".join(way.fallbacks)),
        ("if nobody answers", "; ".join(steps)),
        ("quiet", f"until {moment(held)}" if held is not None else ""),
    ])  # fmt: skip
    if sent:
        out.say("")
        out.table(_COLUMNS, sent)
    else:
        out.say(f"Would be: {count(len(way.to), 'channel')} tried. {NOTHING_CHANGED}")
