"""Herd: the fires of the next seconds. Their messages are built ahead, so that many can be sent in one moment."""

from __future__ import annotations

import heapq
import random
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from steadybeat.beat.projection import Definition
from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import FireRow

AHEAD = timedelta(seconds=15)
"""How far ahead messages are built."""

CAPACITY = 20_000
"""Messages that are held at the most; the others are built when there is room, or when they are due."""

_PAGE = 1000
_FEW = 200
_RELATIVE = ("countdown", "expires", "eta")
"""Options that count from when a message is made."""

Identity = tuple[str, datetime]


@dataclass(slots=True)
class Coming:
    """A fire that is coming.

    Attributes:
        fire: The fire.
        built: Its message, once that is built and its run is on record.
    """

    fire: FireRow
    built: Any = None

    @property
    def identity(self) -> Identity:
        """What no two fires share."""
        return self.fire.schedule, self.fire.scheduled_for


class Herd:
    """The fires that are due within seconds, and their messages.

    Args:
        ledger: The ledger.
        definitions: The schedules by name, which the caller keeps up to date.
    """

    def __init__(self, ledger: Ledger, definitions: Mapping[str, Definition]) -> None:
        self._ledger = ledger
        self._definitions = definitions
        self._coming: dict[Identity, Coming] = {}
        self._heap: list[tuple[datetime, str, datetime]] = []
        self._unbuilt: list[tuple[datetime, str, datetime]] = []
        self._read: FireRow | datetime | None = None

    @property
    def next_due(self) -> datetime | None:
        """When the next fire is due, or None where none is coming."""
        while self._heap and self._coming_at(self._heap[0]) is None:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def read(self, now: datetime) -> None:
        """Learn of the fires that come into sight."""
        while len(self._coming) < CAPACITY:
            found = self._ledger.fires.coming(self._read or now, now + AHEAD, _PAGE)
            for fire in found:
                self.add(fire)
            if len(found) < _PAGE:
                self._read = now + AHEAD
                return
            self._read = found[-1]

    def look_again(self, since: datetime) -> None:
        """Have fires read from an instant on that may not have been there when they were read."""
        seen = self._read.due_at if isinstance(self._read, FireRow) else self._read
        if seen is not None and since < seen:
            self._read = since

    def add(self, fire: FireRow) -> None:
        """Take in a fire, unless it is there."""
        coming = Coming(fire)
        if coming.identity not in self._coming:
            self._coming[coming.identity] = coming
            entry = (fire.due_at, fire.schedule, fire.scheduled_for)
            heapq.heappush(self._heap, entry)
            definition = self._definitions.get(fire.schedule)
            if definition is not None and not any(name in definition.row.options for name in _RELATIVE):
                heapq.heappush(self._unbuilt, entry)

    def forget(self, names: Collection[str]) -> None:
        """Let go of the fires of schedules that have changed; those that are still expected are read again."""
        for identity in [each for each in self._coming if each[0] in names]:
            del self._coming[identity]

    def awaits(self, fire: FireRow) -> bool:
        """Return whether a fire comes by itself; one that a person has asked for since then is let go of."""
        coming = self._coming.get((fire.schedule, fire.scheduled_for))
        if coming is not None and coming.fire.asked != fire.asked:
            del self._coming[coming.identity]
            return False
        return coming is not None

    def unbuilt(self) -> Iterator[Coming]:
        """Yield the fires whose messages can be built ahead, the earliest first."""
        yielded: set[Identity] = set()
        while self._unbuilt:
            coming = self._coming_at(heapq.heappop(self._unbuilt))
            if coming is None or coming.identity in yielded:
                continue  # it was let go of, and taken in again
            yielded.add(coming.identity)
            if coming is not None and coming.built is None:
                yield coming

    @property
    def has_unbuilt(self) -> bool:
        """Whether messages are left to be built."""
        return bool(self._unbuilt)

    def take_due(self, now: datetime, most_unbuilt: int) -> list[Coming]:
        """Let go of the fires that are due and return them, in the order in which they are to be sent.

        That is by the second in which they are due, then by priority, and then by chance, so that no service always
        comes last.

        Args:
            now: Aware.
            most_unbuilt: Take no more than so many whose messages are not built.
        """
        taken: list[Coming] = []
        while self._heap and self._heap[0][0] <= now and len(taken) < _FEW and most_unbuilt > 0:
            coming = self._coming_at(heapq.heappop(self._heap))
            if coming is not None:
                del self._coming[coming.identity]
                taken.append(coming)
                most_unbuilt -= coming.built is None
        if len(taken) == _FEW:
            # Taken one by one, a herd would cost more time than it has.
            more = [each for each in self._coming.values() if each.built is not None and each.fire.due_at <= now]
            for each in more:
                del self._coming[each.identity]
            taken += more
        random.shuffle(taken)
        return sorted(taken, key=_order)

    def due_by(self, until: datetime) -> list[FireRow]:
        """Return the fires that are due by an instant."""
        if not self._heap or self._heap[0][0] > until:
            return []
        return [each.fire for each in self._coming.values() if each.fire.due_at <= until]

    def _coming_at(self, entry: tuple[datetime, str, datetime]) -> Coming | None:
        """Return the fire of an entry of a heap, unless it has gone or is due at another time by now."""
        coming = self._coming.get(entry[1:])
        return coming if coming is not None and coming.fire.due_at == entry[0] else None


def _order(coming: Coming) -> tuple[datetime, int]:
    priority = coming.built.priority if coming.built is not None else 0
    return coming.fire.due_at.replace(microsecond=0), priority
