"""Standing: what goes on of a schedule when one of its fires is due."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from steadybeat.beat.deciding import DISPATCH, Decision, Standing
from steadybeat.beat.projection import Definition
from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import FireRow


class Tally:
    """How a schedule stands, kept up to date while its fires are decided.

    Args:
        fire_count: Its fires that were dispatched, where it counts them.
    """

    def __init__(self, fire_count: int) -> None:
        self.runs: dict[str, datetime] = {}
        self.queued_count = 0
        self._fire_count = fire_count
        self._decided: list[str] = []

    def of(self, fire: FireRow) -> Standing:
        """Return how the schedule stands for one of its fires."""
        others = [run for run, scheduled_for in self.runs.items() if scheduled_for != fire.scheduled_for]
        # One that waits already has its turn now.
        queued = self.queued_count if fire.state == "expected" else 0
        return Standing([*others, *self._decided], queued, self._fire_count)

    def count(self, fire: FireRow, decision: Decision) -> None:
        """Take a decision into account for the fires that follow."""
        if decision is DISPATCH:
            self._decided.append(f"{fire.scheduled_for}")
            self._fire_count += 1
        elif decision.state == "waiting" and fire.state == "expected":
            self.queued_count += 1


class Standings:
    """How schedules stand, as far as it matters to their fires.

    Shortly before many fires are due it is looked up which of their schedules have runs that go on. When the fires
    are due, only those are asked about again; what has started meanwhile by another hand, the claim sees.

    Args:
        ledger: The ledger.
        definitions: The schedules by name, which the caller keeps up to date.
        counted: Fires that were dispatched since a definition was read, of schedules that count them.
    """

    def __init__(self, ledger: Ledger, definitions: Mapping[str, Definition], counted: Mapping[str, int]) -> None:
        self._ledger = ledger
        self._definitions = definitions
        self._counted = counted
        self._free: set[str] = set()
        self.foreseen_until = datetime.min.replace(tzinfo=UTC)

    def foresee(self, fires: Sequence[FireRow], until: datetime, now: datetime) -> None:
        """Look up which schedules have nothing that goes on.

        Args:
            fires: Those that are due by `until`.
            until: An instant that comes soon.
            now: Aware.
        """
        self.foreseen_until = until
        names = self._concerned(fires)
        if names:
            busy = {name for name, _, _ in self._ledger.fires.under_way(names, now)}
            self._free = names - busy - {*self._ledger.fires.queued(names)}

    def sent(self, names: Iterable[str]) -> None:
        """Know that runs of these schedules go on from now on."""
        self._free.difference_update(names)

    def tallies(self, fires: Sequence[FireRow]) -> dict[str, Tally]:
        """Return how the schedules of due fires stand, those of which something goes on, or that count.

        Args:
            fires: Each is decided in this order.
        """
        found: dict[str, Tally] = {}

        def tally(name: str) -> Tally:
            if name not in found:
                found[name] = Tally(self._definitions[name].row.fire_count + self._counted.get(name, 0))
            return found[name]

        asked = self._concerned(fires) - self._free
        if asked:
            now = max(fire.due_at for fire in fires)
            for name, scheduled_for, run in self._ledger.fires.under_way(asked, now):
                tally(name).runs[run] = scheduled_for
            for name, count in self._ledger.fires.queued(asked).items():
                tally(name).queued_count = count
        for name, count in Counter(fire.schedule for fire in fires).items():
            if count > 1 or self._definitions[name].policies.fire_limit is not None:
                tally(name)
        self._free = set()
        return found

    def _concerned(self, fires: Sequence[FireRow]) -> set[str]:
        """Return the schedules of some fires whose runs may not overlap."""
        names = {fire.schedule for fire in fires if fire.asked != "backfill"}
        known = self._definitions
        return {name for name in names if name in known and known[name].policies.overlap != "allow"}
