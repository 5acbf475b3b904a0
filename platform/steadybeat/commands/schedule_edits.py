"""`schedules add`, `pause`, `resume` and `remove`: what a person changes, on record with name and reason."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from steadybeat.commands import completion
from steadybeat.commands.installed import installed
from steadybeat.commands.output import Output, count, json_option, moment, nominal
from steadybeat.commands.rules import policies_of, policy_options, rule_of, rule_options
from steadybeat.commands.usage import (
    NOTHING_CHANGED,
    Command,
    dry_run_option,
    reason_given,
    reason_unless,
    reason_unless_dry,
)
from steadybeat.commands.values import Json
from steadybeat.errors import ConfigurationError

if TYPE_CHECKING:
    from steadybeat.ledger.rows import ScheduleRow

reason_option = click.option("--reason", required=True, help="Why; it is written down with your name.")
revision_option = click.option(
    "--revision",
    type=click.IntRange(0),
    metavar="N",
    help="Only if it is still at this revision, as `schedules show` says.",
)


@click.command(
    cls=Command,
    epilog="Example: celery -A tasks schedules add often --task tasks.search.index --cron '*/5 * * * *' --reason sale",
)
@click.argument("name", shell_complete=completion.schedule_names)
@click.option("--task", help="The task that it starts.", shell_complete=completion.task_names)
@rule_options
@click.option("--args", type=Json(list, "[42]"), metavar="JSON", help="Arguments of the task, a list.")
@click.option("--kwargs", type=Json(dict, '{"id": 42}'), metavar="JSON", help="Its keyword arguments, an object.")
@click.option(
    "--options", type=Json(dict, '{"priority": 3}'), metavar="JSON", help="Options of apply_async, an object."
)
@policy_options
@reason_option
@revision_option
@dry_run_option
@json_option
@click.pass_context
def add(ctx: click.Context, /, name: str, reason: str, as_json: bool, **given: Any) -> None:
    """Add a schedule, or change one.

    A new one needs a task and a rule. Of one that is there, what is not named stays as it is: NAME and --jitter 1m
    change the jitter and nothing else. From then on it is an operator's: deploys leave it alone until
    `schedules remove`.

    Exits with 1 if somebody has changed it meanwhile.

    \b
    --json: {"schedule": text, "verb": "added" | "changed" | "unchanged", "dry_run": bool, "revision": n,
             "changes": [text, …], "cautions": [text, …], "before": schedule or null, "after": schedule}
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    from steadybeat import schedules
    from steadybeat.beat.definitions import definition
    from steadybeat.operating.rerun import who
    from steadybeat.schedule import from_json

    app = installed(ctx, tasks=True)
    reason = reason_given(reason, "they have signed up")
    before = schedules.get(name, app=app)
    entry = _entry(name, before, given)
    after = definition(app, name, entry)
    assert after is not None
    seen = (before.revision if before else 0) if given["revision"] is None else given["revision"]
    verb, revision = _would_be(before, after), seen
    if not given["dry_run"]:
        edit = schedules.put(name, **entry, reason=reason, who=who(), revision=seen, app=app)
        verb, revision = edit.verb, edit.revision
    _answer_add(
        Output(ctx),
        as_json,
        verb=verb,
        revision=revision,
        dry_run=given["dry_run"],
        before=before,
        after=after,
        cautions=from_json(after.spec).cautions(),
    )


def _entry(name: str, before: ScheduleRow | None, given: dict[str, Any]) -> dict[str, Any]:
    """Return the definition that is wanted: what was there, and what is given instead."""
    from steadybeat.schedule import from_json
    from steadybeat.schedule.policies import policies_from_json

    rule = rule_of(given)
    if before is None:
        for option, value in (
            ("--task, such as --task tasks.mail.digest", given["task"]),
            ("a rule, such as --every 5m", rule),
        ):
            if value is None:
                raise ConfigurationError(
                    f"schedule {name!r}: is not there yet; to add it give {option}.", schedule=name
                )
    parts = {part: getattr(before, part) if given[part] is None and before else given[part] for part in _PARTS}
    entry = {part: value for part, value in parts.items() if value is not None}
    entry["schedule"] = rule if rule is not None or before is None else from_json(before.spec)
    return entry | policies_of(given, policies_from_json(before.policies) if before else None)


_PARTS = ("task", "args", "kwargs", "options")


def _would_be(before: ScheduleRow | None, after: ScheduleRow) -> str:
    if before is None:
        return "added"
    return "changed" if _fields(before, after) else "unchanged"


def _fields(before: ScheduleRow, after: ScheduleRow) -> tuple[str, ...]:
    from steadybeat.ledger.rows import DEFINED

    return tuple(name for name in DEFINED if getattr(before, name) != getattr(after, name))


def _answer_add(
    out: Output,
    as_json: bool,
    *,
    verb: str,
    revision: int,
    dry_run: bool,
    before: ScheduleRow | None,
    after: ScheduleRow,
    cautions: list[str],
) -> None:
    from steadybeat.commands.schedules import defined, differences
    from steadybeat.ledger.schedules import Change
    from steadybeat.telemetry.redaction import redact, redact_text

    fields = _fields(before, after) if before else ()
    changes = [] if verb == "unchanged" else differences(before, after, Change(after.name, verb, fields))
    if as_json:
        document = {"schedule": after.name, "verb": verb, "dry_run": dry_run, "revision": revision, "changes": changes}
        document |= {"cautions": cautions, "before": defined(before), "after": defined(after)}
        out.json(redact(document, levels=12))
        return
    if verb == "unchanged":
        out.say(f"Nothing to do: {after.name} is defined so already.")
    else:
        nothing = f" {NOTHING_CHANGED}" if dry_run else f" It is at revision {revision}."
        out.say(f"{f'Would be {verb}' if dry_run else verb.capitalize()}: {after.name}.{nothing}")
        for line in changes:
            out.say(redact_text(line))
    for text in cautions:
        out.say(text, "yellow")


@click.command(
    cls=Command, epilog="Example: celery -A tasks schedules pause clear-sessions --reason 'the bank is away'"
)
@click.argument("name", shell_complete=completion.schedule_names)
@reason_option
@revision_option
@json_option
@click.pass_context
def pause(ctx: click.Context, name: str, reason: str, revision: int | None, as_json: bool) -> None:
    """Have a schedule skip its fires.

    Each fire of NAME that comes due is skipped, on record with your name and reason, until `schedules resume`. Runs
    that were sent go on, and `schedules trigger` works. A deploy does not end a pause.

    Exits with 1 if somebody has changed it meanwhile (--revision).

    \b
    --json: {"schedule": text, "verb": "paused" | "unchanged", "paused": {"at", "by", "reason"}, "revision": n}
    """  # noqa: D301
    from steadybeat import schedules
    from steadybeat.commands.asked import present
    from steadybeat.ledger import Ledger
    from steadybeat.operating.rerun import who

    app = installed(ctx)
    reason = reason_given(reason, "the bank is away")
    present(Ledger.of(app), name)
    is_new = schedules.pause(name, reason=reason, who=who(), revision=revision, app=app)
    row, out = present(Ledger.of(app), name), Output(ctx)
    since = f"paused by {row['paused_by']} at {moment(row['paused_at'])}: {row['paused_reason']}"
    if as_json:
        verb = "paused" if is_new else "unchanged"
        out.json({"schedule": name, "verb": verb, "paused": paused(row), "revision": row["revision"]})
    elif is_new:
        out.say(f"Paused: {name}. Its fires are skipped until `celery -A … schedules resume {name}`.")
    else:
        out.say(f"Nothing to do: {name} is {since}.")


def paused(row: Any) -> dict[str, Any] | None:
    """Return who has paused a schedule, when and why, or None."""
    if row["paused_at"] is None:
        return None
    return {"at": row["paused_at"], "by": row["paused_by"], "reason": row["paused_reason"]}


@click.command(
    cls=Command,
    epilog="Example: celery -A tasks schedules resume clear-sessions --fires latest --reason 'the bank is back'",
)
@click.argument("name", shell_complete=completion.paused_schedule_names)
@click.option(
    "--fires",
    type=click.Choice(["none", "latest", "all"]),
    default="none",
    show_default=True,
    help="Which of those that the pause skipped are made up for.",
)
@dry_run_option
@reason_unless_dry
@revision_option
@json_option
@click.pass_context
def resume(ctx: click.Context, /, name: str, fires: str, as_json: bool, **given: Any) -> None:
    """Have a paused schedule fire again.

    Fires of NAME that are made up for run one after the other; what is not stays skipped, on record.

    Exits with 1 if somebody has changed it meanwhile (--revision).

    \b
    --json: {"schedule": text, "verb": "resumed" | "unchanged", "fires": [instant, …], "revision": n, "dry_run": bool}
    """  # noqa: D301
    from steadybeat import schedules
    from steadybeat.commands.asked import present
    from steadybeat.ledger import Ledger
    from steadybeat.operating.rerun import who

    app, dry_run = installed(ctx), given["dry_run"]
    reason = reason_unless(dry_run, given["reason"], "the bank is back") or NOTHING_CHANGED
    present(Ledger.of(app), name)
    with _trial(app, dry_run) as transaction:
        made_up = schedules.resume(
            name, reason=reason, make_up=fires, who=who(), revision=given["revision"], transaction=transaction, app=app
        )
    out = Output(ctx)
    if as_json:
        verb = "unchanged" if made_up is None else "resumed"
        revision = present(Ledger.of(app), name)["revision"]
        out.json({"schedule": name, "verb": verb, "fires": made_up or [], "revision": revision, "dry_run": dry_run})
    elif made_up is None:
        out.say(f"Nothing to do: {name} is not paused.")
    else:
        owed = f"{count(len(made_up), 'fire')} of the pause {'is' if len(made_up) == 1 else 'are'} made up for"
        none = "what the pause skipped stays skipped" if fires == "none" else "the pause skipped no fire"
        if dry_run:
            for at in made_up:
                out.say(nominal(at))
            out.say(f"Would be resumed: {name}; {owed if made_up else none}. {NOTHING_CHANGED}")
        else:
            out.say(f"Resumed: {name}; {owed if made_up else none}.")


@contextlib.contextmanager
def _trial(app: Any, dry_run: bool) -> Iterator[Any]:
    """Yield a transaction that is undone when the block ends, or None where it is meant."""
    from steadybeat.ledger import Ledger

    if not dry_run:
        yield None
        return
    with Ledger.of(app).database.trial() as trial, trial.transaction() as transaction:
        yield transaction


@click.command(cls=Command, epilog="Example: celery -A tasks schedules remove customer-42 --reason 'they have left'")
@click.argument("name", shell_complete=completion.schedule_names)
@dry_run_option
@reason_unless_dry
@revision_option
@json_option
@click.pass_context
def remove(ctx: click.Context, /, name: str, as_json: bool, **given: Any) -> None:
    """Take back what a person has added or changed.

    Where the code defines NAME, its definition holds again. What only a person has added is retired, and so is what
    was taken over from RedBeat, or is left of a service that is gone: fires that are not sent yet are superseded,
    runs go on. What this program's code defines and nobody has changed is refused: take it out there, and apply.

    Exits with 1 if somebody has changed it meanwhile (--revision).

    \b
    --json: {"removed": text, "verb": "restored" | "retired", "rule": words or null, "reason": text, "dry_run": bool}
    """  # noqa: D301
    from steadybeat import schedules
    from steadybeat.beat.definitions import definitions
    from steadybeat.commands.asked import present
    from steadybeat.ledger import Ledger
    from steadybeat.operating.rerun import who
    from steadybeat.schedule import from_json

    app, dry_run = installed(ctx, tasks=True), given["dry_run"]
    reason = reason_unless(dry_run, given["reason"], "the customer has left")
    row = present(Ledger.of(app), name)
    if row["source"] == "code" and any(each.name == name for each in definitions(app)):
        raise ConfigurationError(
            f"schedule {name!r}: this program's code defines it; take it out there, and run `schedules apply`.",
            schedule=name,
        )
    seen = row["revision"] if given["revision"] is None else given["revision"]
    with _trial(app, dry_run) as transaction:
        verb = schedules.remove(
            name, reason=reason or NOTHING_CHANGED, who=who(), revision=seen, transaction=transaction, app=app
        )
    rule = from_json(row["code"]["spec"]).explain() if verb == "restored" else None
    out = Output(ctx)
    if as_json:
        out.json({"removed": name, "verb": verb, "rule": rule, "reason": reason, "dry_run": dry_run})
        return
    said = f"{name} is again as the code defines it. {rule}."
    if verb == "retired":
        said = f"{name}. Fires that were not sent yet are superseded."
    out.say(f"Would be {verb}: {said} {NOTHING_CHANGED}" if dry_run else f"{verb.capitalize()}: {said}")
