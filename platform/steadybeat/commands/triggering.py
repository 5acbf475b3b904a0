"""`schedules trigger`: a fire at somebody's word."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from steadybeat.commands import completion
from steadybeat.commands.installed import installed
from steadybeat.commands.output import Output, json_option, moment, nominal
from steadybeat.commands.schedule_edits import reason_option
from steadybeat.commands.usage import Command, reason_given
from steadybeat.errors import ConfigurationError

if TYPE_CHECKING:
    from steadybeat.commands.why import Answer, Facts


@click.command(
    cls=Command,
    epilog="Example: celery -A tasks schedules trigger tasks.royalties.settle --reason 'the bank is back'",
)
@click.argument("name", shell_complete=completion.schedule_names)
@click.option(
    "--as-of",
    metavar="AT",
    help="The nominal time that the run is told, or last: of the fire that was due last. Now unless given.",
    shell_complete=completion.past_instants,
)
@reason_option
@json_option
@click.pass_context
def trigger(ctx: click.Context, name: str, as_of: str | None, reason: str, as_json: bool) -> None:
    """Have a schedule fire now.

    The Beat that leads dispatches the fire of NAME at once, by its overlap policy, also while it is paused. A fire
    that was skipped or missed is made up for so; one whose effect has happened is left alone.

    Exits with 1 if the fire was dispatched before, and has no effect (yet).

    \b
    --json: {"schedule": text, "scheduled_for": instant, "verdict": "triggered" | "done" | "open" | "ended",
             "run": id, "text": text}
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    from steadybeat import schedules
    from steadybeat.commands.asked import gather, present
    from steadybeat.commands.why import answer
    from steadybeat.ledger import Ledger
    from steadybeat.operating.rerun import who
    from steadybeat.schedule import run_id
    from steadybeat.schedule.rule import iso

    app, now = installed(ctx), datetime.now(UTC)
    book, reason = Ledger.of(app), reason_given(reason, "the bank is back")
    row = present(book, name)
    at = _time(as_of, row, now)
    facts = gather(book, row, at, now)
    found = answer(facts)
    verdict, run = _standing(facts, found), run_id(name, at)
    if verdict == "triggered":
        asked = schedules.trigger(name, as_of=at, reason=reason, who=who(), app=app)
        verdict = "triggered" if asked.is_new else "open"
    text = _text(verdict, name, at, found, facts)
    out = Output(ctx)
    if as_json:
        out.json({"schedule": name, "scheduled_for": at, "verdict": verdict, "run": run, "text": text})
    else:
        out.say(text, {"triggered": "green", "done": ""}.get(verdict, "yellow"))
        if verdict == "triggered":
            out.say(f"It is run {run}. Follow it: celery -A … runs why {name} {iso(at)}")
    ctx.exit(1 if verdict in ("open", "ended") else 0)


def _time(as_of: str | None, row: dict[str, Any], now: datetime) -> datetime:
    """Return the nominal time that is meant."""
    from steadybeat.commands.asked import instant_of

    if as_of is None:
        return now.replace(microsecond=0)
    at = instant_of(as_of, row, now)
    if at > now:
        raise ConfigurationError(f"--as-of={as_of!r}: lies ahead: it fires by itself; give a time that has passed.")
    return at


def _standing(facts: Facts, found: Answer) -> str:
    """Return what is to be said of a fire, or ``triggered`` where it can be asked for."""
    if found.effect_at is not None:
        return "done"
    if facts.fire is None or facts.fire["state"] != "dispatched":
        return "triggered"
    ended = facts.run is None or (facts.run["finished_at"] is not None and found.verdict != "rerun")
    return "ended" if ended else "open"


def _text(verdict: str, name: str, at: datetime, found: Answer, facts: Facts) -> str:
    if verdict == "done":
        done = facts.key is not None and facts.key["state"] == "done"
        run = facts.key["run"] if facts.key is not None and done else facts.run and facts.run["id"]
        return f"Nothing to do: the effect happened at {moment(found.effect_at)} in run {run}."
    if verdict != "triggered":
        return f"{name} at {nominal(at)} was dispatched before. {' '.join(found.sentences[1:])}"
    said = [f"Triggered: {name} at {nominal(at)}."]
    if facts.schedule["paused_at"] is not None:
        said.append("The schedule stays paused.")
    overlap = facts.schedule["policies"].get("overlap", "skip")
    if overlap != "allow":
        said.append(f"If a run of it goes on, its overlap policy decides ({overlap}).")
    if not facts.beat_count:
        said.append("No Beat is alive: it is dispatched as soon as one leads.")
    return " ".join(said)
