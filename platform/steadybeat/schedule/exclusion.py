"""Rules without some of their fires: holidays, maintenance windows, the instants of another rule."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import chain, repeat
from typing import Any

from steadybeat.schedule.bounds import Narrowed, in_words, is_never_due, just_before
from steadybeat.schedule.rule import MICROSECOND, Rule, lower, refused, written
from steadybeat.schedule.windows import Dates, Stretch, Window
from steadybeat.schedule.zones import END, zone_name, zone_of

WALK = 50
"""So many steps in a row a sequence is walked along in vain; then it is asked anew, further on."""

MOST = 1_200_000
"""So many steps in a row are made in vain, more than a year of minutes, before a rule is taken to have ended."""

LEAST, LONG = 100, timedelta(days=40 * 366)
"""It is so as well where nothing is left of a hundred fires and forty years: no date stays away from its weekday
for longer."""

LEAP = 100
"""So many steps asking anew counts as."""


@dataclass(frozen=True, slots=True, repr=False)
class Excluding(Narrowed):
    """A rule without what is due inside a window or together with another rule; made by `Rule.excluding`.

    Args:
        rule: Any rule.
        what: Windows and rules; dates come first, as one window.
    """

    rule: Rule
    what: tuple[Window | Rule, ...]

    def __repr__(self) -> str:
        parts: list[str] = []
        tz = ""
        for each in self.what:
            if isinstance(each, Dates):
                parts += map(written, each.dates)
                tz = f", tz={each.tz!r}"
            else:
                parts.append(repr(each))
        return f"{self.rule!r}.excluding({', '.join(parts)}{tz})"

    def explain(self) -> str:
        """Return the rule in words, with ``, but not …``."""
        said = [each.explain() if isinstance(each, Window) else f"when: {lower(each.explain())}" for each in self.what]
        return f"{in_words(self.rule)}, but not {', and not '.join(said)}"

    def to_json(self) -> dict[str, Any]:
        """Return the rule as JSON data."""
        return {"type": "excluding", "rule": self.rule.to_json(), "what": [each.to_json() for each in self.what]}

    @property
    def unbound(self) -> bool:
        """Whether its rule or what it leaves out has an ``H`` that stands for a number still."""
        return self.rule.unbound or any(each.unbound for each in self.what)

    def cautions(self) -> list[str]:
        """Return the cautions of its rule and of what it leaves out."""
        return [text for each in (self.rule, *self.what) for text in each.cautions()]

    def _named(self, name: str) -> Rule:
        return without(self.rule.named(name), tuple(each.named(name) for each in self.what))

    def _fires(self, after: datetime) -> Iterator[datetime]:
        if after >= END:
            return
        coming, gone = self.rule._fires(after), _Gone(self.what, after)
        last, looked = after, 0
        while (fire := next(coming, None)) is not None and fire < END:
            covered = gone.until(fire)
            if fire >= covered:
                last, looked, gone.steps = fire, 0, 0
                yield fire
                continue
            looked, gone.steps = looked + 1, gone.steps + 1
            if looked % WALK == 0 and covered - fire > MICROSECOND:
                gone.steps += LEAP
                coming = self.rule._fires(just_before(covered))
            if gone.steps > MOST or (looked > LEAST and fire - last > LONG):
                return


class _Gone:
    """What is left out, walked along from an instant on."""

    __slots__ = ("_begin", "_covered", "_end", "_stretches", "_what", "steps")

    def __init__(self, what: tuple[Window | Rule, ...], after: datetime) -> None:
        self._what, self._covered, self.steps = what, after, 0
        self._begin, self._end = after, after
        self._stretches: Iterator[Stretch] = iter(())
        self._ask(after)

    def until(self, fire: datetime) -> datetime:
        """Return where what covers an instant ends, or an instant not after it if nothing does."""
        walked = 0
        while self._begin <= fire:
            self._covered = max(self._covered, self._end)
            self._begin, self._end = next(self._stretches)
            walked += 1
            if walked == WALK:
                self.steps += LEAP
                self._ask(fire)
        self.steps += walked
        return self._covered

    def _ask(self, instant: datetime) -> None:
        """Begin with what reaches to an instant; behind the last one stands a stretch that is never reached."""
        found = heapq.merge(*(_stretches(each, just_before(instant)) for each in self._what))
        self._stretches = chain(found, repeat((END, END)))
        self._begin, self._end = next(self._stretches)


def _stretches(what: Window | Rule, after: datetime) -> Iterator[Stretch]:
    if isinstance(what, Window):
        return what.stretches(after)
    return ((fire, fire + MICROSECOND) for fire in what._window(just_before(after), END))


def excluding(rule: Rule, what: Iterable[object], tz: object) -> Rule:
    """Return what `Rule.excluding` returns."""
    dates: set[date] = set()
    others: dict[Window | Rule, None] = {}
    for each in what:
        if isinstance(each, Window | Rule):
            others[each] = None
        else:
            dates.update(_dates(each))
    if not dates and not others:
        raise refused("what", what, "there is nothing to leave out; write a date, a calendar, window(…) or a rule.")
    zone = _zone(rule, tz) if dates or tz is not None else ""
    days = [Dates(tuple(sorted(dates)), zone)] if dates else []
    return without(rule, (*days, *others))


def without(rule: Rule, what: tuple[Window | Rule, ...]) -> Rule:
    """Return a rule without what is due inside windows or together with other rules.

    Raises:
        ScheduleError: Nothing is left.
    """
    found = Excluding(rule, what)
    if is_never_due(found):
        raise refused("what", what, f"nothing is left of {rule!r}; leave out less.")
    return found


def _dates(value: object) -> Iterator[date]:
    """Yield the dates that a date or a calendar is."""
    ways = "write date(2026, 12, 25), a calendar that gives dates when it is iterated over, window(…) or a rule"
    if isinstance(value, datetime):
        raise refused("what", value, f"is an instant; {ways} such as once(…).")
    if isinstance(value, date):
        yield value
        return
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise refused("what", value, f"cannot be left out; {ways}.")
    empty = True
    for day in value:
        if isinstance(day, datetime) or not isinstance(day, date):
            raise refused("what", day, f"is no date; {ways}.")
        empty = False
        yield day
    if empty:
        way_out = "a calendar that is computed must be given its years, such as holidays.LV(years=[2026, 2027])"
        raise refused("what", value, f"has no dates; {way_out}.")


def _zone(rule: Rule, tz: object) -> str:
    """Return the time zone in which dates are meant."""
    if isinstance(tz, str) and tz.startswith(("+", "-")):
        zone_of(tz)
        return tz
    if tz is not None:
        return zone_name(tz)
    zones = sorted(rule.zones)
    if len(zones) > 1:
        raise refused("tz", tz, f"the rule goes by the clocks of {' and '.join(zones)}; say whose dates are meant.")
    return zones[0] if zones else "UTC"
