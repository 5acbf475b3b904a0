"""Storms: many alerts of one rule for the same people in one minute are one message. Pure: no clock, no I/O.

So many are told one by one; what comes on top of these is told together, once a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from steadybeat.alerts.quiet import rank
from steadybeat.alerts.routes import Way
from steadybeat.ledger.alerts import AlertRow

WITHIN = timedelta(minutes=1)
"""Alerts so close together are of one storm."""

FLAP_COUNT = 3
"""An alert that has come back more often is told again only after `FLAP_PAUSE`."""

FLAP_PAUSE = timedelta(hours=1)

Ways = Callable[[AlertRow], Way]


@dataclass(frozen=True, slots=True)
class Told:
    """Alerts that one message is about.

    Attributes:
        kind: ``opened``, ``reopened`` or ``worse``.
        together: Whether they are told together because there are so many.
    """

    kind: str
    alerts: tuple[AlertRow, ...]
    way: Way
    together: bool = False


def owed(alert: AlertRow, now: datetime) -> str | None:
    """Return what people are still to be told of an alert: ``opened``, ``reopened``, ``worse`` or None.

    Args:
        alert: One that is not resolved.
        now: Aware.
    """
    if alert.cause_id is not None:
        return None
    if alert.is_told:
        return "worse" if rank(alert.severity) > rank(alert.told_severity) else None
    if alert.state != "open" or flaps(alert, now):
        return None
    return "reopened" if alert.reopened_count else "opened"


def flaps(alert: AlertRow, now: datetime) -> bool:
    """Return whether an alert comes and goes so often that people are not told each time."""
    often = alert.reopened_count > FLAP_COUNT and not alert.is_told
    return often and alert.told_at is not None and now - alert.told_at < FLAP_PAUSE


def tellings(alerts: Sequence[AlertRow], ways: Ways, now: datetime, most: int) -> list[Told]:
    """Return the messages that are due, each with what it is about.

    Args:
        alerts: All that are not resolved, and of which people may be told.
        ways: How people are told of one.
        now: Aware.
        most: So many of one rule and way in `WITHIN` are told one by one.
    """
    due: dict[tuple[str, tuple[str, ...], str], list[AlertRow]] = {}
    before: dict[tuple[str, tuple[str, ...]], list[AlertRow]] = {}
    found: dict[int, Way] = {}
    for alert in alerts:
        kind = owed(alert, now)
        recent = alert.told_at is not None and now - alert.told_at < WITHIN
        if kind is None and not recent:
            continue
        way = found[alert.id] = ways(alert)
        if recent:
            before.setdefault((alert.rule, way.to), []).append(alert)
        if kind is not None and way.to:
            due.setdefault((alert.rule, way.to, kind), []).append(alert)
    messages = []
    for (rule, to, kind), group in due.items():
        earlier = before.get((rule, to), [])
        if len(earlier) + len(group) <= most:
            messages += [Told(kind, (alert,), found[alert.id]) for alert in group]
        elif not any(alert.storm_id is not None for alert in earlier):
            worst_first = sorted(group, key=lambda alert: (-rank(alert.severity), alert.id))
            messages.append(Told(kind, tuple(worst_first), found[worst_first[0].id], together=True))
    return messages
