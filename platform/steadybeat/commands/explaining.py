"""`schedules explain`: what a rule means, in words, in instants, and on the days when the clocks change."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from steadybeat.commands import completion
from steadybeat.commands.installed import installed
from steadybeat.commands.output import Column, Output, distance, json_option, nominal
from steadybeat.commands.rules import rule_of, rule_options
from steadybeat.commands.usage import Command
from steadybeat.errors import ConfigurationError
from steadybeat.operating.clocks import changes_of, clock, in_words

if TYPE_CHECKING:
    from steadybeat.schedule import Rule


@click.command(
    cls=Command, epilog="Example: celery -A tasks schedules explain --cron '0 3 * * *' --tz Europe/Riga --year 2026"
)
@click.argument("name", required=False, shell_complete=completion.schedule_names)
@rule_options
@click.option("-n", "limit", type=click.IntRange(1, 1000), default=5, show_default=True, help="How many fires.")
@click.option(
    "--year", type=click.IntRange(1970, 2199), metavar="YEAR", help="Of the changes of clocks; this year unless given."
)
@json_option
@click.pass_context
def explain(ctx: click.Context, /, name: str | None, limit: int, year: int | None, as_json: bool, **given: Any) -> None:
    """Say what a rule means.

    That is the rule of the schedule NAME, or the one of the options, which needs no ledger: in words, its next fires,
    the days of a year on which the clocks change and what is due then, and what may surprise. With both, NAME is only
    what H in an expression goes by.

    \b
    --json: {"schedule": text or null, "rule": words, "spec": {…}, "next_fires": [instant, …], "year": n,
             "clock_changes": [{"at": instant, "zone", "from": clock, "to": clock, "fire_count": n, "fires": [text, …],
                                "usual_count": n, "usual_fires": [text, …]}],
             "cautions": [text, …]}
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    now = datetime.now(UTC)
    rule = _rule(ctx, name, given)
    year = year or now.year
    changes = [] if rule.unbound else [*changes_of(rule, year)]
    fires = [] if rule.unbound else list(islice(rule.between(now, datetime.max.replace(tzinfo=UTC)), limit))
    out = Output(ctx)
    if as_json:
        document = {"schedule": name, "rule": rule.explain(), "spec": rule.to_json(), "next_fires": fires}
        out.json({**document, "year": year, "clock_changes": changes, "cautions": rule.cautions()})
    else:
        _show(out, rule, fires, changes, year, now)


def _rule(ctx: click.Context, name: str | None, given: Mapping[str, Any]) -> Rule:
    from steadybeat.schedule import from_json

    rule = rule_of(given)
    if rule is not None:
        return rule.named(name) if name else rule
    if name is None:
        raise ConfigurationError("Give the name of a schedule, or a rule such as --cron '0 6 * * *'.")
    from steadybeat.commands.asked import schedule_of
    from steadybeat.ledger import Ledger

    return from_json(schedule_of(Ledger.of(installed(ctx)), name)["spec"])


def _show(
    out: Output, rule: Rule, fires: list[datetime], changes: list[dict[str, Any]], year: int, now: datetime
) -> None:
    out.say(f"{rule.explain()}.", "bold")
    if rule.unbound:
        out.say("H is a number that the schedule's name chooses: give NAME too, to see which.", "yellow")
    elif fires:
        out.table(_columns(rule, now), fires)
    else:
        out.say("It is never due again.")
    for change in changes:
        out.say(in_words(change))
    if not changes and not rule.unbound:
        zones = ", ".join(sorted(rule.zones))
        out.say(f"No clock that it goes by changes in {year}" + (f" ({zones})." if zones else "."))
    for text in rule.cautions():
        out.say(text, "yellow")


def _columns(rule: Rule, now: datetime) -> list[Column]:
    zones = [zone for zone in sorted(rule.zones) if zone != "UTC" and zone[0] not in "+-"]
    return [
        Column(title="fire", value=nominal),
        *(Column(title=zone, value=lambda at, zone=zone: clock(at, zone)) for zone in zones),  # type: ignore[misc]
        Column(title="", value=lambda at: distance(at, now), style="dim"),
    ]
