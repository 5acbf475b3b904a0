"""The pages of alerts: what is wrong, what was, who was told, and what people answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from steadybeat.alerts.quiet import SEVERITIES
from steadybeat.alerts.telling import silenced
from steadybeat.errors import ConfigurationError, EditConflict
from steadybeat.ledger.alert_lists import FILTERS
from steadybeat.ledger.alerts import AlertRow
from steadybeat.pages import pieces
from steadybeat.pages.asked import Asked
from steadybeat.pages.page import Change, NotFound, Page
from steadybeat.pages.person import Role
from steadybeat.rules import RULES
from steadybeat.telemetry.redaction import redact, redact_text
from steadybeat.wording import moment

ROWS = 50
EXPLAINED = 500
"""So many alerts that others explain are shown."""
SILENCES: Mapping[str, timedelta] = {
    "1 hour": timedelta(hours=1),
    "4 hours": timedelta(hours=4),
    "1 day": timedelta(days=1),
    "1 week": timedelta(days=7),
}


class Alerts(Page):
    """Alerts: open ones first, or those that are over, or silences."""

    path = r"/alerts"
    name = "alerts"
    tab = "alerts"
    template = "alerts.html"

    def look(self, asked: Asked) -> Mapping[str, Any]:
        """Return a page of alerts."""
        which = asked.one_of("which", ("open", "over", "silences")) or "open"
        narrowed = {name: asked.maybe(name) for name in FILTERS}
        asked.one_of("severity", SEVERITIES)
        found: dict[str, Any] = {"rows": [], "more": None, "explained": {}, "silences": []}
        if which == "silences":
            found["silences"] = self.book.silences.all(everything=True)
        else:
            found |= self._open(asked, narrowed) if which == "open" else self._over(asked, narrowed)
        return {
            **found,
            "which": which,
            "rules": RULES,
            "severities": SEVERITIES,
            "narrowed": any(narrowed.values()),
            "counts": self.book.alerts.open_counts(),
            "matched": matched,
            "pieces": pieces,
        }

    def _open(self, asked: Asked, narrowed: dict[str, str | None]) -> dict[str, Any]:
        found = self.book.alert_lists.open(narrowed, behind=_behind(asked), limit=ROWS + 1)
        rows, last = found[:ROWS], found[ROWS - 1] if len(found) > ROWS else None
        explained = self.book.alert_lists.explained([row["id"] for row in rows], limit=EXPLAINED)
        return {"rows": rows, "more": last and f"{last['rank']}~{last['id']}", "explained": explained}

    def _over(self, asked: Asked, narrowed: dict[str, str | None]) -> dict[str, Any]:
        place = pieces.place(asked)
        behind = None if place is None else (place[0], _number(place[1]))
        found = self.book.alert_lists.over(narrowed, behind=behind, limit=ROWS + 1)
        rows, last = found[:ROWS], found[ROWS - 1] if len(found) > ROWS else None
        return {"rows": rows, "more": last and pieces.cursor(last["resolved_at"], last["id"])}


class Alert(Page):
    """One alert, its history, and who was told."""

    path = r"/alert/(\d+)"
    name = "alert"
    tab = "alerts"
    template = "alert.html"

    def look(self, asked: Asked) -> Mapping[str, Any]:
        """Return all there is about an alert."""
        book, alert = self.book, alert_of(self.book, asked.parts[0])
        rule = RULES.get(alert.rule)
        held = [each for each in book.silences.all() if each.begins_at <= datetime.now(UTC)]
        links = [pair for pair in self.capp.steadybeat.alerts.links.shown(alert) if pair[0] != "flower"]
        return {
            "alert": alert,
            "rule": rule,
            "summary": redact_text(alert.summary),
            "error": redact_text(alert.error or ""),
            "facts": redact(dict(alert.facts), levels=12),
            "events": book.alerts.events(alert.id),
            "notices": book.notices.of_alerts(sorted({alert.id, alert.storm_id or alert.id})),
            "consequences": book.alerts.consequences(alert.id)[:EXPLAINED],
            "links": [(name, url) for name, url in links if url.startswith(("http://", "https://"))],
            "silenced": silenced(alert, held),
            "silences": SILENCES,
            "notice_state": notice_state,
            "pieces": pieces,
        }


class Acknowledge(Change):
    """Somebody sees to an alert."""

    path = r"/alert/(\d+)/acknowledge"
    name = "alert_acknowledge"

    def change(self, asked: Asked, reason: str) -> tuple[str, str]:
        """Say so."""
        alert = alert_of(self.book, asked.parts[0])
        done = self.capp.steadybeat.alerts.life.acknowledge([alert.id], who=asked.person.name, reason=reason)
        if alert.id not in done:
            now = alert_of(self.book, str(alert.id))
            raise EditConflict(f"Alert {alert.id} is {now.state} already.", alert=alert.id)
        return f"Alert {alert.id} is acknowledged: nobody else is told.", self.link("alert", alert.id)


class Resolve(Change):
    """An alert is over."""

    path = r"/alert/(\d+)/resolve"
    name = "alert_resolve"

    def change(self, asked: Asked, reason: str) -> tuple[str, str]:
        """Say so."""
        alert = alert_of(self.book, asked.parts[0])
        done = self.capp.steadybeat.alerts.life.resolve([alert.id], who=asked.person.name, reason=reason)
        if alert.id not in done:
            raise EditConflict(f"Alert {alert.id} is resolved already.", alert=alert.id)
        return f"Alert {alert.id} is resolved; if it is still so, it comes back.", self.link("alert", alert.id)


class Silence(Change):
    """Nobody is told of an alert, or of its kind, for a while."""

    path = r"/alert/(\d+)/silence"
    name = "alert_silence"
    role = Role.ADMIN

    def change(self, asked: Asked, reason: str) -> tuple[str, str]:
        """Have it so."""
        alert, now = alert_of(self.book, asked.parts[0]), datetime.now(UTC)
        lasting = SILENCES.get(asked.one_of("lasting", tuple(SILENCES)) or "1 hour", SILENCES["1 hour"])
        of_all = asked.one_of("of", ("it", "rule")) == "rule"
        matches = {
            "rule": _exactly(alert.rule),
            "subject": None if of_all else _exactly(alert.subject),
            "owner": None,
            "service": None,
        }
        made = self.book.silences.add(
            matches, begins_at=now, ends_at=now + lasting, who=asked.person.name, reason=reason
        )
        return f"Nobody is told of it until {moment(made.ends_at)}.", self.link("alert", alert.id)


class Unsilence(Change):
    """A silence ends before its time."""

    path = r"/alerts/silence/(\d+)/end"
    name = "silence_end"
    role = Role.ADMIN

    def change(self, asked: Asked, reason: str) -> tuple[str, str]:
        """End it."""
        number = pieces.number(asked.parts[0])
        if self.book.silences.end(number, who=asked.person.name, reason=reason) is None:
            raise EditConflict(f"Silence {number} is over already, or there is none of this number.", silence=number)
        return f"Silence {number} is over.", self.link("alerts", which="silences")


def alert_of(book: Any, number: str) -> AlertRow:
    """Return an alert by its number.

    Raises:
        NotFound: None has it.
    """
    found: AlertRow | None = book.alerts.one(pieces.number(number))
    if found is None:
        raise NotFound(f"There is no alert {number}, or not any more.")
    return found


def matched(silence: Any) -> str:
    """Return what a silence matches, in words."""
    pairs = [(name, each) for name, each in asdict(silence).items() if name in ("rule", "subject", "owner", "service")]
    return ", ".join(f"{name} {pattern}" for name, pattern in pairs if pattern is not None) or "everything"


def notice_state(notice: Mapping[str, Any]) -> tuple[str, str]:
    """Return what became of a notice: how it is coloured, and the word."""
    if notice["sent_at"]:
        return "succeeded", "sent"
    if notice["given_up_at"]:
        return "failed", "given up"
    return ("failed", "failed") if notice["error"] else ("waiting", "waits")


def _exactly(text: str) -> str:
    """Return the pattern that matches a text, with nothing in it that stands for more."""
    return "".join(f"[{each}]" if each in "*?[" else each for each in text)


def _behind(asked: Asked) -> tuple[int, int] | None:
    text = asked.text("after")
    if not text:
        return None
    rank, _, alert = text.partition("~")
    return _number(rank, 4), _number(alert)


def _number(text: str, longest: int = 18) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > longest:
        raise ConfigurationError(
            f"after={text[:60]!r}: is no place in this list. Begin at the first page.", name="after"
        )
    return int(text)
