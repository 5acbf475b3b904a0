"""`alerts silence`, `alerts silences`, `alerts unsilence`: times in which nobody is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from steadybeat.commands import completion
from steadybeat.commands.installed import installed
from steadybeat.commands.output import Output, count, json_option, moment
from steadybeat.commands.usage import (
    NOTHING_CHANGED,
    Command,
    dry_run_option,
    reason_given,
    reason_unless,
    reason_unless_dry,
)
from steadybeat.commands.values import Duration, Instant
from steadybeat.errors import ConfigurationError

_EXAMPLE = "the bank moves"
_MOST = 10_000  # alerts that are looked at
_PATTERNS = ("rule", "subject", "owner", "service")


@click.command(
    cls=Command, epilog=f"Example: celery -A tasks alerts silence --service royalties --for 2h --reason '{_EXAMPLE}'"
)
@click.option("--rule", shell_complete=completion.rule_names, help="Pattern of rules, such as never_*.")
@click.option("--subject", help="Pattern of what alerts are about, such as tasks.royalties.*.")
@click.option("--owner", shell_complete=completion.owner_names, help="Pattern of owners.")
@click.option("--service", shell_complete=completion.service_names, help="Pattern of services.")
@click.option("--for", "lasting", type=Duration(), required=True, help="How long, such as 2h.")
@click.option("--from", "begins_at", type=Instant(), help="From when on; now unless given.")
@dry_run_option
@reason_unless_dry
@json_option
@click.pass_context
def silence(ctx: click.Context, /, as_json: bool, **given: Any) -> None:
    """Have nobody told of some alerts for a while.

    An alert is meant when every pattern that is given fits; * stands for any text, ? for one character. Alerts are kept
    meanwhile, and those that are still open at the end are told then. `--rule '*'` is everything. What is said last is
    how many of the alerts that are open or acknowledged now are meant; with --dry-run, which.

    \b
    --json: {"id": number or null, "rule", "subject", "owner", "service", "begins_at": instant, "ends_at": instant,
             "who", "reason", "ended_at": instant or null, "ended_by", "created_at": instant or null,
             "dry_run": bool, "alerts": [number, …]}
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    from steadybeat.alerts.telling import fits
    from steadybeat.commands.alerting import ALERT_COLUMNS, matched, silence_document
    from steadybeat.ledger import Ledger
    from steadybeat.ledger.silences import Silence
    from steadybeat.operating.rerun import who

    dry_run = given["dry_run"]
    reason = reason_unless(dry_run, given["reason"], _EXAMPLE)
    patterns: dict[str, Any] = {name: given[name] for name in _PATTERNS}
    if not any(pattern is not None for pattern in patterns.values()):
        raise ConfigurationError(
            "silence: nothing says of what; give --rule, --subject, --owner or --service; --rule '*' is everything."
        )
    begin, end = _span(given["begins_at"], given["lasting"])
    book, out = Ledger.of(installed(ctx)), Output(ctx)
    if dry_run:
        made = Silence(id=0, **patterns, begins_at=begin, ends_at=end, who=who(), reason=reason)
    else:
        made = book.silences.add(patterns, begins_at=begin, ends_at=end, who=who(), reason=reason)
    meant = [alert for alert in book.alerts.find(limit=_MOST) if fits(made, alert)]
    if as_json:
        document = silence_document(made) | {"dry_run": dry_run, "alerts": [alert.id for alert in meant]}
        out.json(document | ({"id": None} if dry_run else {}))
        return
    if dry_run and meant:
        out.table(ALERT_COLUMNS, meant)
    what = f"nobody is told of {matched(made)} from {moment(begin)} until {moment(end)}"
    now = f"{count(len(meant), 'alert')} of now {'is' if len(meant) == 1 else 'are'} meant"
    if dry_run:
        out.say(f"Would be so: {what}; {now}. {NOTHING_CHANGED}")
    else:
        out.say(f"Silence {made.id}: {what}; {now}.", "green")


@click.command(cls=Command, epilog="Example: celery -A tasks alerts silences --all")
@click.option("--all", "everything", is_flag=True, help="Also those that are over.")
@json_option
@click.pass_context
def silences(ctx: click.Context, everything: bool, as_json: bool) -> None:
    """List the times in which nobody is told.

    \b
    --json: [{what `alerts silence` prints}]
    """  # noqa: D301
    from steadybeat.commands.alerting import SILENCE_COLUMNS, silence_document
    from steadybeat.ledger import Ledger

    found = Ledger.of(installed(ctx)).silences.all(everything=everything)
    out = Output(ctx)
    if as_json:
        out.json([silence_document(each) for each in found])
    elif found:
        out.table(SILENCE_COLUMNS, found)
    else:
        out.say("No silences.")


@click.command(cls=Command, epilog="Example: celery -A tasks alerts unsilence 3 --reason 'it went quicker'")
@click.argument("silence", type=click.IntRange(min=1), shell_complete=completion.silence_ids)
@click.option("--reason", required=True, help="Why; it is written down with your name.")
@json_option
@click.pass_context
def unsilence(ctx: click.Context, silence: int, reason: str, as_json: bool) -> None:
    """End a silence before its time.

    SILENCE is its number, as `alerts silences` shows it. What is open then is told within seconds.

    Exits with 1 if it is over already.

    \b
    --json: {"id": number, "ended": bool}
    """  # noqa: D301
    from steadybeat.ledger import Ledger
    from steadybeat.operating.rerun import who

    reason = reason_given(reason, "it went quicker")
    book = Ledger.of(installed(ctx))
    ended = book.silences.end(silence, who=who(), reason=reason)
    out = Output(ctx)
    if as_json:
        out.json({"id": silence, "ended": ended is not None})
    elif ended is not None:
        out.say(f"Silence {silence} is over.", "green")
    else:
        out.say(f"Silence {silence} is over already, or there is none of this number.", "yellow")
    ctx.exit(0 if ended is not None else 1)


def _span(begins_at: datetime | None, lasting: timedelta) -> tuple[datetime, datetime]:
    """Return begin and end of a silence.

    Raises:
        ConfigurationError: It has passed, or has no length.
    """
    now = datetime.now(UTC)
    begin = begins_at or now
    try:
        end = begin + lasting
    except OverflowError:
        end = begin
    if end <= now or not lasting:
        raise ConfigurationError(f"--for={lasting.total_seconds():g}s: must end in the future, such as --for 2h.")
    return begin, end
