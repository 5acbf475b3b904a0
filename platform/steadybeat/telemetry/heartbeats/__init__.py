"""Heartbeats: what monitors elsewhere are told of schedules, so that silence is noticed also when all of this is down.

    heartbeat.py     Heartbeat: one thing that a monitor is told; Watched: a schedule as its monitor is to know it
    cadence.py       a rule as a cron expression or an interval, or why it is none
    healthchecks.py  what Healthchecks is asked; cronitor.py, sentry_crons.py, plain.py: the others
    lanes.py         what waits, in order; what may be left out
    asking.py        one request over HTTP
    telling.py       one heartbeat to one monitor
    standing.py      how monitors stand, for the ledger
    sending.py       the queue, and the thread that sends
    lines.py         the last lines of a run

What is told, of runs that a schedule asked for (not of a tenant's share, and not of a backfill):

    start     an attempt begins
    success   the run has succeeded; of a fan-out: all of it
    fail      the run is dead, whoever has seen it: with its error, its last lines, and a status as of a program
    log       of interest: it is tried again, was rescued, cancelled, skipped, missed

The functions here are called by runs. They return at once, and raise nothing.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from typing import Any

from steadybeat.telemetry.facts import bound
from steadybeat.telemetry.heartbeats.cadence import Cadence, cadence
from steadybeat.telemetry.heartbeats.heartbeat import TEXT_LIMIT, Heartbeat, Watched
from steadybeat.telemetry.heartbeats.lines import LastLines
from steadybeat.telemetry.heartbeats.sending import Sender
from steadybeat.telemetry.heartbeats.telling import Note, Setup
from steadybeat.telemetry.redaction import as_text, redact_text

__all__ = [
    "BACKFILL",
    "Cadence",
    "Heartbeat",
    "Note",
    "Sender",
    "Setup",
    "Watched",
    "begun",
    "cadence",
    "ended",
    "flush",
    "follow",
    "install",
    "sender",
    "tell",
]

BACKFILL = "backfill"
"""What was asked for of a fire that says nothing of how its schedule stands now."""

_SILENT = frozenset({"duplicate", "stale", "waiting"})
_STATUS = {"timed_out": 124, "lost": 137}
_SIGNAL = re.compile(r"signal (\d+)")
_EXIT_CODE = re.compile(r"exitcode (\d+)")

_lines = LastLines()


class _Process:
    """Who sends for this process."""

    sender: Sender | None = None


def install(setup: Setup) -> Sender:
    """Have heartbeats sent as `setup` says; the last app of a process that was installed speaks for it.

    Args:
        setup: What the sender is told.
    """
    _Process.sender = Sender(setup)
    return _Process.sender


def sender() -> Sender | None:
    """Return who sends for this process, or None."""
    return _Process.sender


def flush() -> None:
    """Give what can be sent at once a moment to leave; for ends of a process that no exit handler sees."""
    if _Process.sender is not None:
        _Process.sender.flush()


def tell(heartbeat: Heartbeat) -> None:
    """Have a heartbeat sent, whatever becomes of it."""
    if _Process.sender is not None:
        try:
            _Process.sender.tell(heartbeat)
        except (OSError, RuntimeError, ValueError, TypeError):
            return


def follow(*, schedule: str | None, run: str, tenant: str | None = None, asked: str | None = None) -> None:
    """Follow an attempt of a run from here on: its last lines are kept, and its end is told.

    Args:
        schedule: Which asked for the run; None: none did, and nobody is told of it.
        run: Its id.
        tenant: For whom it does a share.
        asked: What a person asked for, where one did.
    """
    if schedule is None or tenant is not None or asked == BACKFILL or _Process.sender is None:
        return
    _lines.begin(run)


def begun(attempt: int) -> None:
    """Tell that the attempt of the run that is bound begins, if it is followed: it has its turn.

    Args:
        attempt: Its number.
    """
    facts = bound()
    if facts.get("run_id") in _lines:
        told = f"attempt {attempt} begins"
        tell(Heartbeat(event="start", schedule=facts["schedule"], run=facts["run_id"], text=told))


def ended(
    status: str,
    facts: Mapping[str, Any],
    *,
    duration_seconds: float | None = None,
    items_count: int | None = None,
    error: BaseException | str | None = None,
    is_dead: bool = False,
) -> None:
    """Tell how an attempt ended, or a run that was not worked on.

    Args:
        status: A key of `telemetry.outcomes.EVENTS`.
        facts: ``schedule``, ``run_id``, ``tenant``, ``asked``, ``reason`` of a run that is not bound here.
        duration_seconds: How long the attempt took.
        items_count: Items processed.
        error: What it ended with.
        is_dead: The run is dead, which the status does not say.
    """
    if _Process.sender is None or status in _SILENT:
        return
    schedule, run, tenant = facts.get("schedule"), facts.get("run_id"), facts.get("tenant")
    if schedule is None:
        under_way = bound()
        schedule, run, tenant = under_way.get("schedule"), under_way.get("run_id"), under_way.get("tenant")
        if run not in _lines:
            return
    if schedule is None or tenant is not None or facts.get("asked") == BACKFILL:
        return
    lines = _lines.end(str(run))
    event = "success" if status == "succeeded" else "fail" if is_dead or status == "dead" else "log"
    because = as_text(facts.get("reason") or "")
    said = [f"{status.replace('_', ' ')}{': ' if because else ''}{because}"]
    if event == "fail":
        said += [_of_error(error), f"last lines:\n{lines}" if lines else ""]
    tell(
        Heartbeat(
            event=event,
            schedule=str(schedule),
            run=None if run is None else str(run),
            text=redact_text("\n".join(filter(None, said)))[:TEXT_LIMIT],
            status={"success": 0, "fail": _status(status, error)}.get(event),
            duration_seconds=None if event == "log" else duration_seconds,
            items_count=None if event == "log" else items_count,
        )
    )


def _of_error(error: BaseException | str | None) -> str:
    if isinstance(error, BaseException):
        try:
            return "".join(traceback.format_exception(error)).rstrip()
        except Exception:  # noqa: BLE001 - an error that cannot be shown is still one
            return as_text(error)
    return error or ""


def _status(status: str, error: BaseException | str | None) -> int:
    """Return how a program would have ended: as timeout(1) and shells say it."""
    text = as_text(error)
    killed, left = _SIGNAL.search(text), _EXIT_CODE.search(text)
    if status == "lost" and killed:
        return 128 + min(127, int(killed[1]))
    if status == "lost" and left and 0 < int(left[1]) <= 255:
        return int(left[1])
    return _STATUS.get(status, 1)
