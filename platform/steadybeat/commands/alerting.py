"""How alerts and silences look to a person and to a machine, and which one a person means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from steadybeat.commands.output import Column, count, moment
from steadybeat.errors import ConfigurationError
from steadybeat.ledger import Ledger
from steadybeat.ledger.alerts import AlertRow
from steadybeat.ledger.silences import Silence
from steadybeat.telemetry.redaction import redact, redact_text

_SHOWN = (
    "id", "rule", "subject", "state", "severity", "owner", "service", "task", "schedule", "run", "summary", "facts",
    "error", "last_good_run", "cause_id", "since", "opened_at", "reopened_at", "last_seen_at", "seen_count",
    "reopened_count", "acknowledged_at", "acknowledged_by", "acknowledged_reason", "resolved_at", "resolved_by",
    "resolved_reason", "told_at", "escalation_step", "escalate_at",
)  # fmt: skip


def documented(alert: AlertRow) -> dict[str, Any]:
    """Return an alert for JSON."""
    whole = asdict(alert)
    shown = {name: whole[name] for name in _SHOWN}
    texts = ("summary", "error", "acknowledged_reason", "resolved_reason")
    return shown | {name: whole[name] and redact_text(whole[name]) for name in texts} | {"facts": redact(alert.facts)}


def alert_of(book: Ledger, number: int) -> AlertRow:
    """Return an alert by its number.

    Raises:
        ConfigurationError: None has it.
    """
    alert = book.alerts.one(number)
    if alert is None:
        raise ConfigurationError(f"ALERT={number}: there is no such alert. `celery -A … alerts list --all` shows them.")
    return alert


def answerable(book: Ledger, wanted: Sequence[int], what: str) -> list[int]:
    """Return the alerts that an answer would change: of those that are meant, and those told together with them.

    Args:
        book: The ledger.
        wanted: Their numbers.
        what: ``acknowledged`` or ``resolved``.
    """
    found = [alert_of(book, number) for number in wanted]
    if what == "acknowledged":
        found += [each for each in book.alerts.find(limit=10_000) if each.storm_id in wanted]
    states = ("open",) if what == "acknowledged" else ("open", "acknowledged")
    return sorted({each.id for each in found if each.state in states})


def numbers(alerts: Sequence[int]) -> str:
    """Return alerts as the subject of a sentence: ``Alert 3``, ``Alerts 3, 4``."""
    return f"Alert{'' if len(alerts) == 1 else 's'} {', '.join(map(str, alerts))}"


def facts_of(alert: AlertRow) -> list[tuple[str, str]]:
    """Return what there is to say about an alert, a name and a text for each."""
    return [
        ("alert", str(alert.id)),
        ("state", alert.state),
        ("severity", alert.severity),
        ("rule", alert.rule),
        ("subject", alert.subject),
        ("summary", redact_text(alert.summary)),
        ("error", redact_text(alert.error or "")),
        ("owner", alert.owner or "nobody"),
        ("service", alert.service or ""),
        ("run", alert.run or ""),
        ("last good run", alert.last_good_run or ""),
        ("since", moment(alert.since)),
        ("opened", moment(alert.opened_at)),
        (
            "came back",
            moment(alert.reopened_at) and f"{moment(alert.reopened_at)}, {count(alert.reopened_count, 'time')}",
        ),
        ("seen", f"{count(alert.seen_count, 'time')}, last {moment(alert.last_seen_at)}"),
        ("cause", f"alert {alert.cause_id}" if alert.cause_id else ""),
        ("told", moment(alert.told_at) or "nobody"),
        ("acknowledged", _answer(alert.acknowledged_at, alert.acknowledged_by, alert.acknowledged_reason)),
        ("next step", moment(alert.escalate_at)),
        ("resolved", _answer(alert.resolved_at, alert.resolved_by, alert.resolved_reason)),
    ]


def _answer(at: Any, who: str | None, reason: str | None) -> str:
    by = f" by {who}: {redact_text(reason or '')}" if who else ", by itself" if at else ""
    return f"{moment(at)}{by}" if at else ""


def notice_state(notice: dict[str, Any]) -> str:
    """Return what became of a notice: ``sent``, ``failed``, ``given up`` or ``waits``."""
    if notice["sent_at"]:
        return "sent"
    if notice["given_up_at"]:
        return "given up"
    return "failed" if notice["error"] else "waits"


def matched(silence: Silence) -> str:
    """Return what a silence matches, in words."""
    pairs = (
        ("rule", silence.rule),
        ("subject", silence.subject),
        ("owner", silence.owner),
        ("service", silence.service),
    )
    return ", ".join(f"{name} {pattern}" for name, pattern in pairs if pattern is not None)


def silence_document(silence: Silence) -> dict[str, Any]:
    """Return a silence for JSON."""
    return asdict(silence) | {"reason": redact_text(silence.reason)}


ALERT_COLUMNS = [
    Column(title="alert", value=lambda alert: str(alert.id), right=True),
    Column(title="severity", value=lambda alert: alert.severity),
    Column(title="state", value=lambda alert: alert.state),
    Column(title="rule", value=lambda alert: alert.rule),
    Column(title="subject", value=lambda alert: alert.subject, tight="wrap"),
    Column(title="owner", value=lambda alert: alert.owner or "", shown_from=80),
    Column(title="since", value=lambda alert: moment(alert.since or alert.opened_at), shown_from=100, style="dim"),
    Column(title="seen", value=lambda alert: f"{alert.seen_count:,}", right=True, shown_from=100),
    Column(title="summary", value=lambda alert: redact_text(alert.summary), tight="cut"),
]
"""How a list of alerts looks."""

EVENT_COLUMNS = [
    Column(title="at", value=lambda event: moment(event["at"]), style="dim"),
    Column(title="what", value=lambda event: event["what"]),
    Column(title="who", value=lambda event: event["who"] or ""),
    Column(title="text", value=lambda event: redact_text(event["text"] or ""), tight="wrap"),
]
"""How the history of an alert looks."""

NOTICE_COLUMNS = [
    Column(title="written", value=lambda notice: moment(notice["created_at"]), style="dim"),
    Column(title="notice", value=lambda notice: notice["kind"]),
    Column(title="channel", value=lambda notice: notice["channel"]),
    Column(title="state", value=notice_state),
    Column(title="sent", value=lambda notice: moment(notice["sent_at"])),
    Column(title="tries", value=lambda notice: str(notice["try_count"]), right=True),
    Column(title="error", value=lambda notice: redact_text(notice["error"] or ""), tight="cut"),
]
"""How the notices of an alert look."""

SILENCE_COLUMNS = [
    Column(title="silence", value=lambda silence: str(silence.id), right=True),
    Column(title="of", value=matched, tight="wrap"),
    Column(title="from", value=lambda silence: moment(silence.begins_at)),
    Column(title="until", value=lambda silence: moment(silence.ended_at or silence.ends_at)),
    Column(title="who", value=lambda silence: silence.who, shown_from=80, style="dim"),
    Column(title="reason", value=lambda silence: redact_text(silence.reason), tight="cut"),
]
"""How silences look."""
