"""Telling: what one pass writes for people, and what it marks as told; all a part of that pass' transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from steadybeat.alerts.quiet import rank
from steadybeat.alerts.routes import Routes, Step, Way
from steadybeat.alerts.storms import Told, flaps, tellings
from steadybeat.alerts.wording import Links, Story, message
from steadybeat.ledger.alerts import AlertPass, AlertRow, Event
from steadybeat.ledger.notices import NewNotice
from steadybeat.ledger.silences import Silence
from steadybeat.wording import length, moment


class Telling:
    """Writes what people are told.

    Args:
        deciding: The pass.
        routes: Who is told of what.
        links: Where messages point to.
        most: So many of one rule and way in a minute are told one by one.
        failing: Channels that are known to take nothing.
    """

    def __init__(
        self, deciding: AlertPass, routes: Routes, links: Links, most: int, failing: Collection[str] = ()
    ) -> None:
        self._pass = deciding
        self._routes = routes
        self._links = links
        self._most = most
        self._failing = failing

    def tell(self, alerts: Sequence[AlertRow], fresh: Collection[int]) -> list[Event]:
        """Write what people are to be told of alerts by now.

        Args:
            alerts: All that are not resolved.
            fresh: Those that this pass has opened: it is written down why nobody is told of one.
        """
        silences = self._pass.silences() if alerts else []
        quiet = {alert.id: said for alert in alerts if (said := silenced(alert, silences))}
        loud = [each for each in self._without_mute_causes(alerts) if each.id not in quiet]
        due = tellings(loud, self._way, self._pass.now, self._most)
        events = self._write(due)
        told = {alert.id for each in due for alert in each.alerts}
        for alert in alerts:
            if alert.id in fresh and alert.id not in told:
                events.append(Event(alert.id, "not_told", quiet.get(alert.id) or self._why_not(alert)))
        return events

    def over(self, alerts: Sequence[AlertRow], *, reason: str, who: str | None = None) -> list[Event]:
        """Resolve alerts, and tell those who were told of them.

        Args:
            alerts: Which; none of them resolved before.
            reason: Why it is over.
            who: The person who says so; None: it is so no more.
        """
        ids = [alert.id for alert in alerts]
        if not ids:
            return []
        self._pass.drop_held(self._not_shared(alerts), "it was over before this was told")
        told = self._pass.told_channels([alert.id for alert in alerts if alert.is_told])
        resolved = {*self._pass.resolve(ids, who=who, reason=reason)}
        groups: dict[tuple[str, tuple[str, ...]], list[AlertRow]] = {}
        for alert in alerts:
            channels = tuple(name for name in told.get(alert.id, ()) if name in self._routes.channels)
            if alert.id in resolved and channels and self._way(alert).recovery:
                groups.setdefault((alert.rule, channels), []).append(alert)
        notices = []
        for (_, channels), group in groups.items():
            parts = [tuple(group)] if len(group) > self._most else [(alert,) for alert in group]
            for part in parts:
                notices += self._notices("resolved", part, self._way(part[0]), channels, who=who, reason=reason)
        self._pass.write(notices)
        return [Event(alert, "resolved", reason, who) for alert in ids if alert in resolved]

    def answered(self, alerts: Sequence[AlertRow], *, who: str, reason: str) -> None:
        """Tell those who were told of alerts that somebody sees to them."""
        told = self._pass.told_channels([alert.id for alert in alerts if alert.is_told])
        groups: dict[tuple[int, tuple[str, ...]], list[AlertRow]] = {}
        for alert in alerts:
            channels = tuple(name for name in told.get(alert.id, ()) if name in self._routes.channels)
            groups.setdefault((alert.storm_id or alert.id, channels), []).append(alert)
        for (_, channels), group in groups.items():
            way = self._way(group[0])
            self._pass.write(self._notices("acknowledged", tuple(group), way, channels, who=who, reason=reason))

    def escalate(self, alerts: Sequence[AlertRow]) -> list[Event]:
        """Take the next step of alerts that nobody has acknowledged in time.

        Args:
            alerts: Those whose step is due.
        """
        silences, now = self._pass.silences(), self._pass.now
        marks: list[dict[str, Any]] = []
        groups: dict[tuple[int, int], list[AlertRow]] = {}
        for alert in alerts:
            way = self._way(alert)
            held = way.held_until(now, alert.severity)
            if alert.cause_id is not None or silenced(alert, silences):
                continue
            if held is not None or way.step(alert.escalation_step) is None:
                marks.append(_mark(alert.id, alert.escalation_step, held))
            else:
                groups.setdefault((alert.storm_id or alert.id, alert.escalation_step), []).append(alert)
        events = []
        for (_, number), group in groups.items():
            way = self._way(group[0])
            step = way.step(number)
            assert isinstance(step, Step)
            self._pass.write(self._notices("escalated", tuple(group), way, step.to))
            following = way.step(number + 1)
            assert isinstance(following, Step)
            marks += [_mark(alert.id, number + 1, now + following.after) for alert in group]
            text = f"nobody has answered for {length(step.after)}: {', '.join(step.to)}"
            events += [Event(alert.id, "escalated", text) for alert in group]
        self._pass.step(marks)
        return events

    def _write(self, due: Iterable[Told]) -> list[Event]:
        notices: list[NewNotice] = []
        events: list[Event] = []
        marks: list[dict[str, Any]] = []
        for each in due:
            first = each.alerts[0]
            held = each.way.held_until(self._pass.now, first.severity)
            notices += self._notices(each.kind, each.alerts, each.way, each.way.to)
            for alert in each.alerts:
                marks.append(self._told(each, alert, held))
                events += self._said(each, alert, held)
        if marks:
            self._pass.write(notices)
            self._pass.told(marks)
        return events

    def _told(self, each: Told, alert: AlertRow, held: datetime | None) -> dict[str, Any]:
        step = each.way.step(0)
        at = (held or self._pass.now) + step.after if step is not None and alert.state == "open" else None
        storm = each.alerts[0].id if each.together else None
        if each.kind == "worse":
            at = (alert.escalate_at or at) if alert.state == "open" else None
            return _mark(alert.id, alert.escalation_step, at) | {"storm_id": storm or alert.storm_id}
        return _mark(alert.id, 0, at) | {"storm_id": storm}

    def _said(self, each: Told, alert: AlertRow, held: datetime | None) -> list[Event]:
        worse = [Event(alert.id, "worse", f"{alert.told_severity} before, {alert.severity} now")]
        waits = [Event(alert.id, "not_told", f"it is quiet until {moment(held)}")] if held is not None else []
        with_others = [Event(alert.id, "told", f"together with {len(each.alerts) - 1} others")] if each.together else []
        return [*(worse if each.kind == "worse" else ()), *waits, *with_others]

    def _notices(
        self,
        kind: str,
        alerts: Sequence[AlertRow],
        way: Way,
        channels: Sequence[str],
        *,
        who: str | None = None,
        reason: str | None = None,
    ) -> list[NewNotice]:
        first = alerts[0]
        severity = max((alert.severity for alert in alerts), key=rank)
        good = [alert.last_good_run for alert in alerts[:1] if alert.last_good_run]
        story = Story(
            kind=kind,
            alerts=alerts,
            now=self._pass.now,
            explains=self._pass.consequences([first.id]).get(first.id, []) if len(alerts) == 1 else (),
            last_good_at=self._pass.ended_at(good),
            who=who,
            reason=reason,
        )
        said = message(story, self._links)
        return [
            NewNotice(
                alert=first.id,
                kind=kind,
                channel=channel,
                severity=severity,
                title=said.title,
                body=said.body,
                html=said.html,
                fallbacks=[name for name in (*way.fallbacks, *way.to) if name not in channels],
                facts={"markdown": said.markdown, "short": said.short, "alerts": [alert.id for alert in alerts]},
                publish_at=way.held_until(self._pass.now, severity),
            )
            for channel in channels
        ]

    def _way(self, alert: AlertRow) -> Way:
        return self._routes.way(alert, without=tuple(_out(alert, self._failing)))

    def _why_not(self, alert: AlertRow) -> str:
        if alert.cause_id is not None:
            return f"alert {alert.cause_id} is its cause"
        if not self._routes.channels:
            return "there is no channel: steadybeat_alert_channels is empty"
        if flaps(alert, self._pass.now):
            return "it comes and goes"
        return "more are told together in a minute" if self._way(alert).to else "no route takes it"

    def _without_mute_causes(self, alerts: Sequence[AlertRow]) -> list[AlertRow]:
        """Return alerts as if they had no cause where nobody would be told of that."""
        causes = {alert.cause_id for alert in alerts}
        mute = {alert.id for alert in alerts if alert.id in causes and not self._way(alert).to}
        return [replace(alert, cause_id=None) if alert.cause_id in mute else alert for alert in alerts]

    def _not_shared(self, alerts: Sequence[AlertRow]) -> list[int]:
        """Return whose notices are about none but these."""
        over = {alert.id for alert in alerts}
        shared = {row.storm_id for row in self._pass.open() if row.id not in over}
        return [alert.id for alert in alerts if alert.id not in shared]


def _mark(alert: int, step: int, at: datetime | None) -> dict[str, Any]:
    return {"id": alert, "escalation_step": step, "escalate_at": at}


def _out(alert: AlertRow, failing: Collection[str]) -> Iterable[str]:
    """Return the channels through which nobody is told of a channel that fails."""
    return (alert.subject, *failing) if alert.rule == "channel_failing" else ()


def silenced(alert: AlertRow, silences: Sequence[Silence]) -> str:
    """Return which silence matches an alert, in words; empty where none does."""
    for silence in silences:
        if fits(silence, alert):
            return f"silence {silence.id} of {silence.who} until {moment(silence.ends_at)}: {silence.reason}"
    return ""


def fits(silence: Silence, alert: AlertRow) -> bool:
    """Return whether an alert is one that a silence means."""
    patterns = (
        (silence.rule, alert.rule), (silence.subject, alert.subject),
        (silence.owner, alert.owner), (silence.service, alert.service),
    )  # fmt: skip
    return all(pattern is None or fnmatchcase(value or "", pattern) for pattern, value in patterns)
