"""`celery -A … dead`: what has given up and waits for a person: to look at, to try again, to end for good."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from steadybeat.commands import completion
from steadybeat.commands.burying import discard, requeue
from steadybeat.commands.installed import installed
from steadybeat.commands.letters import Filters, filters
from steadybeat.commands.output import Output, json_option
from steadybeat.commands.output import as_json as plain
from steadybeat.commands.usage import Group


@click.group(cls=Group, epilog="Example: celery -A tasks dead list --service royalties --since 2h")
def dead() -> None:
    """Show dead letters, try them again, end them."""


dead.add_command(requeue)
dead.add_command(discard)


@dead.command("list", epilog="Example: celery -A tasks dead list --service royalties --since 2h --error timeout")
@filters
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many.")
@json_option
@click.pass_context
def list_(ctx: click.Context, /, limit: int, as_json: bool, **given: Any) -> None:
    """List dead letters, those that died last first.

    These are runs that have given up, and messages that nobody could read (foreign:N). The cause says how the last
    attempt of a run ended; a run is unstarted where none began, as of a task that no worker has.

    \b
    --json: [{"id": text, "kind": "run" | "foreign", "task", "service", "queue", "cause", "reason", "schedule",
              "scheduled_for", "tenant", "of_fan_out": id or null, "attempt_count", "died_at": instant, "error"}]
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    from steadybeat.commands.letters import COLUMNS, found
    from steadybeat.telemetry.redaction import redact

    letters = found(installed(ctx), Filters(**given), limit=limit)
    out = Output(ctx)
    if as_json:
        out.json(redact(plain(letters)))
    elif letters:
        out.table(COLUMNS, letters)
    else:
        out.say("No such dead letters." if any(given.values()) else "No dead letters.")


@dead.command(epilog="Example: celery -A tasks dead show 019a1b7e-6c00-8d2f-9a3b-0c1d2e3f4a5b")
@click.argument("run", shell_complete=completion.dead_ids)
@json_option
@click.pass_context
def show(ctx: click.Context, run: str, as_json: bool) -> None:
    """Show everything about one dead letter.

    RUN is the whole id of a run, or foreign:N, as `dead list` shows them. Of a run these are its message and every
    attempt with its error and stack; of a foreign message the beginning of its bytes, in a form that harms no
    terminal. Secrets in them are hidden.

    \b
    --json: {"kind": "run", …} with what `runs show` prints; or {"kind": "foreign", "id", "queue", "reason",
            "seen_at": instant, "run": id or null, "size_bytes": count, "raw": text}
    """  # noqa: D301
    from steadybeat.commands.letters import foreign_of, number_of, run_of_letter
    from steadybeat.ledger import Ledger

    book, out = Ledger.of(installed(ctx)), Output(ctx)
    number = number_of(run)
    if number is None:
        _show_run(out, book, run_of_letter(book, run), as_json)
    else:
        _show_foreign(out, foreign_of(book, number), as_json)


def _show_run(out: Output, book: Any, found: dict[str, Any], as_json: bool) -> None:
    from steadybeat.commands.shown import ATTEMPT_COLUMNS, facts_of
    from steadybeat.operating.whole import whole
    from steadybeat.telemetry.redaction import redact, redact_text

    found = whole(book, found)
    shown = redact(plain(found), levels=12)
    if as_json:
        out.json({"kind": "run", **shown})
        return
    out.facts(facts_of(found, shown))
    if found["attempts"]:
        out.say("")
        out.table(ATTEMPT_COLUMNS, found["attempts"])
    for attempt in found["attempts"]:
        if attempt["error"]:
            out.block(f"attempt {attempt['number']}", redact_text(attempt["error"]))


def _show_foreign(out: Output, found: dict[str, Any], as_json: bool) -> None:
    from steadybeat.commands.output import moment
    from steadybeat.operating.burying import raw_text
    from steadybeat.telemetry.redaction import redact_text

    seen_at: datetime = found["seen_at"]
    document = {
        "kind": "foreign",
        "id": f"foreign:{found['id']}",
        "queue": found["queue"],
        "reason": redact_text(found["reason"]),
        "seen_at": seen_at,
        "run": found["run"],
        "size_bytes": len(found["raw"]),
        "raw": raw_text(bytes(found["raw"])),
    }
    if as_json:
        out.json(document)
        return
    out.facts([
        ("message", str(document["id"])),
        ("queue", found["queue"]),
        ("reason", str(document["reason"])),
        ("seen", moment(seen_at)),
        ("run", str(found["run"] or "")),
        ("size", f"{document['size_bytes']} bytes"),
    ])  # fmt: skip
    out.block("raw", str(document["raw"]))
