"""Standing: how the platform stands, from what the ledger says of it; and what of that is not all right.

Pure: figures come in, sentences go out, the worst first. When something is wrong the watchdog's rules say; here it is
said for whoever looks just now, by the same limits (`steadybeat_*_seconds`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from steadybeat.ledger.glance import MOST, MOST_WAITING
from steadybeat.settings import Settings
from steadybeat.wording import count, length

Place = tuple[str, tuple[str, ...], Mapping[str, str]]
"""Where a page is: its name, what its address names, and its values."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is not all right.

    Attributes:
        text: A sentence.
        page: That tells more; None: none does.
        is_bad: Whether it costs fires or runs; otherwise it is to be looked at.
        card: Of the overview, that tells more where no page does.
    """

    text: str
    page: Place | None = None
    is_bad: bool = True
    card: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """How a queue stands.

    Attributes:
        waiting_count: Runs that wait to be started.
        since: Since when the first of them does.
        worker_count: Workers that are alive and consume from it.
        may_be_more: Whether a worker is alive that does not say from what it consumes.
        asked_at: When it was asked last whether somebody consumes.
        answered_at: When somebody has answered last.
        unanswered_since: Since when nobody does; None: the last answer came.
    """

    name: str
    waiting_count: int
    since: datetime | None
    worker_count: int
    may_be_more: bool
    asked_at: datetime | None
    answered_at: datetime | None
    unanswered_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How it stands.

    Attributes:
        now: When.
        settings: By whose limits.
        leading: As `WatchedPlatform.leading` says.
        instances: As `WatchedPlatform.instances` says.
        acting: The instance of the watchdog that acts.
        queues: Of each queue.
        overdue, missed, late, dead, failing, outbox, alerts: As `Glance` says.
    """

    now: datetime
    settings: Settings
    leading: Any
    instances: Sequence[Any]
    acting: str | None
    queues: Sequence[Queue] = ()
    overdue: Mapping[str, Any] = field(default_factory=dict)
    missed: Sequence[Mapping[str, Any]] = ()
    late: Sequence[Mapping[str, Any]] = ()
    dead: Sequence[Mapping[str, Any]] = ()
    failing: Sequence[Mapping[str, Any]] = ()
    outbox: Mapping[str, Any] = field(default_factory=dict)
    alerts: Sequence[Mapping[str, Any]] = ()

    @property
    def leads(self) -> bool:
        """Whether a Beat leads, as far as has been heard of it."""
        heard = self.leading.heard_at
        limit = timedelta(seconds=self.settings.leaderless_seconds)
        return heard is not None and not self.leading.has_ended and self.now - heard <= limit

    def alive(self, role: str) -> list[Any]:
        """Return the instances of a role that are alive."""
        return [each for each in self.instances if each.role == role and each.alive]

    @property
    def troubles(self) -> list[Trouble]:
        """What is not all right, the worst first."""
        found = [*self._platform(), *self._fires(), *self._queues(), *self._runs(), *self._told()]
        return sorted(found, key=lambda each: not each.is_bad)

    def _platform(self) -> Iterator[Trouble]:
        if self.leading.schedule_count and not self.leads:
            heard = self.leading.heard_at
            silent = "no Beat has ever led" if heard is None else f"none was heard of for {length(self.now - heard)}"
            yield Trouble(f"No Beat leads: {silent}. Fires are dispatched as soon as one does.", card="leader")
        if not self.alive("watchdog"):
            yield Trouble("No watchdog is alive: nobody is told of what goes wrong.", is_bad=self.leads, card="leader")
        since = self.outbox.get("since")
        if since is not None and (self.now - since).total_seconds() > self.settings.stalled_seconds:
            yield Trouble(
                f"{counted(self.outbox['n'], 'message')} in the outbox, the first since {length(self.now - since)}:"
                " nobody sends them.",
                card="leader",
            )

    def _fires(self) -> Iterator[Trouble]:
        if self.overdue.get("n"):
            of = self.overdue["example"]
            others = self.overdue["schedule_count"] - 1
            whose = f"of {of}" + (f" and {count(others, 'other schedule')}" if others else "")
            page: Place = ("schedule", (of,), {}) if not others else ("schedules", (), {"sort": "next"})
            late = length(self.now - self.overdue["since"])
            yield Trouble(
                f"{counted(self.overdue['n'], 'fire')} {whose} not dispatched, the first {late} past its time.", page
            )
        if self.missed:
            yield Trouble(
                f"{counted(sum(each['n'] for each in self.missed), 'fire')} missed in the last day, of"
                f" {_named([each['schedule'] for each in self.missed], 'schedule')}.",
                ("schedules", (), {"state": "missed"}),
            )
        if self.late:
            first = min(each["since"] for each in self.late)
            yield Trouble(
                f"{counted(sum(each['n'] for each in self.late), 'fire')} dispatched and not begun, the first due"
                f" {length(self.now - first)} ago, of {_named([each['schedule'] for each in self.late], 'schedule')}.",
                ("schedule", (self.late[0]["schedule"],), {}),
            )

    def _queues(self) -> Iterator[Trouble]:
        for each in self.queues:
            page = ("runs", (), {"service": each.name, "state": "enqueued"})
            waits = self.now - each.since if each.since else timedelta()
            if each.waiting_count and not each.worker_count and not each.may_be_more:
                waiting = counted(each.waiting_count, "run", most=MOST_WAITING)
                yield Trouble(
                    f"No worker consumes from {each.name}: {waiting} there, the first for {length(waits)}.", page
                )
            elif waits.total_seconds() > self.settings.stalled_seconds:
                waiting = counted(each.waiting_count, "run", most=MOST_WAITING)
                yield Trouble(f"{waiting} on {each.name}, the first for {length(waits)}.", page, is_bad=False)
            elif self.is_silent(each):
                assert each.unanswered_since is not None
                yield Trouble(
                    f"{each.name} has not answered a canary for {length(self.now - each.unanswered_since)}.",
                    is_bad=False,
                    card="queues",
                )

    def is_silent(self, queue: Queue) -> bool:
        """Return whether a queue that is asked has not answered in time."""
        since, limit = queue.unanswered_since, self.settings.canary_seconds
        return bool(since and limit and (self.now - since).total_seconds() > limit)

    def _runs(self) -> Iterator[Trouble]:
        if self.failing:
            first = self.failing[0]
            text = f"{_named([each['name'] for each in self.failing], 'schedule')}: the last runs are dead"
            page: Place = ("schedules", (), {"state": "failing"})
            if len(self.failing) == 1:
                text, page = f"{first['name']}: the last {_runs(first['n'])} dead", ("schedule", (first["name"],), {})
            yield Trouble(f"{text}.", page)
        dead = sum(each["of_day"] for each in self.dead)
        if dead:
            tasks = _named([each["task"] for each in self.dead if each["of_day"]], "task")
            yield Trouble(f"{counted(dead, 'dead letter')} of the last day, of {tasks}.", ("dead_letters", (), {}))

    def _told(self) -> Iterator[Trouble]:
        if self.alerts:
            number = self.alerts[0]["n"]
            opened = [each for each in self.alerts if each["state"] == "open"]
            worst = self.alerts[0]
            said = f"{count(number, 'alert')} not resolved"
            if opened:
                said += f", the worst: {worst['rule']} {worst['subject']}"
            yield Trouble(
                f"{said}.", ("alerts", (), {}), is_bad=bool(opened) and worst["severity"] in {"critical", "error"}
            )
        gone = [each for each in self.instances if not each.alive]
        if gone:
            yield Trouble(
                f"{count(len(gone), 'instance')} fell silent in the last hour without a farewell.",
                is_bad=False,
                card="instances",
            )


def counted(number: int, one: str, *, most: int = MOST) -> str:
    """Return a number that is counted up to `most`, with its word: ``1,000 fires and more``."""
    return f"{count(most, one)} and more" if number > most else count(number, one)


def queues_of(
    waiting: Mapping[str, Mapping[str, Any]], canaries: Mapping[str, Mapping[str, Any]], instances: Sequence[Any]
) -> list[Queue]:
    """Return how each queue stands on which runs wait, that is asked, or from which a worker consumes.

    Args:
        waiting: As `Glance.waiting` says.
        canaries: As `Glance.canaries` says.
        instances: As `WatchedPlatform.instances` says.
    """
    workers = [each for each in instances if each.role == "worker" and each.alive]
    may_be_more = any(each.queues is None for each in workers)
    consumed = [queue for each in workers for queue in each.queues or ()]
    found = []
    for name in sorted({*waiting, *canaries, *consumed}):
        own, asked = waiting.get(name, {}), canaries.get(name, {})
        found.append(
            Queue(
                name=name,
                waiting_count=own.get("n", 0),
                since=own.get("since"),
                worker_count=consumed.count(name),
                may_be_more=may_be_more,
                asked_at=asked.get("sent_at"),
                answered_at=asked.get("answered_at"),
                unanswered_since=asked.get("unanswered_since"),
            )
        )
    return found


def by_role(instances: Sequence[Any]) -> list[tuple[str, str]]:
    """Return of each role how many instances are alive, and of which release where there are several.

    Args:
        instances: As `WatchedPlatform.instances` says.
    """
    releases: dict[str, Counter[str]] = {}
    for each in instances:
        if each.alive:
            releases.setdefault(each.role, Counter())[each.release] += 1
    found = []
    for role, own in sorted(releases.items()):
        told = [f"{n:,} of release {release}" for release, n in own.most_common()]
        found.append((role, f"{own.total():,}, release {next(iter(own))}" if len(own) == 1 else ", ".join(told)))
    return found


def by_severity(rows: Sequence[Any]) -> dict[str, int]:
    """Return how many alerts of each severity are not resolved, the worst first.

    Args:
        rows: The ``alerts`` of the gauges.
    """
    found: Counter[str] = Counter()
    for row in rows:
        found[row.severity] += row.n
    return {severity: found[severity] for severity in ("critical", "error", "warning", "info") if found[severity]}


def _named(names: Sequence[str], word: str) -> str:
    """Return the only name, or how many there are."""
    return names[0] if len(names) == 1 else counted(len(names), word)


def _runs(number: int) -> str:
    return "run is" if number == 1 else f"{number:,} runs are"
