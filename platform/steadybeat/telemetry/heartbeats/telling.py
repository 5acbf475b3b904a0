"""Telling: one heartbeat to one monitor, over HTTP or through Sentry, and a check made where it is missing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from steadybeat.errors import ConfigurationError
from steadybeat.monitor import Monitor
from steadybeat.telemetry.heartbeats import cronitor, healthchecks, plain, sentry_crons
from steadybeat.telemetry.heartbeats.asking import Answer, Asker
from steadybeat.telemetry.heartbeats.heartbeat import Heartbeat, Request, Watched
from steadybeat.telemetry.heartbeats.lanes import Addressed

Schedules = Callable[[Collection[str]], Mapping[str, Watched]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """How a monitor stands now.

    Attributes:
        name: Of the schedule, or ``platform``.
        kind: Of the monitor.
        error: Why it is failing, in one line; empty where it is fine.
        at: When that was seen.
    """

    name: str
    kind: str
    error: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a sender is told.

    Attributes:
        default: The monitor of schedules that name none; None: they have none.
        timeout_seconds: How long a monitor may take to connect, and to answer.
        grace_seconds: How late a run may begin.
        api_url: Of Healthchecks, where checks are made; empty: its own.
        api_key: With it a check that is missing is made.
        schedules: Says what is known of schedules by name, from the ledger; may raise.
        note: Writes down how monitors stand; may raise.
    """

    default: Monitor | None = None
    timeout_seconds: float = 5.0
    grace_seconds: float = 300.0
    api_url: str = ""
    api_key: str = ""
    schedules: Schedules = lambda _names: {}
    note: Callable[[Sequence[Note]], None] = lambda _notes: None


class Teller:
    """Tells monitors, one after the other; for one thread.

    Args:
        setup: What it is told.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._asker: Asker | None = None

    def __call__(self, addressed: Addressed, body_limit: int | None = None) -> Answer:
        """Tell a monitor now, and return what it answered.

        Args:
            addressed: What, and whom.
            body_limit: Bytes of a body that it keeps.
        """
        heartbeat, watched, monitor = addressed
        if monitor.kind == "sentry":
            return self._check_in(heartbeat, watched)
        request = request_of(monitor, heartbeat)
        if request is None:
            return Answer(error=f"it is not told of {heartbeat.event}")
        if request.body is not None and body_limit is not None:
            request = request._replace(body=request.body[:body_limit])
        answer = self._asked(request)
        if answer.status == 404 and self._provision(watched, monitor):
            answer = self._asked(request)
        return answer

    def _asked(self, request: Request) -> Answer:
        if self._asker is None:
            self._asker = Asker(self._setup.timeout_seconds)
        return self._asker(request)

    def _provision(self, watched: Watched, monitor: Monitor) -> bool:
        """Make a check that is missing, with its schedule, zone and grace; return whether it is there now."""
        if monitor.kind != "healthchecks" or not self._setup.api_key or healthchecks.can_be_provisioned(monitor.url):
            return False
        check, _ = healthchecks.told(watched, self._setup.grace_seconds)
        check["slug"] = healthchecks.slug_of(monitor.url, watched.schedule)
        address = api_url_of(monitor, self._setup.api_url)
        for wanted in (check, {**check, "channels": "*"}):  # whom it alarms: everybody, when it is made
            answer = self._asked(healthchecks.provisioning(address, self._setup.api_key, wanted))
            if answer.status != 201:
                break
        return answer.taken

    def _check_in(self, heartbeat: Heartbeat, watched: Watched) -> Answer:
        import sentry_sdk
        from sentry_sdk.crons import capture_checkin

        values = sentry_crons.check_in(heartbeat, watched, self._setup.grace_seconds)
        if values is None:
            return Answer(error=f"it is not told of this: {sentry_crons.told(watched, 0)[1] or heartbeat.event}")
        if not sentry_sdk.get_client().is_active():
            return Answer(error="Sentry is not set up in this process: set steadybeat_sentry_dsn")
        capture_checkin(**values)
        return Answer(status=200)


def monitor_of(watched: Watched, default: Monitor | None) -> Monitor | None:
    """Return whom to tell of a schedule, or None."""
    try:
        monitor = Monitor.read(watched.heartbeat) if watched.heartbeat else default
    except ConfigurationError:  # of another release
        monitor = None
    return None if monitor is None or monitor.is_off else monitor


def request_of(monitor: Monitor, heartbeat: Heartbeat) -> Request | None:
    """Return what tells a monitor of a heartbeat over HTTP; None where it is not told of that."""
    kinds: dict[str, Callable[[str, Heartbeat], Request | None]] = {
        "healthchecks": healthchecks.request,
        "cronitor": cronitor.request,
        "plain": plain.request,
    }
    return kinds[monitor.kind](monitor.url, heartbeat)


def api_url_of(monitor: Monitor, given: str) -> str:
    """Return where the checks of a monitor are made: where it is told of runs, unless its maker or `given` say else."""
    parts = urlsplit(monitor.url)
    known = {**healthchecks.API_URLS, **cronitor.API_URLS}
    return given or known.get(monitor.host, f"{parts.scheme}://{parts.netloc}")


def is_told(monitor: Monitor, watched: Watched, heartbeat: Heartbeat) -> bool:
    """Return whether a monitor is told of a heartbeat."""
    if monitor.kind == "sentry":
        return sentry_crons.check_in(heartbeat, watched, 0) is not None
    if monitor.kind == "cronitor":
        return heartbeat.event in cronitor.STATES
    return monitor.kind != "plain" or plain.hears_all(monitor.url) or heartbeat.event == "success"
