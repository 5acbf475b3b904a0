"""The life of an alert: opened, told, escalated, acknowledged, resolved, and opened again when it flaps.

Each pass is one transaction: what an alert becomes and what people are told of it are written together, or not at all.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from steadybeat.alerts.quiet import SEVERITIES
from steadybeat.alerts.routes import Routes
from steadybeat.alerts.telling import Telling
from steadybeat.alerts.wording import Links
from steadybeat.ledger.alerts import AlertPass, AlertRow, Event
from steadybeat.ledger.connection import storable
from steadybeat.ledger.rows import Finding
from steadybeat.settings import Settings
from steadybeat.telemetry.redaction import redact, redact_text

logger = logging.getLogger(__name__)

AFTERMATH = timedelta(minutes=2)
"""What an alert was the cause of is not told for so long after it is over: most of it ends by itself."""

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING}

_KEPT = [field.name for field in fields(Finding) if field.name != "cause"]

Key = tuple[str, str]


class Life:
    """What becomes of alerts.

    Args:
        alerts: The ledger's.
        routes: Who is told of what.
        links: Where messages point to.
        settings: `alert_flap_seconds` and `alert_storm_count` are used.
    """

    def __init__(self, alerts: Any, routes: Routes, links: Links, settings: Settings) -> None:
        self._alerts = alerts
        self._routes = routes
        self._links = links
        self._flap = timedelta(seconds=settings.alert_flap_seconds)
        self._most = settings.alert_storm_count

    def take(self, findings: Sequence[Finding], judged: Collection[str], failing: Collection[str] = ()) -> None:
        """Open alerts for findings, count those that go on, resolve what is gone, and write what people are told.

        Args:
            findings: All that is so and should not be.
            judged: Rules that were evaluated; alerts of other rules stay as they are.
            failing: Channels that are known to take nothing.
        """
        by_key = {(each.rule, each.subject): each for each in findings}
        with self._alerts.deciding() as deciding:
            rows = deciding.open()
            if not by_key and not rows:
                return
            recent = {(row.rule, row.subject): row for row in deciding.recent(max(self._flap, AFTERMATH))}
            events = self._live(deciding, rows, recent, by_key)
            gone = [row for row in rows if row.rule in judged and (row.rule, row.subject) not in by_key]
            rows = self._blame(deciding, recent, gone, by_key)
            telling = self._telling(deciding, failing)
            fresh = {event.alert for event in events}
            events += telling.over(gone, reason="it is not so any more")
            over = {row.id for row in gone}
            events += telling.tell([row for row in rows if row.id not in over], fresh)
            deciding.note(events)
        _log(events, {row.id: row for row in rows})

    def _telling(self, deciding: AlertPass, failing: Collection[str] = ()) -> Telling:
        return Telling(deciding, self._routes, self._links, self._most, failing)

    def _live(
        self,
        deciding: AlertPass,
        rows: Sequence[AlertRow],
        recent: Mapping[Key, AlertRow],
        by_key: Mapping[Key, Finding],
    ) -> list[Event]:
        """Count what goes on, open again what came back, open what is new."""
        there = {(row.rule, row.subject): row for row in rows}
        seen, back, new = [], [], []
        events = []
        for key, finding in by_key.items():
            given, former = _written(finding), recent.get(key)
            if key in there:
                seen.append(given | {"id": there[key].id})
            elif former is not None and former.resolved_at and deciding.now - former.resolved_at <= self._flap:
                back.append(given | {"id": former.id})
                events.append(Event(former.id, "reopened", _came_back(former)))
            else:
                new.append(given)
        if seen:
            deciding.count(seen)
        if back:
            deciding.reopen(back)
            deciding.drop_held([each["id"] for each in back], "it came back before this was told")
        if new:
            events += [Event(alert, "opened") for alert in deciding.insert(new)]
        return events

    def _blame(
        self,
        deciding: AlertPass,
        recent: Mapping[Key, AlertRow],
        gone: Sequence[AlertRow],
        by_key: Mapping[Key, Finding],
    ) -> list[AlertRow]:
        """Say of each alert which other one explains it, or no longer does; return all of them."""
        rows = deciding.open()
        over = {row.id for row in gone}
        over |= {row.id for row in recent.values() if row.resolved_at and deciding.now - row.resolved_at < AFTERMATH}
        standing = {(row.rule, row.subject): row.id for row in rows if row.id not in over}
        over -= {*standing.values()}
        causes: dict[int, int | None] = {}
        for row in rows:
            finding = by_key.get((row.rule, row.subject))
            if finding is None:
                continue
            cause = standing.get(finding.cause) if finding.cause else None
            if cause is None and row.cause_id in over:
                cause = row.cause_id
            causes[row.id] = None if cause == row.id else cause
        changed = {row.id: causes[row.id] for row in rows if row.id in causes and causes[row.id] != row.cause_id}
        if not changed:
            return rows
        deciding.blame(changed)
        return [replace(row, cause_id=changed.get(row.id, row.cause_id)) for row in rows]

    def escalate(self, failing: Collection[str] = ()) -> None:
        """Tell the next ones of what nobody has acknowledged."""
        with self._alerts.deciding() as deciding:
            rows = [row for row in deciding.open() if row.escalate_at and row.escalate_at <= deciding.now]
            if not rows:
                return
            events = self._telling(deciding, failing).escalate(rows)
            deciding.note(events)
        _log(events, {row.id: row for row in rows})

    def acknowledge(self, alerts: Sequence[int], *, who: str, reason: str) -> list[int]:
        """Say that somebody sees to alerts: nobody else is told of them; return which were open.

        Args:
            alerts: Their ids; one that was told together with others stands for these.
            who: Who does.
            reason: What that person says.
        """
        with self._alerts.deciding() as deciding:
            rows = {row.id: row for row in deciding.open()}
            together = [row.id for row in rows.values() if row.storm_id in alerts]
            done = deciding.acknowledge([*alerts, *together], who=who, reason=reason)
            events = [Event(alert, "acknowledged", reason, who) for alert in done]
            self._telling(deciding).answered([rows[alert] for alert in done], who=who, reason=reason)
            self._record(deciding, events, who, "alerts ack", reason)
        _log(events, rows)
        return done

    def resolve(self, alerts: Sequence[int], *, who: str, reason: str) -> list[int]:
        """Resolve alerts by hand; one that is still found is opened again. Return which were not resolved.

        Args:
            alerts: Their ids.
            who: Who does.
            reason: Why.
        """
        with self._alerts.deciding() as deciding:
            rows = {row.id: row for row in deciding.open()}
            wanted = [rows[alert] for alert in alerts if alert in rows]
            events = self._telling(deciding).over(wanted, reason=reason, who=who)
            self._record(deciding, events, who, "alerts resolve", reason)
        _log(events, rows)
        return [row.id for row in wanted]

    def _record(self, deciding: AlertPass, events: Sequence[Event], who: str, what: str, reason: str) -> None:
        deciding.note(events)
        for event in events:
            if event.who is not None:
                deciding.operation(who, what, str(event.alert), reason)


def _written(finding: Finding) -> dict[str, Any]:
    """Return a finding as it is kept: without secrets, and with nothing that Postgres refuses."""
    given = {name: getattr(finding, name) for name in _KEPT}
    for name in ("rule", "subject", "owner", "service", "task", "schedule"):
        given[name] = None if given[name] is None else storable(given[name])
    for name in ("summary", "error"):
        given[name] = None if given[name] is None else storable(redact_text(given[name]))
    for name in ("run", "last_good_run"):
        given[name] = _uuid(given[name])
    given["facts"] = _storable(redact(dict(finding.facts)))
    given["severity"] = finding.severity if finding.severity in SEVERITIES else "error"
    return given


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable(str(name)): _storable(each) for name, each in value.items()}
    return [_storable(each) for each in value] if isinstance(value, list) else value


def _uuid(value: str | None) -> str | None:
    try:
        return None if value is None else str(UUID(value))
    except ValueError:
        return None


def _came_back(former: AlertRow) -> str | None:
    if former.resolved_by is None:
        return None
    return f"{former.resolved_by} had resolved it: {former.resolved_reason}; it is still so"


def _log(events: Iterable[Event], rows: Mapping[int, AlertRow]) -> None:
    """Write a line for what alerts became, once that is on record."""
    for event in events:
        row = rows.get(event.alert)
        if row is None or event.what not in ("opened", "reopened", "acknowledged", "resolved"):
            continue
        loud = event.what in ("opened", "reopened")
        level = _LEVELS.get(row.severity, logging.ERROR) if loud else logging.WARNING
        facts = {"alert": row.id, "rule": row.rule, "subject": row.subject, "severity": row.severity}
        said = {"owner": row.owner, "summary": row.summary, "who": event.who, "reason": event.text}
        logger.log(
            level,
            f"alert {event.what}",
            extra={**facts, **{name: value for name, value in said.items() if value is not None}},
        )
