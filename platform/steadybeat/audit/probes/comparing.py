"""Comparing: whether a trial changed what one undisturbed run changes, and nothing more.

What two undisturbed runs from the same start do differently (numbers and names that are made anew) is no evidence, nor
are instants: of such columns it only counts whether they are empty. How many rows of each table are new, gone or
changed always counts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from steadybeat.ledger.scratch import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What a trial did.

    Attributes:
        tables: What changed, by table.
        counts: By how much each count of the task's own rose.
    """

    tables: Mapping[str, Change] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_nothing(self) -> bool:
        """Whether nothing changed that is counted."""
        return not self.tables and not any(self.counts.values())

    @property
    def in_words(self) -> str:
        """Such as ``market.payments: 1 row new; mails +1``."""
        told = [f"{table}: {_rows(change)}" for table, change in self.tables.items()]
        return "; ".join([*told, *(f"{name} {count:+}" for name, count in self.counts.items() if count)]) or "nothing"


@dataclass(frozen=True, slots=True)
class _Columns:
    """How the columns of one table are looked at.

    Attributes:
        exact: Their values count.
        loose: It only counts whether they are empty.
    """

    exact: frozenset[str]
    loose: frozenset[str]

    def seen(self, row: Mapping[str, Any]) -> str:
        """Return what of a row counts, as text."""
        values = {name: row.get(name) for name in sorted(self.exact)}
        return json.dumps([values, {name: row.get(name) is None for name in sorted(self.loose)}], sort_keys=True)

    def only(self, name: str) -> _Columns:
        """Return one of them alone."""
        return _Columns(self.exact & {name}, self.loose & {name})


class Apart(Exception):
    """Two undisturbed runs differ in more than values.

    Attributes:
        told: How, one sentence for each table or count.
    """

    def __init__(self, told: list[str]) -> None:
        super().__init__("; ".join(told))
        self.told = told


class Yardstick:
    """What one undisturbed run does, as two of them show.

    Args:
        one: What the first did.
        other: What the second did, from the same start.
        generated: Columns by table whose values are numbers of their own, or instants.
        ignored: Columns with their tables that do not count at all, as the task says them.

    Raises:
        Apart: That leaves nothing to compare with.
    """

    def __init__(
        self, one: Effect, other: Effect, generated: Mapping[str, Collection[str]], ignored: Collection[str]
    ) -> None:
        told = _counted_apart(one, other)
        if told:
            raise Apart(told)
        self.effect = one
        self._columns: dict[str, _Columns] = {}
        for table, change in one.tables.items():
            names = {name for name in _names(change) if f"{table}.{name}" not in ignored}
            loose = names & {*generated.get(table, ())}
            alone = {name: _Columns(frozenset({name}), frozenset()) for name in names - loose}
            loose |= {
                name for name, column in alone.items() if _seen(change, column) != _seen(other.tables[table], column)
            }
            self._columns[table] = _Columns(frozenset(names - loose), frozenset(loose))

    def against(self, trial: Effect) -> list[str]:
        """Return how a trial differs from it, one sentence for each column, table or count; none where it does not."""
        told = _counted_apart(self.effect, trial)
        if told:
            return told
        for table, change in self.effect.tables.items():
            columns, found = self._columns[table], trial.tables[table]
            if _seen(change, columns) == _seen(found, columns):
                continue
            each = {name: columns.only(name) for name in sorted(columns.exact | columns.loose)}
            differ = [name for name, column in each.items() if _seen(change, column) != _seen(found, column)]
            told += [
                f"{table}.{name}: {_values(found, name)} where one run leaves {_values(change, name)}"
                for name in differ
            ] or [f"{table}: its values stand in other rows than those that one run leaves"]
        return told

    @property
    def compared(self) -> list[str]:
        """The columns whose values count, with their tables."""
        return [f"{table}.{name}" for table, columns in self._columns.items() for name in sorted(columns.exact)]


def _counted_apart(one: Effect, other: Effect) -> list[str]:
    """Return how the numbers of rows, and the counts, of two effects differ."""
    told = []
    for table in sorted({*one.tables, *other.tables}):
        was, found = (each.tables.get(table, Change()) for each in (one, other))
        if (len(was.added), len(was.removed)) != (len(found.added), len(found.removed)):
            told.append(f"{table}: {_rows(found)} where one run leaves {_rows(was)}")
    for name in sorted({*one.counts, *other.counts}):
        counts = [each.counts.get(name, 0) for each in (other, one)]
        if counts[0] != counts[1]:
            told.append(f"{name}: {counts[0]:+} where one run makes {counts[1]:+}")
    return told


def _rows(change: Change) -> str:
    """Return how many rows are new, changed and gone, in words."""
    changed = min(len(change.added), len(change.removed))
    counts = {"new": len(change.added) - changed, "changed": changed, "gone": len(change.removed) - changed}
    told = [f"{count:,} row{'' if count == 1 else 's'} {what}" for what, count in counts.items() if count]
    return " and ".join(told) or "no row changed"


def _names(change: Change) -> set[str]:
    return {name for row in (*change.added, *change.removed) for name in row}


def _seen(change: Change, columns: _Columns) -> list[Counter[str]]:
    return [Counter(map(columns.seen, rows)) for rows in (change.added, change.removed)]


def _values(change: Change, column: str) -> str:
    values = sorted({json.dumps(row.get(column)) for row in change.added or change.removed})
    return " or ".join(each[:40] for each in values[:3]) + (" …" if len(values) > 3 else "")
