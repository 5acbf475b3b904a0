"""`celery -A … heartbeats`: the monitors elsewhere that are told of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from steadybeat.commands import completion
from steadybeat.commands.installed import installed
from steadybeat.commands.output import Column, Output, count, json_option, moment
from steadybeat.commands.progress import Progress
from steadybeat.commands.usage import NOTHING_CHANGED, Group, dry_run_option, reason_unless, reason_unless_dry
from steadybeat.errors import ConfigurationError

if TYPE_CHECKING:
    from steadybeat.commands.monitors import Told

_NONE = (
    "No schedule has a monitor. Set steadybeat_heartbeat_url, or give a schedule its own with heartbeat=; the guide to"
    " heartbeats shows the forms."
)


@click.group(cls=Group, epilog="Example: celery -A tasks heartbeats test")
def heartbeats() -> None:
    """Make and try the monitors elsewhere that are told of runs."""


@heartbeats.command("list", epilog="Example: celery -A tasks heartbeats list")
@json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List the schedules that have a monitor, and how that stands.

    A monitor is fine when it has taken the last heartbeat. Of its address only the host is shown: who knows the rest
    can speak for the schedule.

    \b
    --json: [{"schedule": text, "kind": text, "host": text, "state": "fine" | "failing" | "never",
              "since": instant or null, "error": text or null, "expects": text or null, "why_not": text or null,
              "synced_at": instant or null}]
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    from steadybeat.commands.monitors import stands, told_of

    app = installed(ctx)
    listed = stands(app, told_of(app))
    out = Output(ctx)
    if as_json:
        out.json(listed)
    elif listed:
        out.table(_LIST_COLUMNS, listed)
    else:
        out.say(_NONE)


_LIST_COLUMNS = [
    Column(title="schedule", value=lambda row: row["schedule"]),
    Column(title="monitor", value=lambda row: row["kind"]),
    Column(title="host", value=lambda row: row["host"], shown_from=100),
    Column(title="state", value=lambda row: row["state"]),
    Column(title="since", value=lambda row: moment(row["since"]), shown_from=90, style="dim"),
    Column(title="expects", value=lambda row: row["expects"] or f"not known: {row['why_not']}", tight="wrap"),
    Column(title="synced", value=lambda row: moment(row["synced_at"]), shown_from=130, style="dim"),
    Column(title="error", value=lambda row: row["error"] or "", tight="wrap", style="red"),
]


@heartbeats.command(epilog="Example: celery -A tasks heartbeats sync --reason 'new schedules'")
@dry_run_option
@click.option("--schedule", help="Only of this schedule.", shell_complete=completion.schedule_names)
@reason_unless_dry
@json_option
@click.pass_context
def sync(ctx: click.Context, dry_run: bool, schedule: str | None, reason: str | None, as_json: bool) -> None:
    """Make the checks of schedules, or bring them up to date.

    Each is told its name, when it is due, in which time zone, and how late it may be, as far as it can express that.
    It shows steadybeat_heartbeat_api_key to the monitor's maker, or at steadybeat_heartbeat_api_url. A step of every
    deploy, after `schedules apply`. Exit code 1: some could not be told.

    \b
    --json: {"dry_run": bool, "monitors": [{"schedule": text, "kind": text, "host": text, "told": {…} or null,
             "verb": "made" | "changed" | "would be told" | "left out" | "failed", "reason": text or null}]}
    """  # noqa: D301
    from steadybeat.commands.monitors import synced, told_of

    reason = reason_unless(dry_run, reason, "new schedules")
    app, out = installed(ctx), Output(ctx)
    wanted = _of_schedule(told_of(app), schedule)
    with Progress.quiet(None if as_json else out, "monitors", len(wanted)) as progress:
        found = synced(app, wanted, None if dry_run else reason, progress.advance)
    if as_json:
        out.json({"dry_run": dry_run, "monitors": found})
    elif found:
        out.table(_SYNC_COLUMNS, found)
        verbs = [each["verb"] for each in found]
        out.say(", ".join(f"{verbs.count(verb)} {verb}" for verb in dict.fromkeys(verbs)).capitalize() + ".")
        if dry_run:
            out.say(NOTHING_CHANGED)
    else:
        out.say(_NONE)
    if any(each["verb"] == "failed" for each in found):
        ctx.exit(1)


_SYNC_COLUMNS = [
    Column(title="schedule", value=lambda row: row["schedule"]),
    Column(title="monitor", value=lambda row: row["kind"]),
    Column(title="host", value=lambda row: row["host"], shown_from=110),
    Column(title="what", value=lambda row: row["verb"]),
    Column(title="why", value=lambda row: row["reason"] or "", tight="wrap"),
]


@heartbeats.command(epilog="Example: celery -A tasks heartbeats test tasks.royalties.settle")
@click.argument("schedule", required=False, shell_complete=completion.schedule_names)
@click.option("--url", help="Try this monitor instead, in one of the forms of the guide.")
@json_option
@click.pass_context
def test(ctx: click.Context, schedule: str | None, url: str | None, as_json: bool) -> None:
    """Tell a monitor of a run, and say what it answers.

    It hears that a run begins and succeeds. That is the monitor of SCHEDULE; without, of one schedule for each
    host, and that of the platform. A monitor counts it as a run. Exit code 1: one has not taken it.

    \b
    --json: [{"schedule": text, "kind": text, "host": text, "event": "start" | "success", "taken": bool,
              "status": number or null, "error": text or null, "took_seconds": number}]
    """  # noqa: D301
    from steadybeat.commands.monitors import given, one_of_each_host, told_of, tried

    app = installed(ctx)
    if url is not None:
        wanted = [given(app, url, schedule)]
    elif schedule is not None:
        wanted = _of_schedule(told_of(app), schedule)
    else:
        wanted = one_of_each_host(app, told_of(app))
    if not wanted:
        raise ConfigurationError(_NONE)
    out = Output(ctx)
    with Progress.quiet(None if as_json else out, "monitors", len(wanted)) as progress:
        found = tried(app, wanted, progress.advance)
    if as_json:
        out.json(found)
    else:
        out.table(_TEST_COLUMNS, found)
        bad = sum(not each["taken"] for each in found)
        were = "was" if bad == 1 else "were"
        out.say(f"{count(bad, 'heartbeat')} {were} not taken." if bad else "All were taken.")
    if not all(each["taken"] for each in found):
        ctx.exit(1)


_TEST_COLUMNS = [
    Column(title="schedule", value=lambda row: row["schedule"]),
    Column(title="monitor", value=lambda row: row["kind"]),
    Column(title="host", value=lambda row: row["host"]),
    Column(title="event", value=lambda row: row["event"]),
    Column(title="answer", value=lambda row: "taken" if row["taken"] else row["error"], tight="wrap"),
    Column(title="took", value=lambda row: f"{row['took_seconds'] * 1000:.0f} ms", right=True),
]


def _of_schedule(told: list[Told], schedule: str | None) -> list[Told]:
    if schedule is None:
        return told
    found = [each for each in told if each.watched.schedule == schedule]
    if not found:
        from steadybeat.errors import did_you_mean

        near = did_you_mean(schedule, [each.watched.schedule for each in told])
        raise ConfigurationError(
            f"SCHEDULE={schedule!r}: has no monitor.{near} `celery -A … heartbeats list` shows those that have.",
            schedule=schedule,
        )
    return found
