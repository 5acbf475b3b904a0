"""`celery -A … runs`: what ran, and why a fire had no effect."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from steadybeat.commands import completion
from steadybeat.commands.ending import cancel
from steadybeat.commands.installed import installed
from steadybeat.commands.looking import show, tenants
from steadybeat.commands.narrowing import narrowed, run_options
from steadybeat.commands.output import Output, json_option, nominal
from steadybeat.commands.output import as_json as plain
from steadybeat.commands.rerunning import rerun
from steadybeat.commands.usage import Group
from steadybeat.errors import ConfigurationError

if TYPE_CHECKING:
    from steadybeat.commands.why import Answer
    from steadybeat.ledger import Ledger


@click.group(cls=Group, epilog="Example: celery -A tasks runs why tasks.royalties.settle last")
def runs() -> None:
    """Show what ran, say why a fire did not, rerun, cancel."""


for _command in (cancel, rerun, show, tenants):
    runs.add_command(_command)


@runs.command("list", epilog="Example: celery -A tasks runs list --service royalties --state dead --since 2h")
@run_options
@click.option(
    "--after",
    metavar="RUN",
    help="Only those behind this one, the last of the page before.",
    shell_complete=completion.run_ids,
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many.")
@json_option
@click.pass_context
def list_(ctx: click.Context, /, after: str | None, limit: int, as_json: bool, **given: Any) -> None:
    """List runs, those that were sent last first.

    Of a schedule, those of its latest fires come first.

    \b
    --json: [{"id", "task", "service", "state", "reason", "schedule", "scheduled_for", "tenant",
              "of_fan_out": id or null, "attempt_count", "enqueued_at", "started_at", "finished_at", "error"}]
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    from steadybeat.commands.asked import must_be_known, run_of
    from steadybeat.commands.shown import LIST_COLUMNS
    from steadybeat.ledger import Ledger
    from steadybeat.ledger.search import Wanted
    from steadybeat.telemetry.redaction import redact

    app = installed(ctx)
    book, out = Ledger.of(app), Output(ctx)
    wanted = narrowed(book, given)
    behind = None if after is None else str(run_of(book, after)["id"])
    found = book.search.runs(Wanted(**wanted), after=behind, limit=limit)
    if not found and after is None:
        must_be_known(app, book, task=given["task"], service=given["service"])
    if as_json:
        out.json(redact(plain(found)))
    elif found:
        out.table(LIST_COLUMNS, found)
        if len(found) == limit:
            out.hint(f"There may be more: --after {found[-1]['id']}, or a higher --limit.")
    else:
        out.say("No such runs." if wanted or after else "No runs yet.")


@runs.command(epilog="Example: celery -A tasks runs why tasks.royalties.settle 2026-11-22T06:00:00Z")
@click.argument("schedule", shell_complete=completion.schedules_and_runs)
@click.argument("at", nargs=-1, shell_complete=completion.instants)
@json_option
@click.pass_context
def why(ctx: click.Context, schedule: str, at: tuple[str, ...], as_json: bool) -> None:
    """Say what became of a fire, past or future, or of a run.

    It is the fire of SCHEDULE at the instant AT: its nominal time with a time zone, such as 2026-11-22T06:00:00Z;
    or `now`, the fire whose nominal time came last; `last`, the one that was due last, which is meant where AT is left
    out; `next`, the one that comes next. In the place of both, the id of a run.

    Exits with 1 if the fire or the run has no effect and, as things stand, gets none.

    \b
    --json: {"schedule": text or null, "at": instant or null, "verdict": text, "effect": bool,
             "effect_at": instant or null, "due_at": instant or null, "sentences": [text, …],
             "nearest": [instant, …], "fire": {…} or null, "run": {…} or null}
    """  # noqa: D301
    from steadybeat.ledger import Ledger
    from steadybeat.telemetry.redaction import redact, redact_text

    book, now = Ledger.of(installed(ctx)), datetime.now(UTC)
    subject, found, document = _answered(book, schedule, " ".join(at), now)
    out = Output(ctx)
    if as_json:
        out.json(redact(plain(document), levels=12))
    else:
        out.say(f"{subject}: {found.verdict}", "bold red" if found.is_finding else "bold")
        for sentence in found.sentences:
            out.say(redact_text(sentence))
    ctx.exit(1 if found.is_finding else 0)


def _answered(book: Ledger, name: str, at: str, now: datetime) -> tuple[str, Answer, dict[str, Any]]:
    """Return what is asked about, the answer, and the same for JSON."""
    from steadybeat.commands.asked import gather, instant_of, is_id, run_of, schedule_of, why_run
    from steadybeat.commands.why import answer

    run = run_of(book, name) if is_id(name) else None
    if run is not None and at:
        raise ConfigurationError(f"AT={at!r}: a run has one time only; leave it out, or name a schedule.", at=at)
    if run is not None and (run["schedule"] is None or run["rerun_of"] is not None):
        found = why_run(book, run, now)
        return f"run {run['id']} of {run['task']}", found, _document(found, None, None, None, run)
    if run is not None:
        row, instant = schedule_of(book, run["schedule"]), run["scheduled_for"]
    else:
        row = schedule_of(book, name)
        instant = instant_of(at or "last", row, now)
    facts = gather(book, row, instant, now)
    found = answer(facts)
    subject = f"{row['name']} at {nominal(instant)}"
    return subject, found, _document(found, row["name"], instant, facts.fire, facts.run)


def _document(found: Answer, schedule: str | None, at: datetime | None, fire: Any, run: Any) -> dict[str, Any]:
    return {
        "schedule": schedule,
        "at": at,
        "verdict": found.verdict,
        "effect": found.effect_at is not None,
        "effect_at": found.effect_at,
        "due_at": found.due_at,
        "sentences": found.sentences,
        "nearest": found.nearest,
        "fire": fire,
        "run": run and {name: value for name, value in run.items() if name not in ("body", "message")},
    }
