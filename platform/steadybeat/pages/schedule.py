"""The page of one schedule: what it is, when it is due, what became of its fires; and what people do to it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from steadybeat import schedules
from steadybeat.errors import ConfigurationError, EditConflict
from steadybeat.ledger.schedule_lists import MOST_FIRES
from steadybeat.ledger.tables import FIRE_STATES
from steadybeat.operating.clocks import changes_of, clock, in_words
from steadybeat.operating.meaning import meanings
from steadybeat.pages import chart, fires, year
from steadybeat.pages.asked import Asked
from steadybeat.pages.coming import coming_of
from steadybeat.pages.edits import told
from steadybeat.pages.page import Change, NotFound, Page
from steadybeat.pages.person import Role
from steadybeat.pages.schedules import state_of
from steadybeat.schedule import Rule, jitter
from steadybeat.schedule.policies import policies_from_json
from steadybeat.schedules import MAKE_UP
from steadybeat.telemetry.redaction import redact
from steadybeat.wording import count, moment, nominal

NEXT = 20
ROWS = 50
RUNS = 600
"""So many runs the chart of durations has at the most."""
CHANGES = 20
NOW_STILL = timedelta(minutes=5)
"""A form that is not older triggers as of when its page was made: sent twice, as by a double click, it fires once."""
AT_ONCE = timedelta(seconds=5)
"""What is noted so shortly before or after a schedule was changed is that change: both are one transaction."""


class Schedule(Page):
    """One schedule."""

    path = r"/schedule/([^/]+)"
    name = "schedule"
    tab = "schedules"
    template = "schedule.html"

    def look(self, asked: Asked) -> Mapping[str, Any]:
        """Return everything about it."""
        now = datetime.now(UTC)
        name = asked.parts[0]
        row = self.book.story.schedule(name)
        if row is None:
            raise NotFound(f"There is no schedule {name!r}. Its name may be another; the list of schedules has all.")
        rule = coming_of(self.application).rule(name, row["revision"], row["spec"])
        state, before = asked.one_of("state", FIRE_STATES), asked.instant("after")
        found = self.book.schedule_lists.fires(name, state=state, before=before, limit=ROWS + 1)
        history = self.book.history.recent_operations(target=name, limit=CHANGES)
        return {
            "row": row,
            "about": (self.book.schedule_lists.named([name]) or [{}])[0],
            "rule": rule,
            "shown": redact({key: row[key] for key in ("args", "kwargs", "options")}, levels=12),
            "policies": [*meanings(policies_from_json(row["policies"]))],
            "state": state_of(row),
            "next": self._next(row, rule, now),
            "zones": _zones(rule),
            "clock": clock,
            "clocks": _clocks(rule, now),
            "cautions": rule.cautions(),
            "found": found[:ROWS],
            "more": found[ROWS - 1]["scheduled_for"].isoformat() if len(found) > ROWS else None,
            "chosen": state,
            "states": FIRE_STATES,
            "fires": fires,
            "history": [{**each, "details": told(each)} for each in history],
            "revisions": self.book.schedule_lists.revisions_of(name),
            "horizon": timedelta(seconds=self.capp.steadybeat.settings.horizon_seconds),
            "make_up": MAKE_UP,
            **self._pictures(name, now),
        }

    def _next(self, row: Mapping[str, Any], rule: Rule, now: datetime) -> list[dict[str, Any]]:
        if row["retired_at"] is not None or rule.unbound:
            return []
        known = {each["scheduled_for"]: each for each in self.book.schedule_lists.expected(row["name"], now, NEXT)}
        delay = timedelta(seconds=row["policies"].get("jitter_seconds", 0.0))
        found = []
        for at in islice(rule.between(now, datetime.max.replace(tzinfo=UTC)), NEXT):
            own = known.get(at)
            due = own["due_at"] if own else jitter(row["name"], at, delay, rule)
            found.append({"at": at, "due_at": due, "state": own["state"] if own else None})
        return found

    def _pictures(self, name: str, now: datetime) -> dict[str, Any]:
        lists, since = self.book.schedule_lists, now - timedelta(days=year.DAYS)
        rows = lists.days(name, since, now)
        counted = sum(each["n"] for each in rows)
        back_to = rows[0]["day"] if counted >= MOST_FIRES else None
        days = year.days_of(rows, lists.dead_days(name, since))
        took = [
            (each["scheduled_for"], each["seconds"])
            for each in reversed(lists.durations(name, now, RUNS))
            if each["seconds"] is not None and each["seconds"] >= 0 and each["state"] == "succeeded"
        ]
        durations = fires.Durations([seconds for _, seconds in took])
        return {
            "calendar": year.drawn(days, now.date(), back_to),
            "counted": count(counted, "fire"),
            "back_to": back_to,
            "troubled": [(day, own) for day, own in sorted(days.items(), reverse=True) if own.tone == "bad"][:10],
            "chart": chart.drawn(took),
            "took": count(len(took), "successful run"),
            "p50": durations.share(50),
            "p95": durations.share(95),
        }


def _zones(rule: Rule) -> list[str]:
    return [zone for zone in sorted(rule.zones) if zone != "UTC" and zone[0] not in "+-"]


def _clocks(rule: Rule, now: datetime) -> list[str]:
    """Return what the changes of the clocks do within a year, as sentences."""
    if rule.unbound:
        return []
    found = [each for year in (now.year, now.year + 1) for each in changes_of(rule, year)]
    return [in_words(each) for each in found if now <= each["at"] <= now + timedelta(days=366)]


class _OfSchedule(Change):
    """A change of a schedule that somebody looked at: if it is another one by now, she is told."""

    def revision(self, asked: Asked) -> int:
        """Return which revision she looked at.

        Raises:
            ConfigurationError: The form does not say.
        """
        return asked.count("revision", 0, most=2**62)

    def back(self, asked: Asked) -> str:
        """Return the address of the page that the form stands on: the list of schedules, or else the schedule."""
        back = asked.text("back", longest=2000)
        is_list = back.partition("?")[0] == self.link("schedules") and back.isprintable()
        return back if is_list else self.link("schedule", asked.parts[0])

    def conflict(self, name: str, error: EditConflict) -> EditConflict:
        """Return what she is told: who was quicker, when, and why; or that it was nobody."""
        row = self.book.story.schedule(name)
        by = ""
        if row is not None:
            noted = self.book.history.recent_operations(target=name, limit=CHANGES)
            changed = row["updated_at"]
            own = next((each for each in noted if abs(each["at"] - changed) < AT_ONCE), None)
            at = moment(changed)
            by = f" A deploy, or the platform itself, changed it at {at}."
            if own:
                by = f" {own['who']} did “{own['what']}” at {at}: {own['reason']}."
        return EditConflict(
            f"{name} is not any more what you looked at.{by} Nothing of yours was done; look at it again, then decide."
        )


class Pause(_OfSchedule):
    """Pause a schedule."""

    path = r"/schedule/([^/]+)/pause"
    name = "schedule_pause"

    def change(self, asked: Asked, reason: str) -> tuple[str, str]:
        """Have its coming fires skipped."""
        name = asked.parts[0]
        try:
            changed = schedules.pause(
                name, reason=reason, who=asked.person.name, revision=self.revision(asked), app=self.capp
            )
        except EditConflict as error:
            raise self.conflict(name, error) from None
        return f"{name} {'is paused' if changed else 'was paused already'}.", self.back(asked)


class Resume(_OfSchedule):
    """Resume a schedule."""

    path = r"/schedule/([^/]+)/resume"
    name = "schedule_resume"

    def change(self, asked: Asked, reason: str) -> tuple[str, str]:
        """Have it fire again, and make up for what the pause skipped, if that is wanted."""
        name = asked.parts[0]
        make_up = asked.one_of("make_up", MAKE_UP) or "none"
        try:
            made_up = schedules.resume(
                name,
                reason=reason,
                make_up=make_up,
                who=asked.person.name,
                revision=self.revision(asked),
                app=self.capp,
            )
        except EditConflict as error:
            raise self.conflict(name, error) from None
        if made_up is None:
            return f"{name} was not paused.", self.back(asked)
        extra = f" {count(len(made_up), 'fire')} that the pause skipped will be made up for." if made_up else ""
        return f"{name} fires again.{extra}", self.back(asked)


class Trigger(_OfSchedule):
    """Trigger a schedule."""

    path = r"/schedule/([^/]+)/trigger"
    name = "schedule_trigger"

    def change(self, asked: Asked, reason: str) -> tuple[str, str]:
        """Have it fire, now or as of a time that has passed; a form that is sent twice asks for the same fire."""
        name = asked.parts[0]
        try:
            asked_for = schedules.trigger(
                name,
                reason=reason,
                as_of=asked.instant("as_of") or self._opened(asked),
                who=asked.person.name,
                revision=self.revision(asked),
                app=self.capp,
            )
        except EditConflict as error:
            raise self.conflict(name, error) from None
        at = nominal(asked_for.scheduled_for)
        if not asked_for.is_new:
            return f"Nothing to do: {name} at {at} was dispatched before.", self.link("run", asked_for.run)
        return f"{name} fires for {at}, as soon as a Beat leads.", self.back(asked)

    def _opened(self, asked: Asked) -> datetime | None:
        """Return when the form's page was made; None where it does not say, or that is too long ago to mean now."""
        at, now = asked.instant("opened_at"), datetime.now(UTC)
        return at if at is not None and now - NOW_STILL <= at <= now else None


class Remove(_OfSchedule):
    """Take back what was put in."""

    path = r"/schedule/([^/]+)/remove"
    name = "schedule_remove"
    role = Role.ADMIN

    def change(self, asked: Asked, reason: str) -> tuple[str, str]:
        """Have the code's definition hold again, or retire the schedule where the code has none."""
        name = asked.parts[0]
        if asked.text("confirm") != name:
            raise ConfigurationError(f"confirm: must be the name of the schedule, {name}.", name="confirm")
        try:
            verb = schedules.remove(
                name, reason=reason, who=asked.person.name, revision=self.revision(asked), app=self.capp
            )
        except EditConflict as error:
            raise self.conflict(name, error) from None
        said = "is again what the code defines" if verb == "restored" else "is retired"
        return f"{name} {said}.", self.link("schedule", name)
