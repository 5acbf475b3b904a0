"""Monitors: which schedules have one, what it is told of them, and telling it now."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from steadybeat.app.heartbeats import setup_of, watched
from steadybeat.ledger import Ledger
from steadybeat.ledger.monitors import PLATFORM, MonitorRow
from steadybeat.monitor import Monitor
from steadybeat.operating.rerun import who
from steadybeat.telemetry.heartbeats import Heartbeat, Setup, Watched, cronitor, healthchecks, sentry_crons
from steadybeat.telemetry.heartbeats.asking import Answer, Asker
from steadybeat.telemetry.heartbeats.cadence import Cadence, cadence
from steadybeat.telemetry.heartbeats.lanes import Addressed
from steadybeat.telemetry.heartbeats.telling import Teller, api_url_of, monitor_of

TRIED = "steadybeat-test"
"""The schedule that a monitor is told of where none is named."""

_BATCH = 100


class Told(NamedTuple):
    """A schedule, and who is told of it."""

    watched: Watched
    monitor: Monitor


def told_of(app: Any) -> list[Told]:
    """Return the schedules that have a monitor, by name."""
    setup, limit = setup_of(app.steadybeat), app.steadybeat.settings.time_limit_seconds
    rows = [watched(each, limit) for each in Ledger.of(app).monitors.watched()]
    found = [(each, monitor_of(each, setup.default)) for each in rows]
    return [Told(each, monitor) for each, monitor in found if monitor is not None]


def given(app: Any, url: str, schedule: str | None) -> Told:
    """Return what a person named.

    Raises:
        ConfigurationError: It is no monitor.
    """
    rows = Ledger.of(app).monitors.watched([schedule]) if schedule else []
    limit = app.steadybeat.settings.time_limit_seconds
    of = watched(rows[0], limit) if rows else Watched(schedule=schedule or TRIED, spec=_HOURLY)
    return Told(of, Monitor.read(url, "--url"))


_HOURLY = {"type": "cron", "expression": "0 * * * *", "tz": "UTC"}


def one_of_each_host(app: Any, told: Sequence[Told]) -> list[Told]:
    """Return one schedule for each host, and the platform's own monitor."""
    found = {(each.monitor.kind, each.monitor.host): each for each in reversed(told)}
    url = app.steadybeat.settings.platform_heartbeat_url
    own = [Told(Watched(schedule=PLATFORM), Monitor.read(url))] if url else []
    return [*reversed(found.values()), *own]


def stands(app: Any, told: Sequence[Told]) -> list[dict[str, Any]]:
    """Return how the monitors of schedules stand, and the platform's, for JSON."""
    known = {row.name: row for row in Ledger.of(app).monitors.all()}
    found = [_stands(each, known.get(each.watched.schedule)) for each in told]
    url = app.steadybeat.settings.platform_heartbeat_url
    if url:
        own = Told(Watched(schedule=PLATFORM, spec={"type": "every", "seconds": 60}), Monitor.read(url))
        found.append(_stands(own, known.get(PLATFORM)))
    return found


def _stands(told: Told, row: MonitorRow | None) -> dict[str, Any]:
    known, state = expected(told), "never"
    if row is not None and row.failing_since is not None:
        state = "failing"
    elif row is not None and row.sent_at is not None:
        state = "fine"
    return {
        "schedule": told.watched.schedule,
        "kind": told.monitor.kind,
        "host": told.monitor.host,
        "state": state,
        "since": row and (row.failing_since or row.sent_at),
        "error": row and row.error,
        "expects": in_words(known) or None,
        "why_not": known.why_not or None,
        "synced_at": row and row.synced_at,
    }


def expected(told: Told) -> Cadence:
    """Return when a monitor can expect a schedule."""
    found = cadence(told.watched.spec)
    return found if told.monitor.kind == "cronitor" else found.without_combinations()


def in_words(known: Cadence) -> str:
    """Return when a monitor expects something, as one text."""
    if known.every_seconds is not None:
        return f"every {known.every_seconds:g} s"
    return f"{', '.join(known.expressions)} ({known.tz})" if known.expressions else ""


# Bringing monitors up to date


def synced(app: Any, wanted: Sequence[Told], reason: str | None, tell: Callable[[], None]) -> list[dict[str, Any]]:
    """Tell monitors when their schedules are due; return what became of each.

    Args:
        app: The app.
        wanted: Which.
        reason: Why, for the record; None: only say what they would be told.
        tell: Is called after each.
    """
    settings, done = app.steadybeat.settings, list[dict[str, Any]]()
    default = Monitor.read(settings.heartbeat_url) if settings.heartbeat_url else None
    kinds = {each.monitor.kind for each in wanted} & {"healthchecks", "cronitor"}
    of_key = default.kind if default else next(iter(kinds)) if len(kinds) == 1 else None
    sync = _Sync(app, of_key, dry=reason is None)
    for each in wanted:
        done.append(sync.said(each))
        tell()
    sync.finish()
    book = Ledger.of(app)
    for told, row in zip(wanted, done, strict=True):
        if row["verb"] in ("made", "changed"):
            book.monitors.synced(told.watched.schedule, kind=told.monitor.kind, told=row["told"])
            book.story.note(who(), "heartbeats sync", told.watched.schedule, reason or "", host=told.monitor.host)
    return done


class _Sync:
    """Tells the monitors of one kind, whose key there is."""

    def __init__(self, app: Any, of_key: str | None, *, dry: bool) -> None:
        self._settings = app.steadybeat.settings
        self._setup = setup_of(app.steadybeat)
        self._of_key, self._dry = of_key, dry
        self._ask = Asker(self._setup.timeout_seconds)
        self._slugs: dict[tuple[str, str], str] = {}
        self._later: list[tuple[Monitor, dict[str, Any]]] = []

    def said(self, told: Told) -> dict[str, Any]:
        """Return what became of one; of those of Cronitor once all are finished."""
        kind = told.monitor.kind
        row: dict[str, Any] = {"schedule": told.watched.schedule, "kind": kind, "host": told.monitor.host}
        row |= {"told": None, "verb": "left out", "reason": self._why_not(told)}
        if row["reason"]:
            return row
        wants, why_not = _wanted(told, self._setup)
        row |= {"told": wants, "reason": f"hears of failures only: {why_not}" if why_not else None}
        if self._dry:
            row["verb"] = "would be told"
        elif kind == "healthchecks":
            self._make(told.monitor, wants, row)
        else:
            self._later.append((told.monitor, row))
        return row

    def _why_not(self, told: Told) -> str:
        """Return why nothing is made for a schedule, or an empty text."""
        kind, name = told.monitor.kind, told.watched.schedule
        if kind == "sentry":
            _, why_not = sentry_crons.told(told.watched, self._setup.grace_seconds)
            return f"nothing is told of it: {why_not}" if why_not else "each check-in tells it"
        if kind == "plain":
            return "what is at a plain URL is made by hand"
        if kind == "healthchecks" and healthchecks.can_be_provisioned(told.monitor.url):
            return healthchecks.can_be_provisioned(told.monitor.url)
        if kind != self._of_key:
            return f"the key is of {self._of_key or 'one kind of monitor, and there are several'}"
        if not self._settings.heartbeat_api_key and not self._dry:
            return "steadybeat_heartbeat_api_key is empty"
        wants, _ = _wanted(told, self._setup)
        same = self._slugs.setdefault((told.monitor.host, wants.get("slug") or wants["key"]), name)
        return "" if same == name else f"{same} has the same name there; give one of them a heartbeat= of its own"

    def _make(self, monitor: Monitor, check: dict[str, Any], row: dict[str, Any]) -> None:
        address = api_url_of(monitor, self._settings.heartbeat_api_url)
        key = self._settings.heartbeat_api_key
        answer = self._ask(healthchecks.provisioning(address, key, check))
        is_new = answer.status == 201
        if is_new:  # whom it alarms: everybody, when it is made
            answer = self._ask(healthchecks.provisioning(address, key, {**check, "channels": "*"}))
        _judge(row, answer, "made" if is_new else "changed")

    def finish(self) -> None:
        """Tell what is told together."""
        for address in {api_url_of(monitor, self._settings.heartbeat_api_url) for monitor, _ in self._later}:
            rows = [row for each, row in self._later if api_url_of(each, self._settings.heartbeat_api_url) == address]
            for start in range(0, len(rows), _BATCH):
                part = rows[start : start + _BATCH]
                wants = [row["told"] for row in part]
                answer = self._ask(cronitor.provisioning(address, self._settings.heartbeat_api_key, wants))
                for row in part:
                    _judge(row, answer, "changed")


def _judge(row: dict[str, Any], answer: Answer, verb: str) -> None:
    if answer.taken:
        row["verb"] = verb
    else:
        row |= {"verb": "failed", "reason": answer.error + (f": {answer.text[:200]}" if answer.text else "")}


def _wanted(told: Told, setup: Setup) -> tuple[dict[str, Any], str]:
    """Return what a monitor is to know, and why it cannot know when the schedule is due, if it cannot."""
    if told.monitor.kind == "cronitor":
        return cronitor.told(told.watched, setup.grace_seconds)
    check, why_not = healthchecks.told(told.watched, setup.grace_seconds)
    return {**check, "slug": healthchecks.slug_of(told.monitor.url, told.watched.schedule)}, why_not


# Trying


def tried(app: Any, wanted: Sequence[Told], tell: Callable[[], None]) -> list[dict[str, Any]]:
    """Tell monitors of a run that begins and succeeds; return what each answered.

    Args:
        app: The app.
        wanted: Which.
        tell: Is called after each.
    """
    teller, found = Teller(setup_of(app.steadybeat)), list[dict[str, Any]]()
    for each in wanted:
        found += _tried(teller, each)
        tell()
    return found


def _tried(teller: Teller, told: Told) -> Iterator[dict[str, Any]]:
    run = str(uuid.uuid4())
    hears_all = told.monitor.kind != "plain" or "{event}" in told.monitor.url
    for event in ("start", "success") if hears_all else ("success",):
        beat = Heartbeat(event=event, schedule=told.watched.schedule, run=run, text="heartbeats test")
        began = time.monotonic()
        answer = teller(Addressed(beat, told.watched, told.monitor))
        yield {
            "schedule": told.watched.schedule,
            "kind": told.monitor.kind,
            "host": told.monitor.host,
            "event": event,
            "taken": answer.taken,
            "status": answer.status,
            "error": answer.error or None,
            "took_seconds": round(time.monotonic() - began, 3),
        }
