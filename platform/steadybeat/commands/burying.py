"""`dead requeue` and `dead discard`: what a person decides about dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from steadybeat.commands import completion
from steadybeat.commands.installed import installed
from steadybeat.commands.letters import Filters, filters, parted
from steadybeat.commands.output import Output, count, json_option
from steadybeat.commands.progress import Progress
from steadybeat.commands.usage import NOTHING_CHANGED, Command, dry_run_option, reason_unless, reason_unless_dry
from steadybeat.errors import ConfigurationError

if TYPE_CHECKING:
    from steadybeat.operating.burying import Decision

_EXAMPLE = "the bank is back"
_SHOWN = 20  # so many that are left are told one by one
_MOST = 10_000

_runs = click.argument("run", nargs=-1, metavar="[RUN]...", shell_complete=completion.dead_ids)
_all = click.option("--all", "every", is_flag=True, help="Every dead letter.")
_limit = click.option(
    "--limit",
    type=click.IntRange(1, _MOST),
    default=1000,
    show_default=True,
    help="Of those that fit, so many at the most; the first that died come first.",
)


@click.command(
    cls=Command, epilog="Example: celery -A tasks dead requeue --service royalties --since 2h --reason 'bank is back'"
)
@_runs
@filters
@_all
@_limit
@dry_run_option
@reason_unless_dry
@json_option
@click.pass_context
def requeue(ctx: click.Context, /, run: tuple[str, ...], **given: Any) -> None:
    """Try dead letters again.

    Each RUN, or all that fit the options, gets another attempt at once: the same run with its id, its key, its
    arguments and its attempts so far; its retries count anew, and it has no deadline any more. One whose effect has
    happened meanwhile is left alone. A foreign message (foreign:N) is put back on its queue as it was.

    Exits with 1 if one is left that is not dead any more, or whose key another run has that has not ended.

    \b
    --json: {"dry_run": bool, "requeued": [id, …], "more": bool,
             "left": [{"id", "verdict": "done" | "open" | "gone" | "of_run" | "no_queue", "text"}]}
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    _decide(ctx, "requeued", run, given)


@click.command(
    cls=Command, epilog="Example: celery -A tasks dead discard --cause foreign --since 1d --reason 'a test of theirs'"
)
@_runs
@filters
@_all
@_limit
@dry_run_option
@reason_unless_dry
@json_option
@click.pass_context
def discard(ctx: click.Context, /, run: tuple[str, ...], **given: Any) -> None:
    """End dead letters for good.

    Each RUN, or all that fit the options, is cancelled, with the reason; it stays on record as long as every other
    run that has ended. A foreign message (foreign:N) is deleted.

    Exits with 1 if one is left that is not dead any more.

    \b
    --json: {"dry_run": bool, "discarded": [id, …], "more": bool,
             "left": [{"id", "verdict": "open" | "gone" | "of_run", "text"}]}
    """  # noqa: D301
    _decide(ctx, "discarded", run, given)


def _decide(ctx: click.Context, what: str, names: Sequence[str], given: dict[str, Any]) -> None:
    """Find out which are meant, do it, and say what was done."""
    from steadybeat.ledger import Ledger
    from steadybeat.operating.burying import Decision, decide_message, decide_runs
    from steadybeat.operating.rerun import who

    as_json, dry_run, reason = given.pop("as_json"), given.pop("dry_run"), given.pop("reason")
    every, limit = given.pop("every"), given.pop("limit")
    _check(names, given, every, ctx)
    reason = reason_unless(dry_run, reason, _EXAMPLE)
    app, out = installed(ctx), Output(ctx)
    book, decision = Ledger.of(app), Decision(what)
    runs, messages = _meant(app, decision, names, Filters(**given), limit)
    by = None if dry_run else {"who": who(), "reason": reason}
    with Progress.quiet(None if as_json else out, decision.what, len(runs) + len(messages)) as progress:
        decide_runs(book, decision, runs, by, tell=progress.advance)
        for number in messages:
            decide_message(app, decision, number, by)
            progress.advance()
    _say(out, decision, dry_run, as_json)
    ctx.exit(1 if decision.is_finding else 0)


def _check(names: Sequence[str], given: dict[str, Any], every: bool, ctx: click.Context) -> None:
    told = [bool(names), any(value is not None for value in given.values()), every]
    if sum(told) != 1:
        wrong = "nothing says which" if not any(told) else "RUN, options and --all exclude each other"
        raise ConfigurationError(
            f"{ctx.info_name}: {wrong}; name runs, or say which by --task, --service, --schedule, --tenant,"
            " --fan-out, --since, --error and --cause, or --all."
        )


def _meant(
    app: Any, decision: Decision, names: Sequence[str], given: Filters, limit: int
) -> tuple[list[str], list[int]]:
    from steadybeat.commands.letters import found
    from steadybeat.ledger import Ledger

    if not names:
        letters = found(app, given, limit=limit + 1, oldest_first=True)
        decision.more = len(letters) > limit
        return parted([letter["id"] for letter in letters[:limit]])
    runs, messages = parted(names)
    standing = Ledger.of(app).dead.standing(runs)
    unknown = [run for run in runs if run not in standing]
    if unknown:
        raise ConfigurationError(
            f"RUN={unknown[0]}: no such run is on record; nothing was done. `celery -A … dead list` shows dead ones.",
            run=unknown[0],
        )
    return runs, messages


def _say(out: Output, decision: Decision, dry_run: bool, as_json: bool) -> None:
    if as_json:
        said = {decision.what: decision.done, "more": decision.more, "left": decision.left}
        out.json({"dry_run": dry_run, **said})
        return
    for each in decision.left[:_SHOWN]:
        out.say(each["text"], "" if each["verdict"] == "done" else "yellow")
    if len(decision.left) > _SHOWN:
        out.say(f"… and {len(decision.left) - _SHOWN} more that are left; --json names them.")
    if not decision.done and not decision.left:
        out.say("No such dead letters.")
    elif dry_run:
        _say_would_be(out, decision)
    else:
        done = len(decision.done)
        named = f": {decision.done[0]}" if done == 1 else ""
        were = "was" if done == 1 else "were"
        out.say(f"{count(done, 'dead letter')} {were} {decision.what}{named}.", "green" if done else "")
    if decision.more:
        out.say("More fit as well: type it again, or give a higher --limit.", "yellow")


def _say_would_be(out: Output, decision: Decision) -> None:
    done = len(decision.done)
    for name in decision.done[:_SHOWN]:
        out.say(name)
    if done > _SHOWN:
        out.say(f"… and {done - _SHOWN} more; --json names them.")
    out.say(f"Would be: {count(done, 'dead letter')} {decision.what}. {NOTHING_CHANGED}")
