"""Expecting: fires are written ahead, so that a scheduler that dies leaves rows past their time."""

from __future__ import annotations

import heapq
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import islice

from steadybeat.beat.deciding import due_at
from steadybeat.beat.projection import Definition
from steadybeat.ledger import Ledger
from steadybeat.ledger.fires import Expected
from steadybeat.ledger.rows import FireRow

_FIRES = 500
_STATEMENT = 250
_FARTHEST = timedelta(days=1)
_BEFORE = timedelta(microseconds=1)
_AGAIN_SECONDS = 1.0


class Expectations:
    """Up to when the fires of each schedule are written.

    Where a schedule has no fire for a while, that is written too: its watermark then stands right before the next
    one, a day ahead at the most, so that what a schedule costs is what it fires.

    Args:
        ledger: The ledger.
        definitions: The schedules by name, which the caller keeps up to date.
    """

    def __init__(self, ledger: Ledger, definitions: Mapping[str, Definition]) -> None:
        self._ledger = ledger
        self._definitions = definitions
        self._horizon = timedelta(seconds=ledger.settings.horizon_seconds)
        self._heap: list[tuple[datetime, str, int]] = []
        self._edited: list[tuple[datetime, str, int]] = []
        self._again_at = 0.0

    def add(self, definition: Definition, until: datetime) -> None:
        """Expect the fires of a schedule that is new or has changed.

        Args:
            definition: The schedule.
            until: Its watermark: fires up to and including this instant are written.
        """
        heapq.heappush(self._heap, (until, definition.row.name, definition.row.revision))

    def is_due(self, now: datetime) -> bool:
        """Return whether some schedule has to be written further ahead."""
        return self._is_behind(now) or bool(self._edited and time.monotonic() > self._again_at)

    def _is_behind(self, now: datetime) -> bool:
        return bool(self._heap) and self._heap[0][0] < now + self._horizon / 2

    def write(self, now: datetime, budget: timedelta) -> datetime | None:
        """Write the fires of the schedules that have to be, as far as the time suffices.

        Returns:
            When the earliest of them is due; None where none was written.

        Raises:
            LedgerUnavailable: The next call goes on from here.
        """
        end, earliest = time.monotonic() + budget.total_seconds(), None
        if self._edited and time.monotonic() > self._again_at:
            for entry in self._edited:
                heapq.heappush(self._heap, entry)
            self._edited = []
        while self._is_behind(now):
            due = self._write_some(now)
            earliest = due if earliest is None or (due is not None and due < earliest) else earliest
            if time.monotonic() > end:
                break
        return earliest

    def _write_some(self, now: datetime) -> datetime | None:
        taken: list[tuple[datetime, str, int]] = []
        expected: dict[str, Expected] = {}
        while self._is_behind(now) and len(taken) < _STATEMENT:
            entry = heapq.heappop(self._heap)
            taken.append(entry)
            definition = self._definitions.get(entry[1])
            if definition is not None and definition.row.revision == entry[2]:
                expected[entry[1]] = self._ahead(definition, entry[0], now)
        done: set[str] | None = None
        try:
            done = self._ledger.fires.expect([*expected.values()])
        finally:
            for entry in taken:
                self._put_back(entry, expected.get(entry[1]), done)
        return min((fire.due_at for name in done for fire in expected[name].fires), default=None)

    def _put_back(self, entry: tuple[datetime, str, int], written: Expected | None, done: set[str] | None) -> None:
        """Keep what comes next of a schedule; nothing of one that has changed or gone."""
        if done is None:  # Postgres did not answer
            heapq.heappush(self._heap, entry)
        elif written is not None and written.schedule in done:
            heapq.heappush(self._heap, (written.until, written.schedule, written.revision))
        elif written is not None:  # somebody is just editing it
            self._edited.append(entry)
            self._again_at = time.monotonic() + _AGAIN_SECONDS

    def _ahead(self, definition: Definition, since: datetime, now: datetime) -> Expected:
        until, rule, row = now + self._horizon, definition.rule, definition.row
        times = list(islice(rule.between(since, until), _FIRES))
        if len(times) == _FIRES:
            until = times[-1]
        else:
            following = rule.next_after(until)
            farthest = now + max(_FARTHEST, self._horizon)
            until = farthest if following is None else max(until, min(following - _BEFORE, farthest))
        fires = [FireRow(schedule=row.name, scheduled_for=at, due_at=due_at(definition, at)) for at in times]
        return Expected(row.name, row.revision, until, fires)
