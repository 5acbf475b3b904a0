"""A year of fires on real servers, with Beats that die at any point, slow ticks, outages and losses of Redis.

The clock is the test's; everything else is as it is. The seed decides what happens when.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from steadybeat import any_of, cron, every
from steadybeat.schedule import Rule, run_id
from tests.integration.playing import Play, app_of, declare, played

YEAR = timedelta(days=366)
POINTS = ("after expect", "after publish", "before mark")
LATE = (("on time", 0, 0.5), ("slow", 30, 0.65), ("slower", 600, 0.75), ("out", 48 * 3600, 1))
"""What a tick may be, how late it is then in seconds, and its share of all ticks, added up."""

RULES: dict[str, Rule] = {
    "every six hours": every(timedelta(hours=6)),
    "four times a day": cron("0 */6 * * *", tz="UTC"),
    "riga, once": cron("30 3 * * *", tz="Europe/Riga", dst="once"),
    "riga, nights of change": cron("*/20 0-5 * MAR,OCT SUN", tz="Europe/Riga"),
    "new york, skip": cron("30 2 * * *", tz="America/New_York", dst="skip"),
    "new york, twice": cron("30 1 * * *", tz="America/New_York", dst="twice"),
    "weekly": cron("0 9 * * MON", tz="America/New_York"),
    "monthly": cron("0 0 L * *", tz="Europe/Riga"),
    "two rules": any_of(cron("0 6 * * MON-FRI"), cron("0 12 * * SAT,SUN")),
}


class Crash(BaseException):
    """The process is gone: nothing after this happens, whoever catches it."""


class Fate:
    """What goes wrong, by a seed."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._dead = False
        self.count: Counter[str] = Counter()

    def passed(self, point: str) -> None:
        if self._dead or self._chance.random() < 0.03:
            self.count[point] += not self._dead
            self._dead = True
            raise Crash

    def revive(self) -> None:
        self._dead = False

    def late(self) -> timedelta:
        """How late the next tick is: mostly not at all, sometimes by a slow tick, at times by an outage."""
        draw = self._chance.random()
        for name, longest, share in (
            ("on time", 0, 0.5),
            ("slow", 30, 0.65),
            ("slower", 600, 0.75),
            ("out", 172800, 1),
        ):
            if draw < share:
                self.count[name] += 1
                return timedelta(seconds=self._chance.uniform(0, longest))
        raise AssertionError(draw)

    def ahead(self) -> timedelta:
        """How long before the next fire there is a tick that sees it coming."""
        return timedelta(seconds=self._chance.uniform(0.5, 14))

    def strikes(self, what: str, share: float) -> bool:
        strikes = self._chance.random() < share
        self.count[what] += strikes
        return strikes


@pytest.fixture
def play(ledger_url: str, redis_url: str, tmp_path: Path) -> Iterator[Play]:
    app = app_of("shop", ledger_url, redis_url, tmp_path)
    for name, rule in RULES.items():
        declare(
            app, f"shop.orders.{name}", schedule=rule, catch_up="all", catch_up_window=YEAR, overlap="allow",
        )  # fmt: skip
    with played(app, redis_url) as play:
        play.apply()
        yield play


def live(play: Play, fate: Fate, at: datetime) -> None:
    """Tick at an instant; where the leader dies, the next one takes over."""
    play.clock.now = at
    while True:
        try:
            play.tick()
        except Crash:
            fate.revive()
            play.leader = None
        else:
            return


def test_in_a_year_of_crashes_slow_ticks_and_losses_every_fire_is_dispatched_as_exactly_one_run(play: Play) -> None:
    """Some 4,600 fires."""
    fate, start = Fate(seed=20260101), play.clock.now
    end, play.passed = start + YEAR, fate.passed
    live(play, fate, start)
    while play.clock.now < end:
        now = play.clock.now
        upcoming = min(at for rule in RULES.values() if (at := rule.next_after(now)) is not None)
        if fate.strikes("seen coming", 0.2) and upcoming - fate.ahead() > now:
            live(play, fate, upcoming - fate.ahead())
        if fate.strikes("redis lost", 0.02):
            play.redis.flushall()
        live(play, fate, min(max(upcoming + fate.late(), now), end))
    live(play, fate, end)

    assert all(fate.count[what] > 10 for what in (*POINTS, "slow", "slower", "out", "seen coming", "redis lost")), (
        fate.count
    )
    for name, rule in RULES.items():
        wanted = list(rule.between(start, end))
        schedule = f"shop.orders.{name}"
        assert fires_of_year(play, schedule, end) == dict.fromkeys(wanted, "dispatched")
        assert runs_of_year(play, schedule, end) == sorted((at, run_id(schedule, at)) for at in wanted)

    play.redis.flushall()
    play.leader._learner._looked.clear()
    live(play, fate, end)
    coming = {f"redbeat:shop.orders.{name}".encode(): rule.next_after(end) for name, rule in RULES.items()}
    shown = play.redis.zrange("redbeat::schedule", 0, -1, withscores=True)
    assert dict(shown) == {key: at.timestamp() for key, at in coming.items() if at is not None}


def fires_of_year(play: Play, schedule: str, end: datetime) -> dict[datetime, str]:
    statement = "SELECT scheduled_for, state FROM steadybeat.fires WHERE schedule = :name AND scheduled_for <= :end"
    rows = play.ledger.database.execute(sa.text(statement), {"name": schedule, "end": end})
    return {row.scheduled_for: row.state for row in rows}


def runs_of_year(play: Play, schedule: str, end: datetime) -> list[tuple[datetime, Any]]:
    """Nominal time and id of each run; those that are built already for what comes after the year are left out."""
    statement = "SELECT scheduled_for, id FROM steadybeat.runs WHERE schedule = :name AND scheduled_for <= :end"
    rows = play.ledger.database.execute(sa.text(statement), {"name": schedule, "end": end})
    return sorted((row.scheduled_for, str(row.id)) for row in rows)
