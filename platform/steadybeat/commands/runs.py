"""`celery -A … runs`: what ran, why a fire had no effect, running it again, and ending it before its time."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from steadybeat.commands import completion
from steadybeat.commands.installed import installed
from steadybeat.commands.looking import show, tenants
from steadybeat.commands.output import Output, json_option, nominal
from steadybeat.commands.output import as_json as plain
from steadybeat.commands.usage import Group, reason_given
from steadybeat.errors import ConfigurationError


@click.group(cls=Group, epilog="Example: celery -A tasks runs why tasks.royalties.settle last")
def runs() -> None:
    """Show what ran, say why a fire did not, rerun, cancel."""


runs.add_command(show)
runs.add_command(tenants)


@runs.command("list", epilog="Example: celery -A tasks runs list --service royalties --state dead")
@click.option("--task", help="Only runs of this task.", shell_complete=completion.task_names)
@click.option("--service", help="Only runs of this service's tasks.", shell_complete=completion.service_names)
@click.option("--schedule", help="Only runs of this schedule's fires.", shell_complete=completion.schedule_names)
@click.option("--state", type=completion.RunState(), help="Only runs in this state.")
@click.option("--tenant", help="Only runs for this tenant.")
@click.option(
    "--fan-out", metavar="RUN", help="Only runs of this fan-out's tenants.", shell_complete=completion.fan_out_ids
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many.")
@json_option
@click.pass_context
def list_(
    ctx: click.Context,
    task: str | None,
    service: str | None,
    schedule: str | None,
    state: str | None,
    tenant: str | None,
    fan_out: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List runs, those that were sent last first.

    \b
    --json: [{"id", "task", "service", "state", "reason", "schedule", "scheduled_for", "tenant",
              "of_fan_out": id or null, "attempt_count", "enqueued_at", "started_at", "finished_at", "error"}]
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    from steadybeat.commands.asked import id_given, must_be_known, schedule_of
    from steadybeat.commands.shown import LIST_COLUMNS
    from steadybeat.ledger import Ledger
    from steadybeat.telemetry.redaction import redact

    app = installed(ctx)
    book = Ledger.of(app)
    if schedule is not None:
        schedule_of(book, schedule)
    given = {"task": task, "service": service, "schedule": schedule, "state": state}
    whole = None if fan_out is None else id_given(fan_out, "--fan-out")
    found = book.story.runs(**given, tenant=tenant, fan_out=whole, limit=limit)
    if not found:
        must_be_known(app, book, task=task, service=service)
    out = Output(ctx)
    if as_json:
        out.json(redact(plain(found)))
    elif found:
        out.table(LIST_COLUMNS, found)
    else:
        out.say("No such runs." if any((*given.values(), tenant, fan_out)) else "No runs yet.")


@runs.command(epilog="Example: celery -A tasks runs why tasks.royalties.settle 2026-11-22T06:00:00Z")
@click.argument("schedule", shell_complete=completion.schedule_names)
@click.argument("at", nargs=-1, required=True, shell_complete=completion.instants)
@json_option
@click.pass_context
def why(ctx: click.Context, schedule: str, at: tuple[str, ...], as_json: bool) -> None:
    """Say what became of a fire, past or future.

    It is the fire of SCHEDULE at the instant AT: its nominal time with a time zone, such as 2026-11-22T06:00:00Z;
    or `now`, the fire whose nominal time came last; `last`, the one that was due last; `next`, the one that comes
    next.

    Exits with 1 if the fire has no effect and, as things stand, gets none.

    \b
    --json: {"schedule": text, "at": instant, "verdict": text, "effect": bool, "effect_at": instant or null,
             "due_at": instant or null, "sentences": [text, …], "nearest": [instant, …],
             "fire": {…} or null, "run": {…} or null}
    """  # noqa: D301
    from steadybeat.commands.asked import gather, instant_of, schedule_of
    from steadybeat.commands.why import answer
    from steadybeat.ledger import Ledger
    from steadybeat.telemetry.redaction import redact, redact_text

    book = Ledger.of(installed(ctx))
    row = schedule_of(book, schedule)
    now = datetime.now(UTC)
    instant = instant_of(" ".join(at), row, now)
    facts = gather(book, row, instant, now)
    found = answer(facts)
    out = Output(ctx)
    if as_json:
        document = {
            "schedule": schedule,
            "at": instant,
            "verdict": found.verdict,
            "effect": found.effect_at is not None,
            "effect_at": found.effect_at,
            "due_at": found.due_at,
            "sentences": found.sentences,
            "nearest": found.nearest,
            "fire": facts.fire,
            "run": facts.run and {name: value for name, value in facts.run.items() if name not in ("body", "message")},
        }
        out.json(redact(plain(document), levels=12))
    else:
        out.say(f"{schedule} at {nominal(instant)}: {found.verdict}", "bold red" if found.is_finding else "bold")
        for sentence in found.sentences:
            out.say(redact_text(sentence))
    ctx.exit(1 if found.is_finding else 0)


@runs.command(epilog="Example: celery -A tasks runs rerun 019a1b7e-6c00-8d2f-9a3b-0c1d2e3f4a5b --reason 'bank is back'")
@click.argument("run", shell_complete=completion.ended_run_ids)
@click.option("--reason", required=True, help="Why; it is written down with your name.")
@click.option("--again", is_flag=True, help="Also if the effect has happened: let it happen a second time.")
@click.option("--force", is_flag=True, help="With --again: also if the task is critical.")
@click.option(
    "--only",
    type=click.Choice(["failed", "cancelled"]),
    multiple=True,
    help="Not the run itself, but those of its tenants; may be given twice.",
)
@json_option
@click.pass_context
def rerun(
    ctx: click.Context, run: str, reason: str, again: bool, force: bool, only: tuple[str, ...], as_json: bool
) -> None:
    """Run again what has ended.

    A new run is made of the old RUN, with its arguments, its queue and what follows it. It has the old one's
    idempotency key, so that an effect that has happened does not happen again.

    With --only, a RUN that has fanned out goes on with its tenants that failed, or were cancelled by an abort or with
    it: they are in line again, each as the run that it was, and the others are left alone.

    Exits with 1 if the old run, or another for the same key, has not ended.

    \b
    --json: {"verdict": "sent" | "done" | "open", "text": text, "run": id or null, "rerun_of": id,
             "idempotency_key": text, "effect_at": instant or null, "effect_run": id or null};
            with --only {"verdict": "in_line" | "none", "text": text, "run": id, "tenant_count": number}
    """  # noqa: D301
    from steadybeat.commands import rerun as again_
    from steadybeat.commands.asked import run_of
    from steadybeat.ledger import Ledger

    reason = reason_given(reason, "the bank is back")
    if only:
        _go_on(ctx, run, reason, only, again=again or force, as_json=as_json)
        return
    app = installed(ctx, tasks=True)
    story = Ledger.of(app).story
    old = run_of(Ledger.of(app), run)
    again_.check_task(app, old, again=again, force=force)
    found, new, key = again_.standing(Ledger.of(app), old, again=again), None, old["idempotency_key"]
    if found is None:
        key = again_.key_of(story, old, again=again)
        new = again_.send(app, old, key=key, reason=reason)
        found = again_.Standing("sent", f"Run {new} is on its way to queue {old['queue']}.")
    out = Output(ctx)
    if as_json:
        out.json({
            "verdict": found.verdict,
            "text": found.text,
            "run": new,
            "rerun_of": old["id"],
            "idempotency_key": key,
            "effect_at": found.effect_at,
            "effect_run": found.effect_run,
        })  # fmt: skip
    else:
        out.say(found.text, {"sent": "green", "open": "yellow"}.get(found.verdict, ""))
    ctx.exit(1 if found.verdict == "open" else 0)


def _go_on(ctx: click.Context, run: str, reason: str, only: tuple[str, ...], *, again: bool, as_json: bool) -> None:
    """Have a fan-out go on with tenants that have ended without success."""
    from steadybeat.commands import rerun as again_
    from steadybeat.commands.asked import run_of
    from steadybeat.ledger import Ledger

    if again:
        raise ConfigurationError(
            "--only: excludes --again and --force; tenants go on under their own keys, so that no effect of theirs"
            " happens twice."
        )
    book = Ledger.of(installed(ctx))
    one = run_of(book, run)
    number = again_.go_on(book, one, only, reason)
    text = again_.told_of_tenants(str(one["id"]), only, number)
    out = Output(ctx)
    if as_json:
        verdict = "in_line" if number else "none"
        out.json({"verdict": verdict, "text": text, "run": one["id"], "tenant_count": number})
        return
    out.say(text, "green" if number else "")
    if number:
        out.say(f"Follow it: celery -A … runs show {one['id']} --watch")


@runs.command(epilog="Example: celery -A tasks runs cancel --task tasks.royalties.settle --reason 'wrong tariff'")
@click.argument("run", nargs=-1, shell_complete=completion.open_run_ids)
@click.option("--task", help="Every run of this task that has not ended.", shell_complete=completion.task_names)
@click.option("--service", help="Every one of this service's tasks.", shell_complete=completion.service_names)
@click.option("--schedule", help="Every one of this schedule's fires.", shell_complete=completion.schedule_names)
@click.option("--state", type=completion.RunState(), help="Every one in this state.")
@click.option("--reason", required=True, help="Why; it is written down with your name.")
@click.option("--terminate", is_flag=True, help="Also end the process of work that does not stop by itself.")
@click.option("--dry-run", is_flag=True, help="Only say which they are.")
@json_option
@click.pass_context
def cancel(
    ctx: click.Context,
    run: tuple[str, ...],
    task: str | None,
    service: str | None,
    schedule: str | None,
    state: str | None,
    reason: str,
    terminate: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """End runs before their time.

    They are those with the ids RUN, or all that fit every filter that is given. What waits ends at once, also while no
    worker is up. A task that iterates stops within two seconds, and keeps what it has done; another goes on unless
    --terminate is given. Of a run that has fanned out the tenants in line are cancelled with it, and those at work are
    told to stop.

    Exits with 1 if a run that was named had ended before.

    \b
    --json: {"cancelled": [id, …], "asked": [id, …], "ended_before": [id, …], "text": text,
             "tenants": {"cancelled_count", "asked_count", "left_count"} or null};
            with --dry-run {"runs": [id, …], "text": text}
    """  # noqa: D301
    from steadybeat.commands import cancel as asking
    from steadybeat.commands.asked import must_be_known, schedule_of
    from steadybeat.ledger import Ledger

    reason = reason_given(reason, "the tariff was wrong")
    app = installed(ctx)
    book = Ledger.of(app)
    if schedule is not None:
        schedule_of(book, schedule)
    wanted = asking.chosen(book, run, task=task, service=service, schedule=schedule, state=state)
    if not wanted:
        must_be_known(app, book, task=task, service=service)
    out = Output(ctx)
    if dry_run:
        text = f"{len(wanted)} runs would be cancelled."
        if as_json:
            out.json({"runs": wanted, "text": text})
        else:
            for each in wanted:
                out.say(each)
            out.say(text)
        return
    answer = asking.cancel(book, wanted, reason, terminate=terminate)
    wound = asking.wind_down(app, book, answer.ended, reason, terminate=terminate)
    text = answer.text(terminate=terminate) + ("" if wound is None else f" {wound.text()}")
    if as_json:
        tenants = None if wound is None else wound.counts()
        done = {"cancelled": answer.ended, "asked": answer.asked, "ended_before": answer.over}
        out.json({**done, "text": text, "tenants": tenants})
    else:
        out.say(text, "yellow" if answer.over else "green")
    ctx.exit(1 if run and answer.over else 0)
