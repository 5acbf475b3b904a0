"""`celery -A … health`: whether a process of this machine is doing something."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from steadybeat.commands.installed import installed
from steadybeat.commands.output import Column, Output, json_option, length
from steadybeat.commands.usage import Command

if TYPE_CHECKING:
    from steadybeat.telemetry.pulse import Vital

ROLES = ("beat", "worker", "watchdog")


@click.command(cls=Command, epilog="Example: celery -A tasks health worker")
@click.argument("role", type=click.Choice(ROLES))
@click.option("--pid", type=int, help="Only the process with this id; all of the role unless given.")
@json_option
@click.pass_context
def health(ctx: click.Context, role: str, pid: int | None, as_json: bool) -> None:
    """Say whether this machine's Beat, worker or watchdog works.

    It looks at what the processes of this app show on their own machine (steadybeat_health_folder) and asks no
    server, so that an outage of Redis or Postgres ends no healthy process. One is not well when a part of it has stood
    still for longer than steadybeat_health_seconds: a worker's event loop or its keeper, the tick of a Beat or of a
    watchdog.

    Exits with 1 if one is not well, or none runs.

    \b
    --json: [{"role": text, "pid": n, "well": bool, "silent": {part: seconds past its time, …}}]
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    from steadybeat.telemetry.pulse import folder_of, vitals

    platform = installed(ctx, schema=False).steadybeat
    now = time.monotonic()
    found = [
        vital for vital in vitals(platform.settings, role) if vital.app == platform.name and pid in (None, vital.pid)
    ]
    rows = [_row(vital, now) for vital in found]
    out = Output(ctx)
    if as_json:
        out.json(rows)
    elif rows:
        out.table(_COLUMNS, rows)
    else:
        which = f"with process id {pid}" if pid else f"of app {platform.name!r}"
        out.say(f"No {role} {which} runs on this machine, as far as {folder_of(platform.settings)} shows.", "red")
    ctx.exit(0 if rows and all(row["well"] for row in rows) else 1)


def _row(vital: Vital, now: float) -> dict[str, Any]:
    return {"role": vital.role, "pid": vital.pid, "well": vital.is_well(now), "silent": vital.silent(now)}


def _said(row: dict[str, Any]) -> str:
    if row["silent"]:
        return ", ".join(f"{part} overdue for {length(_whole(by))}" for part, by in row["silent"].items())
    return "" if row["well"] else "has not begun yet"


def _whole(duration: timedelta) -> timedelta:
    return timedelta(seconds=round(duration.total_seconds()))


_COLUMNS = [
    Column(title="role", value=lambda row: row["role"]),
    Column(title="pid", value=lambda row: str(row["pid"]), right=True),
    Column(title="health", value=lambda row: "well" if row["well"] else "not well"),
    Column(title="because", value=_said, tight="wrap"),
]
