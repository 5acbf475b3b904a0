"""Heartbeats: what the sender of a process is told by the settings, and what it asks the ledger, in its own thread."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from steadybeat.monitor import Monitor
from steadybeat.telemetry import heartbeats

if TYPE_CHECKING:
    from steadybeat.app.installed import Steadybeat


def sender(platform: Steadybeat) -> heartbeats.Sender:
    """Return who tells monitors of what happens in this process.

    Args:
        platform: The app's; its ledger is opened when a heartbeat is to be sent.
    """
    return heartbeats.install(setup_of(platform))


def setup_of(platform: Steadybeat) -> heartbeats.Setup:
    """Return what the settings say of heartbeats, and how the ledger is asked.

    Args:
        platform: The app's.
    """
    settings = platform.settings

    def schedules(names: Collection[str]) -> dict[str, heartbeats.Watched]:
        found = platform.ledger.monitors.watched(sorted(names))
        return {each["schedule"]: watched(each, settings.time_limit_seconds) for each in found}

    def note(found: Sequence[heartbeats.Note]) -> None:
        from steadybeat.ledger.monitors import Noted

        notes = [Noted(name=each.name, kind=each.kind, error=each.error or None, at=each.at) for each in found]
        platform.ledger.monitors.note(*notes)

    default = Monitor.read(settings.heartbeat_url) if settings.heartbeat_url else None
    of_healthchecks = default is None or default.kind == "healthchecks"
    return heartbeats.Setup(
        default=default,
        timeout_seconds=settings.heartbeat_timeout_seconds,
        grace_seconds=settings.heartbeat_grace_seconds,
        api_url=settings.heartbeat_api_url,
        api_key=settings.heartbeat_api_key if of_healthchecks else "",
        schedules=schedules,
        note=note,
    )


def watched(found: dict[str, object], time_limit_seconds: float) -> heartbeats.Watched:
    """Return a schedule as its monitor is to know it.

    Args:
        found: As `ledger.monitors.watched` has it.
        time_limit_seconds: Of a task that says none.
    """
    limit = found["time_limit_seconds"]
    given = {**found, "time_limit_seconds": time_limit_seconds if limit is None else limit}
    return heartbeats.Watched(**given)  # type: ignore[arg-type]  # its columns are its attributes
