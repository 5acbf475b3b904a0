"""Remembering: what one pass leaves to the next, so that each meets what is new only. All of it is in the ledger too.

How the last run of a schedule ended is judged when it has ended, and kept where something is wrong with it. A process
that begins to watch looks at every schedule first; until then it does not know of each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from steadybeat.errors import ConfigurationError
from steadybeat.expectation import Expectation
from steadybeat.ledger import Ledger
from steadybeat.settings import Settings
from steadybeat.watchdog.usual import Usual

if TYPE_CHECKING:
    from steadybeat.watchdog.looking import Look

_OVERLAP = 2.0
"""What is committed later than it ended is met within so many times what a statement of the ledger may take."""

_PAGE = 500
_FRESH_SECONDS = 3600.0
_KEPT_SECONDS = 86400.0
"""While a schedule is slower, what was usual before that is kept: for a day, and then the new is usual."""

_AFTERMATH = timedelta(minutes=2)
"""What happens on a queue so long after it was in trouble comes of that."""

_DESERTED = timedelta(days=1)

Ask = Callable[[Sequence[str]], Mapping[str, Usual | None]]


class Usuals:
    """What is usual, by name; asked for when it matters, and then known for an hour."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Usual | None]] = {}

    def of(self, names: Iterable[str], ask: Ask, kept: Iterable[str] = ()) -> dict[str, Usual | None]:
        """Return what is usual for some names; None for one of which too little is known.

        Args:
            names: Whose.
            ask: Returns what is usual for some of them.
            kept: Those for which it is known for a day.
        """
        wanted, kept, now = set(names), set(kept), time.monotonic()
        stale = sorted(name for name in wanted if self._age(name, now) > (_FRESH_SECONDS, _KEPT_SECONDS)[name in kept])
        for start in range(0, len(stale), _PAGE):
            some = stale[start : start + _PAGE]
            found = ask(some)
            self._known.update({name: (now, found.get(name)) for name in some})
        return {name: self._known[name][1] for name in wanted}

    def _age(self, name: str, now: float) -> float:
        known = self._known.get(name)
        return float("inf") if known is None else now - known[0]


class Memory:
    """What the passes of one process know from each other.

    Args:
        ledger: The ledger.

    Attributes:
        slow: The last runs that took far longer than usual, by schedule, with what is usual.
        late: The last runs that began too late.
        empty: The last runs that did not do what was expected, with what is wrong.
        deserted_at: When queues were last seen without a consumer, by name.
        consumed_at: When queues were last seen with a consumer, by name.
        looks_since: When queues were looked at first.
        gap: When the ledger did not answer last, from and until: how long a run took then is not known.
        is_complete: Whether each schedule was looked at.
        is_current: Whether that, and what has ended since, is known in this pass.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._settings = ledger.settings
        self._of_schedules, self._of_tasks = Usuals(), Usuals()
        self._since: datetime | None = None
        self._after = ""
        self._judged: set[str] = set()
        self._too_long: dict[str, float] = {}
        self._troubled: dict[str, tuple[datetime, datetime]] = {}
        self._troubles: dict[str, tuple[str, str]] = {}
        self.deserted_at: dict[str, datetime] = {}
        self.consumed_at: dict[str, datetime] = {}
        self.looks_since: datetime | None = None
        self.gap: tuple[datetime, datetime] | None = None
        self.slow: dict[str, tuple[Any, Usual]] = {}
        self.late: dict[str, Any] = {}
        self.empty: dict[str, tuple[Any, str]] = {}
        self.is_complete = self.is_current = False

    def catch_up(self, now: datetime, within: timedelta) -> None:
        """Judge what has ended since the last time; at first also how each schedule stood before, page by page.

        Args:
            now: The ledger's time.
            within: No page begins after this.
        """
        end, since = time.monotonic() + within.total_seconds(), self._since or now
        self.is_current = False
        overlap = timedelta(seconds=_OVERLAP * self._settings.ledger_timeout_seconds)
        rows = self._ledger.watched_schedules.ended_since(since - overlap)
        self._judge([row for row in rows if row.run not in self._judged])
        self._judged = {row.run for row in rows}
        self._since = now
        while not self.is_complete and time.monotonic() < end:
            page = self._ledger.watched_schedules.last_ended(self._after, _PAGE)
            self._judge([row for row in page if row.run is not None])
            self._after = page[-1].schedule if page else ""
            self.is_complete = len(page) < _PAGE
        self.is_current = self.is_complete

    def usual_of_schedules(self, runs: Mapping[str, str]) -> dict[str, Usual | None]:
        """Return what is usual for some schedules.

        Args:
            runs: By schedule the run that is compared with it, and so is no part of it.
        """

        def ask(names: Sequence[str]) -> dict[str, Usual | None]:
            found = self._ledger.watched_schedules.histories(names, [runs[name] for name in names])
            return {name: Usual.of(durations, items) for name, (durations, items) in found.items()}

        return self._of_schedules.of(runs, ask, self.slow)

    def usual_of_tasks(self, queues: Mapping[str, str]) -> dict[str, Usual | None]:
        """Return what is usual for some tasks that have no schedule.

        Args:
            queues: By task, where it runs.
        """

        def ask(names: Sequence[str]) -> dict[str, Usual | None]:
            found = self._ledger.watched_runs.past(names, sorted({queues[name] for name in names}))
            return {name: Usual.of(durations) for name, durations in found.items()}

        return self._of_tasks.of(queues, ask)

    def note_too_long(self, runs: Iterable[str]) -> None:
        """Know that it was told of runs that they go on for too long: they are not slower as well when they end."""
        now = time.monotonic()
        self._too_long = {run: at for run, at in self._too_long.items() if now - at < _KEPT_SECONDS}
        self._too_long.update(dict.fromkeys(runs, now))

    def trouble_before(self, queues: Iterable[str], at: datetime) -> tuple[str, str] | None:
        """Return what was wrong with one of some queues not long before an instant, as a cause.

        Args:
            queues: Their names.
            at: The instant.
        """
        for queue in queues:
            _, until = self._troubled.get(queue, (None, None))
            if until is not None and at - until < _AFTERMATH:
                return self._troubles[queue]
        return None

    def note_queues(self, look: Look) -> None:
        """Know which queues have no consumer, and with which something is wrong.

        A worker that comes, or comes back, has time to do its work before anything is said of it. What begins late
        because of that is told with the trouble, and not after it.
        """
        now = look.now
        self.deserted_at = {queue: at for queue, at in self.deserted_at.items() if now - at < _DESERTED}
        self.deserted_at.update(dict.fromkeys(look.without_consumer, now))
        self.consumed_at.update(dict.fromkeys((queue for worker in look.workers for queue in worker.queues or ()), now))
        self.looks_since = self.looks_since or now
        for queue, head in look.heads.items():
            trouble = look.trouble_of(queue)
            if trouble is not None:
                self._troubles[queue] = trouble
                since, until = self._troubled.get(queue, (head.since, head.since))
                self._troubled[queue] = (min(since, head.since) if until >= head.since else head.since, now)

    def deserted_since(self, queue: str) -> datetime | None:
        """Return since when no pass has seen a consumer of a queue; None: this process has not looked yet."""
        return self.consumed_at.get(queue, self.looks_since)

    def has_looked(self, look: Look) -> bool:
        """Return whether this process has looked at queues for long enough to say that one has no consumer."""
        seconds = timedelta(seconds=self._settings.stalled_seconds)
        return self.looks_since is not None and look.now - self.looks_since >= seconds

    def is_recovering(self, queue: str, now: datetime) -> bool:
        """Return whether something was wrong with a queue until a moment ago."""
        known = self._troubled.get(queue)
        return known is not None and now - known[1] < timedelta(seconds=self._settings.stalled_seconds)

    def is_explained(self, row: Any) -> bool:
        """Return whether something was wrong with the queue of a run while that waited."""
        known = self._troubled.get(row.queue)
        if known is None or row.dispatched_at is None or row.dispatched_at > known[1]:
            return False
        return row.began_at is None or bool(row.began_at >= known[0])

    def _judge(self, rows: Sequence[Any]) -> None:
        usual = self.usual_of_schedules({row.schedule: row.run for row in rows if self._wants_history(row)})
        for row in rows:
            name = row.schedule
            is_late = lateness(row, row.finished_at, self._settings) is not None and not self.is_explained(row)
            _keep(self.late, name, row if is_late else None)
            _keep(self.slow, name, self._slower(row, usual.get(name)))
            _keep(self.empty, name, _emptiness(row, usual.get(name)))

    def _wants_history(self, row: Any) -> bool:
        return _seconds(row) > self._settings.slower_seconds or "%" in (row.expect or "")

    def _spans_gap(self, row: Any) -> bool:
        return self.gap is not None and bool(row.started_at < self.gap[1] and row.finished_at > self.gap[0])

    def _slower(self, row: Any, usual: Usual | None) -> tuple[Any, Usual] | None:
        if usual is None or row.run in self._too_long or self._spans_gap(row):
            return None
        longest = usual.longest_seconds(self._settings.slower_factor, self._settings.slower_seconds)
        return (row, usual) if _seconds(row) > longest else None


def lateness(row: Any, now: datetime, settings: Settings) -> timedelta | None:
    """Return how much later than it was due the run of a fire has begun, where that is more than its schedule allows.

    What is told as `missed` or as `never_started` is not told once more, and what a person asked for is not late.

    Args:
        row: What the ledger says of the run.
        now: It has not begun before this, where it has not.
        settings: How long each may take.
    """
    if row.due_at is None or row.dispatched_at is None or row.asked is not None or getattr(row, "is_rerun", False):
        return None
    began = row.began_at or now
    allowed = timedelta(seconds=_allowed(row, settings.late_seconds))
    took_turns = row.overlap in ("queue_one", "queue_all", "cancel_running")
    if not took_turns and row.dispatched_at - row.due_at > timedelta(seconds=settings.missed_seconds):
        return None
    if began - row.dispatched_at > longest_wait(row, settings):
        return None
    late: timedelta = began - row.due_at
    return late if late > allowed else None


def longest_wait(row: Any, settings: Settings) -> timedelta:
    """Return how long the run of a dispatched fire may wait for its first attempt: no less than it may be late."""
    return timedelta(seconds=max(settings.never_started_seconds, row.late_after_seconds or 0.0))


def _allowed(row: Any, seconds: float) -> float:
    return seconds if row.late_after_seconds is None else float(row.late_after_seconds)


def _seconds(row: Any) -> float:
    return 0.0 if row.started_at is None else float((row.finished_at - row.started_at).total_seconds())


def _emptiness(row: Any, usual: Usual | None) -> tuple[Any, str] | None:
    if not row.expect:
        return None
    try:
        expected = Expectation.read(row.expect)
    except ConfigurationError:  # of a newer release
        return None
    wrong = expected.broken_by(row.items_count, None if usual is None else usual.median_items)
    return (row, wrong) if wrong else None


def _keep(kept: dict[str, Any], name: str, found: Any) -> None:
    if found is None:
        kept.pop(name, None)
    else:
        kept[name] = found
