"""`runs rerun`: what has ended, again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from steadybeat.commands import completion
from steadybeat.commands.installed import installed
from steadybeat.commands.output import Output, count, json_option
from steadybeat.commands.usage import (
    NOTHING_CHANGED,
    Command,
    dry_run_option,
    reason_unless,
    reason_unless_dry,
)
from steadybeat.errors import ConfigurationError

if TYPE_CHECKING:
    from steadybeat.ledger import Ledger


@click.command(
    cls=Command,
    epilog="Example: celery -A tasks runs rerun 019a1b7e-6c00-8d2f-9a3b-0c1d2e3f4a5b --reason 'bank is back'",
)
@click.argument("run", shell_complete=completion.ended_run_ids)
@click.option("--again", is_flag=True, help="Also if the effect has happened: let it happen a second time.")
@click.option("--force", is_flag=True, help="With --again: also if the task is critical.")
@click.option(
    "--only",
    type=click.Choice(["failed", "cancelled"]),
    multiple=True,
    help="Not the run itself, but those of its tenants; may be given twice.",
)
@dry_run_option
@reason_unless_dry
@json_option
@click.pass_context
def rerun(ctx: click.Context, /, run: str, as_json: bool, **given: Any) -> None:
    """Run again what has ended.

    A new run is made of the old RUN, with its arguments, its queue and what follows it. It has the old one's
    idempotency key, so that an effect that has happened does not happen again.

    With --only, a RUN that has fanned out goes on with its tenants that failed, or were cancelled by an abort or with
    it: they are in line again, each as the run that it was, and the others are left alone.

    Exits with 1 if the old run, or another for the same key, has not ended.

    \b
    --json: {"dry_run": bool, "verdict": "sent" | "done" | "open", "text": text, "run": id or null, "rerun_of": id,
             "idempotency_key": text, "effect_at": instant or null, "effect_run": id or null};
            with --only {"dry_run": bool, "verdict": "in_line" | "none", "text": text, "run": id,
             "tenant_count": number}
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    from steadybeat.commands.asked import run_of
    from steadybeat.ledger import Ledger
    from steadybeat.operating import rerun as again_

    dry_run, again, force = given["dry_run"], given["again"], given["force"]
    reason = reason_unless(dry_run, given["reason"], "the bank is back")
    if given["only"]:
        _go_on(ctx, run, reason, given, as_json)
        return
    app = installed(ctx, tasks=True)
    book, out = Ledger.of(app), Output(ctx)
    old = run_of(book, run)
    again_.check_task(app, old, again=again, force=force)
    found, new, key = again_.standing(book, old, again=again), None, old["idempotency_key"]
    if found is None:
        key = again_.key_of(book.story, old, again=again)
        new = None if dry_run else again_.send(app, old, key=key, by=again_.who(), reason=reason)
        found = again_.Standing("sent", _said(new, old))
    if as_json:
        out.json({
            "dry_run": dry_run,
            "verdict": found.verdict,
            "text": found.text,
            "run": new,
            "rerun_of": old["id"],
            "idempotency_key": key,
            "effect_at": found.effect_at,
            "effect_run": found.effect_run,
        })  # fmt: skip
    else:
        out.say(found.text, {"sent": "" if dry_run else "green", "open": "yellow"}.get(found.verdict, ""))
        _warn(out, book, old["queue"] if found.verdict == "sent" else None)
    ctx.exit(1 if found.verdict == "open" else 0)


def _said(new: str | None, old: Mapping[str, Any]) -> str:
    if new is None:
        what = f"run {old['id']} of {old['task']} run again, as a new one on queue {old['queue']}"
        return f"Would be: {what}. {NOTHING_CHANGED}"
    return f"Run {new} is on its way to queue {old['queue']}."


def _warn(out: Output, book: Ledger, queue: str | None) -> None:
    from steadybeat.commands.consuming import unread

    doubt = unread(book, queue) if queue is not None else ""
    if doubt:
        out.say(doubt, "yellow")


def _go_on(ctx: click.Context, run: str, reason: str, given: Mapping[str, Any], as_json: bool) -> None:
    """Have a fan-out go on with tenants that have ended without success."""
    from steadybeat.commands.asked import run_of
    from steadybeat.ledger import Ledger
    from steadybeat.operating import rerun as again_

    only, dry_run = given["only"], given["dry_run"]
    if given["again"] or given["force"]:
        raise ConfigurationError(
            "--only: excludes --again and --force; tenants go on under their own keys, so that no effect of theirs"
            " happens twice."
        )
    book = Ledger.of(installed(ctx))
    one = run_of(book, run)
    if dry_run:
        number = again_.would_go_on(book, one, only)
    else:
        number = again_.go_on(book, one, only, by=again_.who(), reason=reason)
    text = again_.told_of_tenants(str(one["id"]), only, number)
    if dry_run and number:
        text = f"Would be: {count(number, 'tenant')} of run {one['id']} in line again. {NOTHING_CHANGED}"
    out = Output(ctx)
    if as_json:
        verdict = "in_line" if number else "none"
        document = {"dry_run": dry_run, "verdict": verdict, "text": text, "run": one["id"], "tenant_count": number}
        out.json(document)
        return
    out.say(text, "green" if number and not dry_run else "")
    if number and not dry_run:
        out.say(f"Follow it: celery -A … runs show {one['id']} --watch")
