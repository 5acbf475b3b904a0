"""`runs show` and `runs tenants`: one run with all that is known, and the tenants of its fan-out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from steadybeat.commands import completion
from steadybeat.commands.installed import installed
from steadybeat.commands.output import Output, json_option
from steadybeat.commands.output import as_json as plain
from steadybeat.commands.usage import Command


@click.command(cls=Command, epilog="Example: celery -A tasks runs show 019a1b7e-6c00-8d2f-9a3b-0c1d2e3f4a5b")
@click.argument("run", shell_complete=completion.run_ids)
@click.option("--watch", is_flag=True, help="Wait until it is over, and show meanwhile how far it is.")
@click.option(
    "--lines", type=click.IntRange(0, 10_000), default=50, show_default=True, help="How many of its lines, the latest."
)
@json_option
@click.pass_context
def show(ctx: click.Context, run: str, watch: bool, lines: int, as_json: bool) -> None:
    """Show everything about one run.

    That is its message, its attempts, and its last error with the stack; secrets in them are hidden. Of a run that has
    fanned out also how far its tenants are. RUN is its whole id, as `runs list` shows it.

    What it has logged is shown where steadybeat_log_lines_count says that such lines are kept.

    With --watch, exits with 1 if it ends as a dead letter.

    \b
    --json: every column of the run, "args", "kwargs", "embed", "key": {"state", "run", "changed_at"} or null,
            "attempts": [{"number", "instance", "host", "pid", "started_at", "finished_at", "outcome", "reason",
                          "error", "peak_memory_bytes"}],
            "reruns": [{"id", "state"}], "steps": [{"step", "state", "result", "run", "changed_at"}],
            "duplicates": [{"cause", "detail", "instance", "seen_at"}],
            "tenant": text or null, "of_fan_out": id or null,
            "lines": [{"at": instant, "level": text, "event": text, "fields": {…}}],
            "fan_out": null or {"task", "policy", "seed", "concurrency", "spread_seconds", "abort_count",
                "abort_share", "on_complete", "begun_at", "written_at", "total_count", "aborted_at", "abort_reason",
                "ended_at", "tenants_per_second", "expected_at",
                "counts": {"succeeded", "failed", "cancelled", "given_up", "running", "waiting", "skipped", "ended",
                    "total"}}
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    from steadybeat.commands.asked import run_of
    from steadybeat.commands.watching import watch as wait_for
    from steadybeat.ledger import Ledger
    from steadybeat.operating.fanned import fan_out_of
    from steadybeat.operating.whole import whole
    from steadybeat.telemetry.redaction import redact

    book, out = Ledger.of(installed(ctx)), Output(ctx)
    one = run_of(book, run)
    if watch:
        wait_for(None if as_json else out, book, str(one["id"]))
        one = run_of(book, run)
    found, fan_out = whole(book, one), fan_out_of(book, str(one["id"]))
    found["lines"] = book.lines.of(str(one["id"]), lines)
    shown = redact(plain(found), levels=12)
    if as_json:
        out.json({**shown, "fan_out": fan_out})
    else:
        _show(out, found, shown, fan_out)
    ctx.exit(1 if watch and found["state"] == "dead" else 0)


def _show(out: Output, found: dict[str, Any], shown: Any, fan_out: dict[str, Any] | None) -> None:
    from steadybeat.commands.progress import bar
    from steadybeat.commands.shown import ATTEMPT_COLUMNS, facts_of
    from steadybeat.operating.fanned import facts_of_fan_out
    from steadybeat.operating.whole import line_text

    facts = facts_of(found, shown)
    if fan_out is not None:
        facts += facts_of_fan_out(fan_out, datetime.now(UTC))
    out.facts(facts)
    if fan_out is not None and out.console is not None:
        out.console.print(bar(fan_out["counts"]["ended"], fan_out["counts"]["total"]))
    if found["attempts"]:
        out.say("")
        out.table(ATTEMPT_COLUMNS, found["attempts"])
    errors = [attempt["error"] for attempt in shown["attempts"] if attempt["error"]]
    error = shown["error"] or (errors[-1] if errors else None)
    if error:
        out.block("last error", error)
    if found["lines"]:
        out.block("lines", "\n".join(line_text(line) for line in shown["lines"]))


@click.command(
    cls=Command, epilog="Example: celery -A tasks runs tenants 019a1b7e-6c00-8d2f-9a3b-0c1d2e3f4a5b --state failed"
)
@click.argument("run", shell_complete=completion.fan_out_ids)
@click.option("--state", type=completion.TenantState(), help="Only those in this state; failed means dead.")
@click.option(
    "--after",
    metavar="TENANT",
    help="Only those behind this one, the last of the page before.",
    shell_complete=completion.tenant_names,
)
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="How many.")
@json_option
@click.pass_context
def tenants(ctx: click.Context, run: str, state: str | None, after: str | None, limit: int, as_json: bool) -> None:
    """List the tenants of a run that has fanned out.

    They come in the order of their turn; those that its policy left out come behind them, with the reason. RUN is its
    whole id, as `runs list` shows it.

    \b
    --json: [{"tenant": text, "run": id or null, "state": text, "reason", "in_line": bool, "attempt_count",
              "not_before", "started_at", "finished_at"}]
    """  # noqa: D301
    from steadybeat.commands.asked import run_of
    from steadybeat.commands.shown import TENANT_COLUMNS
    from steadybeat.ledger import Ledger
    from steadybeat.operating.fanned import fan_out_must_be, tenants_of
    from steadybeat.telemetry.redaction import redact

    book, out = Ledger.of(installed(ctx)), Output(ctx)
    fan_out = fan_out_must_be(book, run_of(book, run))
    found = tenants_of(book, fan_out, state=state, after=after, limit=limit)
    if as_json:
        out.json(redact(plain(found)))
    elif found:
        out.table(TENANT_COLUMNS, found)
        if len(found) == limit:
            out.say(f"There may be more: --after {found[-1]['tenant']!r}, or a higher --limit.", "dim")
    else:
        out.say("No such tenants." if state or after else "No tenants.")
