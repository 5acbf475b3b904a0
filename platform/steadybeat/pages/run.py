"""The page of one run: its timeline, what it was called with, what came of it, and what may be done about it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from steadybeat.errors import ConfigurationError, EditConflict
from steadybeat.ledger import Ledger
from steadybeat.operating import cancel as cancelling
from steadybeat.operating import rerun
from steadybeat.operating.burying import Decision, decide_runs
from steadybeat.operating.timeline import Event, Facts, events, pace, standing
from steadybeat.operating.whole import SAID, whole
from steadybeat.pages import pieces
from steadybeat.pages.asked import Asked
from steadybeat.pages.page import Change, NotFound, Page
from steadybeat.pages.person import Role
from steadybeat.telemetry.redaction import redact, redact_text
from steadybeat.wording import length

LINES = 200
OPERATIONS = 50


class Run(Page):
    """One run."""

    path = r"/run/([^/]+)"
    name = "run"
    tab = "runs"
    template = "run.html"

    def look(self, asked: Asked) -> Mapping[str, Any]:
        """Return all there is about a run."""
        book, now = self.book, datetime.now(UTC)
        run = whole(book, run_of(book, asked.parts[0]))
        fire = book.story.fire(run["schedule"], run["scheduled_for"]) if run["schedule"] else None
        around = book.around.of(run)
        operations = book.history.operations(str(run["id"]), limit=OPERATIONS)
        facts = Facts(run=run, around=around, fire=fire, operations=operations, now=now)
        told = events(facts)
        return {
            "run": run,
            "around": around,
            "fire": fire,
            "events": told,
            "since": _distances(told),
            "standing": standing(facts),
            "pace": pace(run, now),
            "lines": _lines(book, run),
            "severity": self._severity(run),
            "logs": self._logs(run),
            "error": redact_text(run["error"] or ""),
            "trace": str(((run["message"] or {}).get("headers") or {}).get("traceparent") or "").split("-")[1:2],
            "can_hasten": _can_hasten(run, around),
            "pieces": pieces,
        }

    def _severity(self, run: Mapping[str, Any]) -> str:
        return severity_of(self.capp, run)

    def _logs(self, run: Mapping[str, Any]) -> str:
        facts = {name: run[name] for name in ("task", "schedule", "service")}
        return str(self.capp.steadybeat.alerts.links.logs(run_id=str(run["id"]), **facts))


def run_of(book: Ledger, written: str) -> dict[str, Any]:
    """Return a run as the ledger has it.

    Raises:
        NotFound: It has none of this id.
    """
    run = pieces.id_of(written)
    found = book.story.run(run)
    if found is None:
        days = length(timedelta(seconds=book.settings.retention_seconds))
        raise NotFound(f"There is no run {run} on record. Runs that ended well are kept for {days}.")
    return found


def severity_of(app: Any, run: Mapping[str, Any]) -> str:
    """Return how bad it is when the task of a run does not run, as far as this program knows its task."""
    app.loader.import_default_modules()
    headers = (run["message"] or {}).get("headers") or {}
    return str(getattr(app.tasks.get(headers.get("task") or run["task"]), "severity", "unknown here"))


def _can_hasten(run: Mapping[str, Any], around: Mapping[str, Any]) -> bool:
    waits_for_time = any(each["waits_for"] is None for each in around["outbox"])
    return run["state"] == "waiting" and (waits_for_time or run["in_line"]) and not run["cancel_requested_at"]


def _distances(told: list[Event]) -> list[str]:
    """Return of each event how long after the one before it came."""
    gaps = [later.at - former.at for former, later in itertools.pairwise(told)]
    return ["", *(f"+{length(gap)}" if gap >= timedelta(0) else "" for gap in gaps)]


def _lines(book: Ledger, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the lines that a run has logged, each with what it says beside its event as one text."""
    found = []
    for line in book.lines.of(str(run["id"]), LINES):
        shown = redact(line["fields"], levels=12)
        rest = " ".join(f"{name}={each}" for name, each in shown.items() if name not in SAID and each is not None)
        stack = str(shown.get("stack") or "")
        found.append({**line, "event": redact_text(line["event"]), "rest": pieces.said(rest, 600), "stack": stack})
    return found


class Retry(Change):
    """A run that waits for its time, or for a person, is tried at once."""

    path = r"/run/([^/]+)/retry"
    name = "run_retry"

    def change(self, asked: Asked, reason: str) -> tuple[str, str]:
        """Requeue a dead run, or have one that waits go on."""
        run, by = run_of(self.book, asked.parts[0]), {"who": asked.person.name, "reason": reason}
        own = str(run["id"])
        address = self.link("run", own)
        if run["state"] == "dead":
            decision = Decision("requeued")
            decide_runs(self.book, decision, [own], by)
            if decision.left:
                raise EditConflict(decision.left[0]["text"], run=own)
            return "It gets another attempt at once.", address
        if not self.book.around.hasten(own, **by):
            raise EditConflict(f"Run {own} does not wait for a time: it is {run['state']}.", run=own)
        return "It goes on within seconds.", address


class Rerun(Change):
    """A new run is made of one that has ended."""

    path = r"/run/([^/]+)/rerun"
    name = "run_rerun"

    def change(self, asked: Asked, reason: str) -> tuple[str, str]:
        """Make it, and lead to it."""
        book, old, again = self.book, run_of(self.book, asked.parts[0]), bool(asked.values.get("again"))
        severity = severity_of(self.capp, old)
        if again and severity in ("critical", "unknown here") and not asked.person.may(Role.ADMIN):
            raise ConfigurationError(
                f"again: {old['task']} is of severity {severity}, and its effect would happen a second time:"
                f" {asked.person.refusal(Role.ADMIN)}",
                name="again",
            )
        rerun.check_task(self.capp, old, again=again, force=asked.person.may(Role.ADMIN))
        found = rerun.standing(book, old, again=again)
        if found is not None:
            if found.verdict == "open":
                raise EditConflict(found.text, run=str(old["id"]))
            return found.text, self.link("run", found.effect_run or old["id"])
        key = rerun.key_of(book.story, old, again=again)
        new = rerun.send(self.capp, old, key=key, by=asked.person.name, reason=reason)
        return f"This is the rerun of {old['id']}, on its way to queue {old['queue']}.", self.link("run", new)


class Cancel(Change):
    """A run is to end before its time."""

    path = r"/run/([^/]+)/cancel"
    name = "run_cancel"

    def change(self, asked: Asked, reason: str) -> tuple[str, str]:
        """Ask for its end; of one that has fanned out also for that of its tenants."""
        own, terminate = str(run_of(self.book, asked.parts[0])["id"]), bool(asked.values.get("terminate"))
        by: dict[str, Any] = {"by": asked.person.name, "reason": reason, "terminate": terminate}
        answer = cancelling.cancel(self.book, [own], **by)
        if answer.over:
            raise EditConflict(f"Run {own} had ended before.", run=own)
        wound = cancelling.wind_down(self.capp, self.book, answer.ended, **by)
        text = answer.text(terminate=terminate) + ("" if wound is None else f" {wound.text()}")
        return text, self.link("fan_out" if wound else "run", own)
