"""How long nothing is dispatched after the leading Beat dies: killed with SIGKILL, and told to end with SIGTERM.

    python bench/failover.py [--rounds 10] [--json]

Two Beats at default settings, one schedule every second. A round waits for a Beat that leads and dispatches, and for
a random part of a second more, so that fires and renewals of the lock are met at any phase. It ends the leader and
takes the time from there to the first fire that the next leader dispatches, as Postgres' clock has it; and how late
the latest of that leader's fires was. Then the ended Beat is started again and stands by. At the end the fires are
counted: none may be missing.

Beside it RedBeat does the same in the same run, killed as well, with its times set as short as ours: its standby asks
every half second, and the lock lasts 3 s. At its defaults nobody would wait for it: its standby asks for the lock every
``max_interval`` (300 s), and the lock of a dead leader lasts five times that. That is computed, not measured.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import threading
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg
import redis
from celery.beat import DEFAULT_MAX_INTERVAL

from bench.report import Report, celery, machine, spread, wait_until
from steadybeat.dev.leash import Child
from steadybeat.dev.servers import PostgresServer, RedisServer, scratch_folder

SCHEDULE = "bench.beating.beat"
ENDINGS = (signal.SIGKILL, signal.SIGTERM)


class Pair:
    """Two Beats, of which one leads.

    Args:
        folder: Where they log.
        env: Where their servers are.
        database: A connection that commits by itself.
    """

    def __init__(self, folder: Path, env: dict[str, str], database: psycopg.Connection[Any]) -> None:
        self._folder = folder
        self._env = env
        self._database = database
        self._started = 0
        self.beats: dict[Child, Path] = {}
        for _ in range(2):
            self._start()

    def measure(self, ending: signal.Signals) -> tuple[float, float]:
        """End the leader; return the seconds until another dispatches a fire, and those by which a fire was late.

        Args:
            ending: The signal that ends it.
        """
        leader = self._leader()
        began, term = self._now(), self._last()[1]
        wait_until(lambda: self._last()[0] > began, "a fire under this leader", *self.beats)
        self._standby_is_ready()
        threading.Event().wait(random.random())
        ended_at, term = self._now(), self._last()[1]
        leader.send(ending)
        wait_until(lambda: self._last()[1] > term, "a fire under the next leader", timeout_seconds=120)
        (first,) = self._row(
            "SELECT min(dispatched_at) FROM steadybeat.fires WHERE term > %s AND dispatched_at > %s", term, ended_at
        )
        wait_until(lambda: not leader.alive, "the end of the former leader")
        leader.end(())
        del self.beats[leader]
        self._start()
        (late,) = self._row("SELECT max(dispatched_at - due_at) FROM steadybeat.fires WHERE term > %s", term)
        return float((first - ended_at).total_seconds()), float(late.total_seconds())

    def end(self) -> None:
        """End both."""
        for beat in self.beats:
            beat.end(((signal.SIGTERM, 5.0),))

    def _start(self) -> None:
        self._started += 1
        log = self._folder / f"beat-{self._started}.log"
        self.beats[celery("bench.steady", ["beat", "-l", "INFO"], log, self._env)] = log

    def _leader(self) -> Child:
        wait_until(lambda: any(map(self._leads, self.beats)), "a Beat that leads", *self.beats)
        return next(beat for beat in self.beats if self._leads(beat))

    def _leads(self, beat: Child) -> bool:
        turns = [event for event in self._events(beat) if event in ("beat leads", "beat stands by")]
        return bool(turns) and turns[-1] == "beat leads"

    def _standby_is_ready(self) -> None:
        wait_until(lambda: all("beat started" in self._events(beat) for beat in self.beats), "a standby", *self.beats)

    def _events(self, beat: Child) -> list[str]:
        lines = self.beats[beat].read_text(errors="replace").splitlines()
        return [json.loads(line)["event"] for line in lines if line.startswith("{") and line.endswith("}")]

    def _now(self) -> datetime:
        now: datetime = self._row("SELECT clock_timestamp()")[0]
        return now

    def _last(self) -> tuple[datetime, int]:
        at, term = self._row("SELECT max(dispatched_at), max(term) FROM steadybeat.fires")
        return at or datetime.min.replace(tzinfo=UTC), term or 0

    def _row(self, statement: Any, *values: Any) -> tuple[Any, ...]:
        row = self._database.execute(statement, values).fetchone()
        assert row is not None
        return tuple(row)


class RedbeatPair:
    """Two Beats of RedBeat, of which one leads; it has a schedule every second as well."""

    QUEUE = "beating"

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._env = {"BENCH_REDBEAT_URL": url, "BENCH_REDBEAT_LOCK_SECONDS": "3", "BENCH_REDBEAT_POLL_SECONDS": "0.5"}
        self._redis = redis.Redis.from_url(url)
        self._started = 0
        self.beats: list[Child] = []
        for _ in range(2):
            self._start()
            wait_until(lambda: self._redis.llen(self.QUEUE) > 0, "a fire of RedBeat's", *self.beats)

    def measure(self) -> float:
        """Kill the leader; return the seconds until another dispatches a fire."""
        self._wait_for_a_fire()
        self._wait_for_a_fire()
        threading.Event().wait(random.random())
        leader = self.beats.pop(0)
        ended_at = datetime.now(UTC)
        leader.send(signal.SIGKILL)
        wait_until(lambda: not leader.alive, "the end of the former leader")
        self._wait_for_a_fire(ended_at)
        gap = (datetime.now(UTC) - ended_at).total_seconds()
        leader.end(())
        self._start()
        return gap

    def end(self) -> None:
        """End both."""
        for beat in self.beats:
            beat.end(((signal.SIGTERM, 5.0),))

    def _wait_for_a_fire(self, since: datetime | None = None) -> None:
        self._redis.delete(self.QUEUE)
        limit = 120.0 if since else 60.0
        wait_until(lambda: self._redis.llen(self.QUEUE) > 0, "a fire of RedBeat's", *self.beats, timeout_seconds=limit)

    def _start(self) -> None:
        self._started += 1
        log = self._folder / f"redbeat-{self._started}.log"
        self.beats.append(celery("bench.plain_redbeat", ["beat", "-l", "INFO"], log, self._env))


def measure_redbeat(rounds: int, report: Report) -> list[float]:
    """Return the gaps of RedBeat."""
    with ExitStack() as cleanup:
        folder = cleanup.enter_context(scratch_folder())
        server = cleanup.enter_context(RedisServer(folder / "redis"))
        pair = RedbeatPair(folder, server.url)
        cleanup.callback(pair.end)
        gaps = []
        for number in range(rounds):
            gaps.append(pair.measure())
            report.say(f"RedBeat, round {number + 1}: SIGKILL {gaps[-1]:.2f} s")
    return gaps


def measure(rounds: int, report: Report) -> dict[str, Any]:
    """Return the figures of all rounds.

    Args:
        rounds: How many of each ending.
        report: Where each round is told.
    """
    with ExitStack() as cleanup:
        folder = cleanup.enter_context(scratch_folder())
        server = cleanup.enter_context(RedisServer(folder / "redis"))
        postgres = cleanup.enter_context(PostgresServer(folder / "postgres"))
        env = {"STEADYBEAT_REDIS_URL": server.url, "STEADYBEAT_DATABASE_URL": postgres.url}
        for step in (["ledger", "upgrade"], ["schedules", "apply"]):
            _run(step, folder / "steps.log", env)
        facts = machine(server.url, postgres.url)
        report.say("  ".join(f"{name} {value}" for name, value in facts.items()))
        database = cleanup.enter_context(psycopg.connect(postgres.url, autocommit=True))
        pair = Pair(folder, env, database)
        cleanup.callback(pair.end)
        gaps: dict[signal.Signals, list[float]] = {ending: [] for ending in ENDINGS}
        delays: dict[signal.Signals, list[float]] = {ending: [] for ending in ENDINGS}
        for number in range(rounds):
            for ending in ENDINGS:
                gap, delay = pair.measure(ending)
                gaps[ending].append(gap)
                delays[ending].append(delay)
            last = "  ".join(f"{ending.name} {gaps[ending][-1]:.2f} s" for ending in ENDINGS)
            report.say(f"round {number + 1}: {last}")
        missing = _missing(database)
    return {
        "gap_seconds": spread(gaps[signal.SIGKILL]),
        "late_seconds": spread(delays[signal.SIGKILL]),
        "sigterm_gap_seconds": spread(gaps[signal.SIGTERM]),
        "sigterm_late_seconds": spread(delays[signal.SIGTERM]),
        "missing_count": missing,
        "redbeat_gap_seconds": spread(measure_redbeat(rounds, report)),
        "redbeat_default_gap_seconds": DEFAULT_MAX_INTERVAL * 5 + DEFAULT_MAX_INTERVAL,
        "rounds": rounds,
        "machine": facts,
    }


def _run(step: list[str], log: Path, env: dict[str, str]) -> None:
    child = celery("bench.steady", step, log, env)
    wait_until(lambda: not child.alive, " ".join(step))


def _missing(database: psycopg.Connection[Any]) -> int:
    """Return how many seconds between the first and the last dispatched fire have none."""
    row = database.execute(
        "SELECT extract(epoch FROM max(scheduled_for) - min(scheduled_for))::int + 1 - count(*)"
        " FROM steadybeat.fires WHERE schedule = %s AND state = 'dispatched'",
        (SCHEDULE,),
    ).fetchone()
    assert row is not None
    return int(row[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10, help="how often each ending is measured (10)")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    given = parser.parse_args()
    report = Report(json_at_end=given.json)
    figures = measure(given.rounds, report)
    kill, term = figures["gap_seconds"], figures["sigterm_gap_seconds"]
    report.say(
        f"gap after SIGKILL {kill['median']:.2f} s (to {kill['max']:.2f} s), after SIGTERM {term['median']:.2f} s"
        f" (to {term['max']:.2f} s), {figures['missing_count']} fires missing;"
        f" RedBeat with such times {figures['redbeat_gap_seconds']['median']:.2f} s"
        f" (to {figures['redbeat_gap_seconds']['max']:.2f} s), at its defaults up to"
        f" {figures['redbeat_default_gap_seconds']} s"
    )
    report.end(figures)


if __name__ == "__main__":
    main()
