"""What a message says: what is wrong, since when, whose it is, and what to type next. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from shlex import quote
from urllib.parse import quote as in_url

from steadybeat.ledger.alerts import AlertRow
from steadybeat.rules import RULES
from steadybeat.settings import Settings
from steadybeat.telemetry.redaction import redact_text
from steadybeat.wording import length, moment

LISTED_COUNT = 20
"""So many names are listed in one message."""

_LINE_LIMIT = 500
_SHORT_LIMIT = 155
_OF_RULE: Mapping[str, tuple[str, ...]] = {
    "no_leader": ("health", "beat"),
    "schema_skew": ("ledger", "status"),
    "ledger_away": ("ledger", "status"),
    "dead_letter": ("dead", "list", "--task"),
}
_ENDINGS = ("acknowledged", "resolved")


@dataclass(frozen=True, slots=True)
class Message:
    """What one channel is told, in each form that channels take.

    Attributes:
        body: Plain text.
        markdown: The same with the command marked as code.
        html: The same for mail.
        short: One line for a telephone.
    """

    title: str
    body: str
    markdown: str
    html: str
    short: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Where a message points to; empty: nowhere.

    Attributes:
        app: What stands behind ``celery -A``.
    """

    app: str
    flower_url: str = ""
    logs_url: str = ""
    runbooks_url: str = ""

    @classmethod
    def of(cls, settings: Settings, app: str) -> Links:
        """Return those that the settings say."""
        return cls(
            app=settings.celery_app or app,
            flower_url=settings.flower_url.rstrip("/"),
            logs_url=settings.logs_url,
            runbooks_url=settings.runbooks_url.rstrip("/"),
        )

    def command(self, *words: str) -> str:
        """Return a command line to be copied."""
        return f"celery -A {self.app} {' '.join(quote(word) for word in words)}"

    def logs(self, *, run_id: str | None, **facts: str | None) -> str:
        """Return where the lines of something are; empty where ``steadybeat_logs_url`` says nothing of it.

        Args:
            run_id: Of a run.
            facts: Its ``task``, ``schedule`` and ``service``.
        """
        if not self.logs_url or (run_id is None and "{run_id}" in self.logs_url):
            return ""
        url = self.logs_url
        for name, value in {"run_id": run_id, **facts}.items():
            url = url.replace(f"{{{name}}}", in_url(value or "", safe=""))
        return url

    def shown(self, alert: AlertRow) -> list[tuple[str, str]]:
        """Return the links of an alert, with what each leads to."""
        pairs = []
        if self.flower_url:
            pairs.append(("flower", f"{self.flower_url}/alert/{alert.id}"))
        logs = self.logs(run_id=alert.run, task=alert.task, schedule=alert.schedule, service=alert.service)
        if logs:
            pairs.append(("logs", logs))
        if self.runbooks_url:
            pairs.append(("runbook", f"{self.runbooks_url}/{alert.rule}.md"))
        return pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What a message is about.

    Attributes:
        kind: Of the notice.
        alerts: Which; the first stands for the others, all of one rule.
        now: Aware.
        explains: What the first is the cause of, as subjects.
        last_good_at: When the last run ended that did well.
        who: A person who has answered.
        reason: Why.
    """

    kind: str
    alerts: Sequence[AlertRow]
    now: datetime
    explains: Sequence[str] = ()
    last_good_at: Mapping[str, datetime] = field(default_factory=dict)
    who: str | None = None
    reason: str | None = None


def message(story: Story, links: Links) -> Message:
    """Return the message that tells a story."""
    first = story.alerts[0]
    title = _title(story)
    rows = _storm_rows(story) if len(story.alerts) > 1 else _rows(story)
    if len(story.alerts) > 1:
        commands = [("look closer", links.command("alerts", "list", "--rule", first.rule))]
    else:
        commands = [("look closer", closer(first, links))]
    if story.kind not in _ENDINGS:
        commands.append(("answer", f"{links.command('alerts', 'ack', str(first.id))} --reason …"))
    shown = links.shown(first)
    return Message(
        title=title,
        body="\n".join(f"{name}: {value}" for name, value in (*rows, *commands, *shown)),
        markdown="\n".join(
            [f"{name}: {value}" for name, value in rows]
            + [f"{name}: `{value}`" for name, value in commands]
            + [f"{name}: {value}" for name, value in shown]
        ),
        html=_html(title, rows, commands, shown),
        short=_cut(f"{title}: {rows[0][1]}", _SHORT_LIMIT),
    )


def closer(alert: AlertRow, links: Links) -> str:
    """Return the command that looks closer at an alert."""
    own = _OF_RULE.get(alert.rule)
    if own is not None:
        return links.command(*own, *((alert.subject,) if own[-1] == "--task" else ()))
    if alert.run:
        return links.command("runs", "show", alert.run)
    if alert.schedule:
        return links.command("runs", "why", alert.schedule, "last")
    rule = RULES.get(alert.rule)
    of_subject = {
        "schedule": ("runs", "why", alert.subject, "last"),
        "queue": ("runs", "list", "--service", alert.service or alert.subject, "--state", "enqueued"),
        "channel": ("alerts", "test", alert.subject),
        "monitor": ("heartbeats", "test", alert.subject),
    }
    return links.command(*of_subject.get(rule.subject if rule else "", ("alerts", "show", str(alert.id))))


def ordinal(number: int) -> str:
    """Return ``2nd``, ``3rd``, ``11th``."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"


def listed(names: Sequence[str]) -> str:
    """Return names as one text; of many, how many more there are."""
    more = len(names) - LISTED_COUNT
    return ", ".join(names[:LISTED_COUNT]) + (f" and {more} more" if more > 0 else "")


def _title(story: Story) -> str:
    first = story.alerts[0]
    rule = RULES.get(first.rule)
    about = f"{len(story.alerts)} {rule.subject if rule else 'subject'}s" if len(story.alerts) > 1 else first.subject
    what = f"{rule.title if rule else first.rule}: {about}"
    words = {"reopened": "again, ", "worse": "worse, ", "escalated": "nobody answers, "}.get(story.kind, "")
    mark = story.kind if story.kind in _ENDINGS else first.severity
    return _line(f"[{mark}] {words}{what}")


def _rows(story: Story) -> list[tuple[str, str]]:
    alert = story.alerts[0]
    since = alert.since or alert.opened_at
    rows = [("what", _what(story, alert))]
    if story.kind == "resolved":
        end = alert.resolved_at or story.now
        rows.append(("lasted", f"{length(end - since)}, from {moment(since)} to {moment(end)}"))
    else:
        rows.append(("since", f"{moment(since)}, {length(story.now - since)} ago"))
    if story.kind == "reopened":
        nth = ordinal(alert.reopened_count + 1)
        rows.append(("again", f"the {nth} time in {length(story.now - alert.opened_at)}"))
    rows.append(("owner", _line(alert.owner) if alert.owner else "nobody"))
    if alert.last_good_run:
        at = story.last_good_at.get(alert.last_good_run)
        rows.append(("last good run", alert.last_good_run + (f", {moment(at)}" if at else "")))
    if alert.error and story.kind not in _ENDINGS:
        rows.append(("error", _line(alert.error)))
    if story.explains:
        count = len(story.explains)
        rows.append(("explains", f"{count} other{'' if count == 1 else 's'}: {_line(listed(story.explains))}"))
    return rows


def _what(story: Story, alert: AlertRow) -> str:
    summary = _line(alert.summary)
    because = f" by {story.who}: {_line(story.reason or '')}" if story.who else ""
    if story.kind == "resolved":
        return f"it is over{f', resolved{because}' if because else ''}. It was: {summary}"
    if story.kind == "acknowledged":
        return f"acknowledged{because}. It is: {summary}"
    return summary


def _storm_rows(story: Story) -> list[tuple[str, str]]:
    first, count = story.alerts[0], len(story.alerts)
    rule = RULES.get(first.rule)
    means = rule.means if rule else first.summary
    by = f" by {story.who}: {_line(story.reason or '')}" if story.who else ""
    words = {
        "resolved": f"are over{f', resolved{by}' if by else ''}. They were:",
        "acknowledged": f"are acknowledged{by}. It is:",
    }
    what = f"{count} {words.get(story.kind, 'at once:')}"
    owners = sorted({alert.owner or "nobody" for alert in story.alerts})
    since = min(alert.since or alert.opened_at for alert in story.alerts)
    return [
        ("what", f"{what} {means}"),
        ("which", _line(listed([alert.subject for alert in story.alerts]), 4 * _LINE_LIMIT)),
        ("since", f"{moment(since)}, {length(story.now - since)} ago"),
        ("owner" if len(owners) == 1 else "owners", _line(listed(owners))),
    ]


def _html(
    title: str, rows: Sequence[tuple[str, str]], commands: Sequence[tuple[str, str]], links: Sequence[tuple[str, str]]
) -> str:
    cells = [(name, escape(value)) for name, value in rows]
    cells += [(name, f"<code>{escape(value)}</code>") for name, value in commands]
    cells += [(name, f'<a href="{escape(value)}">{escape(value)}</a>') for name, value in links]
    lines = "<br/>\n".join(f"<b>{name}</b>: {value}" for name, value in cells)
    return f"<h3>{escape(title)}</h3>\n<p>{lines}</p>"


def _line(text: str, limit: int = _LINE_LIMIT) -> str:
    """Return a text as one line without secrets."""
    clean = "".join(each if each.isprintable() else " " for each in redact_text(text))
    return _cut(" ".join(clean.split()), limit)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
