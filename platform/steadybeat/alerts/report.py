"""A report: what one day was like for what one owner answers for, gathered from the ledger."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from steadybeat.errors import ScheduleError
from steadybeat.ledger import Ledger
from steadybeat.schedule import from_json
from steadybeat.schedule.surprises import Surprise, surprises
from steadybeat.schedule.zones import reading
from steadybeat.telemetry.redaction import redact_text
from steadybeat.wording import headline, one_line

NOBODY = "nobody"
"""Who answers for a task that names no owner."""

AHEAD = timedelta(days=35)
"""How far ahead a report tells of changes of the clocks: one is told of in at least one month's reports."""

SLOW_COUNT = 10
"""Of so many schedules, those with the longest runs, the usual length is looked up."""

ALERT_COUNT = 500
"""A report tells of so many alerts at the most."""


@dataclass(frozen=True, slots=True)
class Day:
    """A day of a time zone.

    Attributes:
        since: When it begins, aware UTC.
        until: When the next one begins.
    """

    date: date
    tz: str = "UTC"
    since: datetime = field(init=False)
    until: datetime = field(init=False)

    def __post_init__(self) -> None:
        for name, day in (("since", self.date), ("until", self.date + timedelta(days=1))):
            object.__setattr__(self, name, reading(self.tz, datetime.combine(day, time())))

    @classmethod
    def before(cls, now: datetime, tz: str) -> Day:
        """Return the last day of a time zone that has ended."""
        return cls(now.astimezone(ZoneInfo(tz)).date() - timedelta(days=1), tz)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleDay:
    """What a day was like for one schedule.

    Attributes:
        states: Its fires by state.
        succeeded_count: Fires of which a run has succeeded.
        dead_count: Fires whose last run is dead.
        open_count: Fires of which a run has not ended yet.
        cancelled_count: Fires whose runs were cancelled.
        late_count: Fires that began late.
        latest: By how much the latest of them did.
        latest_at: Which that was, by its nominal time.
        longest: Of its runs.
        longest_run: The id of that.
        usual: The median of its runs that succeeded in the four weeks before; None where it is not known.
        dead_run: The run that died last.
        error: Why that did, in one line, without secrets.
    """

    name: str
    task: str
    severity: str
    paused: str | None = None
    states: Mapping[str, int] = field(default_factory=dict)
    succeeded_count: int = 0
    dead_count: int = 0
    open_count: int = 0
    cancelled_count: int = 0
    attempt_count: int = 0
    retry_count: int = 0
    item_count: int = 0
    late_count: int = 0
    latest: timedelta | None = None
    latest_at: datetime | None = None
    longest: timedelta | None = None
    longest_run: str | None = None
    usual: timedelta | None = None
    dead_run: str | None = None
    error: str | None = None

    @property
    def fire_count(self) -> int:
        """How many fires it had."""
        return sum(self.states.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfired:
    """Fires of one schedule that had no run, for one reason.

    Attributes:
        state: ``missed``, ``skipped``, ``coalesced``; ``expected`` or ``waiting`` where nothing has become of them yet.
        cause: The reason as one of few words.
        reason: Of the last of them.
    """

    schedule: str
    state: str
    cause: str | None
    count: int
    first_at: datetime
    last_at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherRuns:
    """Runs of one task that no schedule asked for."""

    task: str
    run_count: int = 0
    succeeded_count: int = 0
    dead_count: int = 0
    cancelled_count: int = 0
    open_count: int = 0
    retry_count: int = 0
    item_count: int = 0
    longest: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one day was like for one owner. Texts in it hold no secrets.

    Attributes:
        owner: None for what has no owner.
        made_at: When the ledger was asked.
        letters: Dead letters by task and schedule: ``new_count``, ``waiting_count``, ``oldest_at``, ``reason``.
        alerts: Those that were there on the day, as the ledger has them.
        surprises: What changes of the clocks do to schedules in `AHEAD` from the end of the day.
        left_out: Days before it for which no report was sent.
        app: What stands behind ``celery -A`` in the commands that it names.
    """

    owner: str | None
    day: Day
    made_at: datetime
    schedules: Sequence[ScheduleDay] = ()
    unfired: Sequence[Unfired] = ()
    letters: Sequence[Mapping[str, Any]] = ()
    others: Sequence[OtherRuns] = ()
    alerts: Sequence[Mapping[str, Any]] = ()
    surprises: Sequence[tuple[str, Surprise]] = ()
    left_out: Sequence[date] = ()
    app: str = "tasks"

    def total(self, name: str) -> int:
        """Return the sum of a count of all schedules, such as ``dead_count``."""
        return sum(getattr(each, name) for each in self.schedules)

    def in_state(self, *states: str) -> int:
        """Return how many fires are in one of some states."""
        return sum(each.states.get(state, 0) for each in self.schedules for state in states)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that anybody could be told."""
        return not (self.schedules or self.letters or self.others or self.alerts)


class Gathering:
    """Gathers the reports of one day: what is asked once for every owner is kept.

    Args:
        ledger: The ledger.
        day: The day.
        app: What stands behind ``celery -A`` in the commands that a report names.
    """

    def __init__(self, ledger: Ledger, day: Day, app: str = "tasks") -> None:
        self._reporting, self._day, self._app = ledger.reporting, day, app
        self._late_after = timedelta(seconds=ledger.settings.late_seconds)
        self._others: dict[str | None, list[OtherRuns]] | None = None

    def report(self, owner: str | None, now: datetime, left_out: Sequence[date] = ()) -> Report:
        """Return the report of an owner.

        Args:
            owner: None: of what has no owner.
            now: Aware.
            left_out: Days before it for which no report was sent.

        Raises:
            LedgerUnavailable: Postgres does not answer.
        """
        day, asks = self._day, self._reporting
        rows = asks.schedules(owner, day.since)
        names = [row["name"] for row in rows]
        fires = asks.fires(names, day.since, day.until)
        letters = asks.letters(owner, day.since, day.until)
        alerts = asks.alerts(owner, day.since, day.until, ALERT_COUNT)
        return Report(
            owner=owner,
            day=day,
            made_at=now,
            schedules=self._schedules(rows, fires),
            unfired=[_unfired(row) for row in fires if row["state"] != "dispatched"],
            letters=[{**row, "reason": _said(row["reason"])} for row in letters],
            others=self._of_no_schedule().get(owner, []),
            alerts=[{**row, "summary": _said(row["summary"])} for row in alerts],
            surprises=coming(
                ((row["name"], row["spec"]) for row in rows if row["retired_at"] is None), day.until, day.until + AHEAD
            ),
            left_out=left_out,
            app=self._app,
        )

    def _schedules(self, rows: Sequence[Mapping[str, Any]], fires: Sequence[Mapping[str, Any]]) -> list[ScheduleDay]:
        day, asks = self._day, self._reporting
        names = [row["name"] for row in rows]
        states: dict[str, Counter[str]] = defaultdict(Counter)
        for fire in fires:
            states[fire["schedule"]][fire["state"]] += fire["fire_count"]
        runs = {row["schedule"]: row for row in asks.runs(names, day.since, day.until)}
        late = {row["schedule"]: row for row in asks.late(names, day.since, day.until, self._late_after)}
        longest = {name: row["longest_seconds"] for name, row in runs.items() if row["longest_seconds"] is not None}
        slowest = sorted(longest, key=lambda name: -longest[name])[:SLOW_COUNT]
        usual = asks.medians(slowest, day.since)
        return [
            _schedule(row, states[row["name"]], runs.get(row["name"]), late.get(row["name"]), usual.get(row["name"]))
            for row in rows
        ]

    def _of_no_schedule(self) -> dict[str | None, list[OtherRuns]]:
        if self._others is None:
            self._others = _by_owner(self._reporting.others(self._day.since, self._day.until))
        return self._others


def coming(
    specs: Iterable[tuple[str, Mapping[str, Any]]], start: datetime, end: datetime
) -> list[tuple[str, Surprise]]:
    """Return what the changes of the clocks do to schedules in ``start < t <= end``, by time and name.

    Of a rule that this release cannot read, being one of a newer release, nothing is said.

    Args:
        specs: Names and rules of time, as the ledger has them.
        start: Aware.
        end: Aware.
    """
    found = []
    for name, spec in specs:
        with contextlib.suppress(ScheduleError):
            found += [(name, each) for each in surprises(from_json(spec), start, end)]
    return sorted(found, key=lambda pair: (pair[1].at, pair[0], pair[1].kind, pair[1].walls))


def _schedule(
    row: Mapping[str, Any],
    states: Mapping[str, int],
    runs: Mapping[str, Any] | None,
    late: Mapping[str, Any] | None,
    usual: tuple[timedelta, int] | None,
) -> ScheduleDay:
    found: dict[str, Any] = {}
    if runs is not None:
        counts = ("succeeded", "dead", "open", "cancelled", "attempt", "retry", "item")
        found |= {f"{name}_count": int(runs[f"{name}_count"] or 0) for name in counts}
        error = headline(runs["error"]) or runs["dead_reason"]
        found |= {"longest": _duration(runs["longest_seconds"]), "longest_run": runs["longest_run"]}
        found |= {"dead_run": runs["dead_run"], "error": _said(error) if error else None}
    if late is not None:
        found |= {"late_count": late["fire_count"], "latest": _duration(late["late_seconds"])}
        found["latest_at"] = late["latest_at"]
    return ScheduleDay(
        name=row["name"],
        task=row["task"],
        severity=row["severity"],
        paused=_said(f"paused by {row['paused_by']}: {row['paused_reason']}") if row["paused_at"] else None,
        states=dict(states),
        usual=usual[0] if usual else None,
        **found,
    )


def _unfired(row: Mapping[str, Any]) -> Unfired:
    return Unfired(
        schedule=row["schedule"],
        state=row["state"],
        cause=row["cause"],
        count=row["fire_count"],
        first_at=row["first_at"],
        last_at=row["last_at"],
        reason=_said(row["reason"]),
    )


def _by_owner(rows: Iterable[Mapping[str, Any]]) -> dict[str | None, list[OtherRuns]]:
    counts: dict[tuple[str | None, str], Counter[str]] = defaultdict(Counter)
    longest: dict[tuple[str | None, str], timedelta] = {}
    for row in rows:
        key = row["owner"], row["task"]
        counts[key].update({name: int(row[name] or 0) for name in row if name.endswith("_count")})
        took = _duration(row["longest_seconds"])
        if took is not None:
            longest[key] = max(took, longest.get(key, took))
    found: dict[str | None, list[OtherRuns]] = defaultdict(list)
    for (owner, task), counted in sorted(counts.items(), key=lambda pair: (-pair[1]["run_count"], pair[0][1])):
        found[owner].append(OtherRuns(task=task, longest=longest.get((owner, task)), **counted))
    return found


def _duration(seconds: Any) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=float(seconds))


def _said(text: str | None) -> str:
    """Return a text as it may leave: without secrets, in one line."""
    return one_line(redact_text(text or ""))
