"""`runs cancel`: runs that are to end before their time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from steadybeat.commands import completion
from steadybeat.commands.installed import installed
from steadybeat.commands.narrowing import narrowed, run_options
from steadybeat.commands.output import Column, Output, count, json_option
from steadybeat.commands.usage import (
    NOTHING_CHANGED,
    Command,
    dry_run_option,
    reason_unless,
    reason_unless_dry,
)

if TYPE_CHECKING:
    from steadybeat.ledger import Ledger


@click.command(
    cls=Command, epilog="Example: celery -A tasks runs cancel --task tasks.royalties.settle --reason 'wrong tariff'"
)
@click.argument("run", nargs=-1, shell_complete=completion.open_run_ids)
@run_options
@click.option("--terminate", is_flag=True, help="Also end the process of work that does not stop by itself.")
@dry_run_option
@reason_unless_dry
@json_option
@click.pass_context
def cancel(
    ctx: click.Context, /, run: tuple[str, ...], terminate: bool, dry_run: bool, as_json: bool, **given: Any
) -> None:
    """End runs before their time.

    They are those with the ids RUN, or all that have not ended and fit every option that is given. What waits ends at
    once, also while no worker is up. A task that iterates stops within two seconds, and keeps what it has done; another
    goes on unless --terminate is given. Of a run that has fanned out the tenants in line are cancelled with it, and
    those at work are told to stop.

    Exits with 1 if a run that was named had ended before.

    \b
    --json: {"cancelled": [id, …], "asked": [id, …], "ended_before": [id, …], "text": text,
             "tenants": {"cancelled_count", "asked_count", "left_count"} or null};
            with --dry-run {"runs": [id, …], "cancelled": [id, …], "asked": [id, …], "ended_before": [id, …],
             "tenant_count": number, "text": text}
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    from steadybeat.commands.asked import chosen, must_be_known
    from steadybeat.commands.progress import Progress
    from steadybeat.ledger import Ledger
    from steadybeat.operating import cancel as asking
    from steadybeat.operating.rerun import who

    reason = reason_unless(dry_run, given.pop("reason"), "the tariff was wrong")
    app = installed(ctx)
    book = Ledger.of(app)
    wanted = chosen(book, run, narrowed(book, given))
    if not wanted:
        must_be_known(app, book, task=given["task"], service=given["service"])
    out = Output(ctx)
    if dry_run:
        is_over = _foretell(out, book, wanted, as_json)
        ctx.exit(1 if run and is_over else 0)
    by = {"by": who(), "reason": reason}
    with Progress.quiet(None if as_json else out, "cancelling", len(wanted)) as progress:
        answer = asking.cancel(book, wanted, **by, terminate=terminate, tell=progress.advance)
    wound = asking.wind_down(app, book, answer.ended, **by, terminate=terminate)
    text = answer.text(terminate=terminate) + ("" if wound is None else f" {wound.text()}")
    if as_json:
        tenants = None if wound is None else wound.counts()
        done = {"cancelled": answer.ended, "asked": answer.asked, "ended_before": answer.over}
        out.json({**done, "text": text, "tenants": tenants})
    else:
        out.say(text, "yellow" if answer.over else "green")
    ctx.exit(1 if run and answer.over else 0)


def _foretell(out: Output, book: Ledger, wanted: list[str], as_json: bool) -> bool:
    """Say what would become of runs; return whether one of them has ended before."""
    found = book.cancelling.would_be(wanted)
    by_fate = {
        fate: [str(each["id"]) for each in found if _fate(each) == fate]
        for fate in ("cancelled", "told to stop", "over")
    }
    tenant_count = sum(each["tenant_count"] for each in found)
    said = [f"{len(by_fate['cancelled']):,} cancelled", f"{len(by_fate['told to stop']):,} told to stop"]
    said += [f"{len(by_fate['over']):,} had ended before"] if by_fate["over"] else []
    said += [f"{count(tenant_count, 'tenant')} ended with them"] if tenant_count else []
    text = f"Would be: {', '.join(said)}. {NOTHING_CHANGED}" if found else f"No such runs. {NOTHING_CHANGED}"
    if as_json:
        fates = {"cancelled": by_fate["cancelled"], "asked": by_fate["told to stop"], "ended_before": by_fate["over"]}
        out.json({"runs": wanted, **fates, "tenant_count": tenant_count, "text": text})
        return bool(by_fate["over"])
    if found:
        out.table(_COLUMNS, found)
    out.say(text)
    return bool(by_fate["over"])


def _fate(row: Mapping[str, Any]) -> str:
    return "over" if row["is_over"] else "told to stop" if row["under_way"] else "cancelled"


_COLUMNS = [
    Column(title="run", value=lambda row: str(row["id"])),
    Column(title="task", value=lambda row: row["task"]),
    Column(title="state", value=lambda row: row["state"]),
    Column(title="would be", value=_fate),
    Column(title="tenants", value=lambda row: f"{row['tenant_count']:,}" if row["tenant_count"] else "", right=True),
]
