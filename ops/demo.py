"""`make demo`: a minute in which a leader, a worker and Redis fail, and the proof that no fire was lost or doubled.

It runs the local stack on spare ports with the schedules of `tasks/demo.py`, and meanwhile

    kills the Beat that leads · kills a worker in the middle of a task ·
    stops the new leader for longer than its lock lasts, and lets it go on · restarts Redis

Then it holds the rows of the marketplace against the schedules' arithmetic. The ledger is not asked: it is what is
being judged. Exit code 0: every fire had exactly one effect.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from steadybeat.delivery import services_of
from steadybeat.dev import Stack, StackError, scratch_folder
from steadybeat.dev.process import Process
from steadybeat.ledger import Ledger
from steadybeat.schedule import as_rule
from steadybeat.settings import Settings
from tasks.demo import SCHEDULES, app
from tasks.snapshots import Effect, effects

SETTLE = timedelta(seconds=45)
READY = timedelta(seconds=120)
STALL = timedelta(seconds=5)

console = Console(highlight=False)
Found = TypeVar("Found")


@dataclass
class Verdict:
    """What became of one schedule's fires."""

    name: str
    expected: int
    made: int
    doubled: list[datetime] = field(default_factory=list)
    missing: list[datetime] = field(default_factory=list)
    unexpected: list[datetime] = field(default_factory=list)
    longest_delay: timedelta = timedelta()

    @property
    def well(self) -> bool:
        """Whether every fire had exactly one effect."""
        return not (self.doubled or self.missing or self.unexpected)


def judge(rows: list[Effect], since: datetime, until: datetime) -> list[Verdict]:
    """Hold what the marketplace shows against the fires that there should be.

    Args:
        rows: The effects, as the business table has them.
        since: Fires after this instant count …
        until: … up to and including this one.
    """
    verdicts = []
    for name, entry in SCHEDULES.items():
        expected = set(as_rule(entry["schedule"]).between(since, until))
        mine = [row for row in rows if row.name == name and since < row.scheduled_for <= until]
        seen = {row.scheduled_for for row in mine}
        verdicts.append(
            Verdict(
                name,
                expected=len(expected),
                made=sum(row.row_count for row in mine),
                doubled=sorted(row.scheduled_for for row in mine if row.row_count > 1),
                missing=sorted(expected - seen),
                unexpected=sorted(seen - expected),
                longest_delay=max((row.first_taken_at - row.scheduled_for for row in mine), default=timedelta()),
            )
        )
    return verdicts


class Drill:
    """The faults, one after the other, on a running stack."""

    def __init__(self, stack: Stack, ledger: Ledger) -> None:
        self.stack = stack
        self.ledger = ledger
        self.faults: list[tuple[datetime, str]] = []

    def run(self) -> None:
        """Let the stack work, and make it fail four times."""
        pause(7)
        leader = self.leader()
        self.fault(f"SIGKILL to {leader.name} (pid {leader.pid}), which leads")
        leader.kill()
        pause(10)
        worker, run = self.busy_worker()
        self.fault(f"SIGKILL to {worker.name} (pid {worker.pid}) in the middle of run {run}")
        worker.kill()
        pause(10)
        leader = self.leader()
        self.fault(f"SIGSTOP to {leader.name} (pid {leader.pid}), which leads, for {STALL.total_seconds():g} s")
        leader.pause()
        pause(STALL.total_seconds())
        leader.resume()
        pause(8)
        redis = self.stack.process("redis")
        self.fault(f"restart of Redis (pid {redis.pid})")
        redis.restart()
        pause(10)

    def fault(self, what: str) -> None:
        """Say what is about to fail, and note when."""
        self.faults.append((datetime.now(UTC), what))
        console.print(f"{datetime.now(UTC):%H:%M:%S}  [bold red]fault[/]  {what}")

    def leader(self) -> Process:
        """Return the Beat that leads, as its own log says."""
        beats = [each for each in self.stack.processes if each.name.startswith("beat-")]

        def leads(beat: Process) -> bool:
            last = None
            for line in beat.log.read_text().splitlines() if beat.log else ():
                if line.startswith("{") and f":{beat.pid}:beat" in line:
                    event = json.loads(line)["event"]
                    last = event if event in ("beat leads", "beat stands by") else last
            return last == "beat leads"

        return wait_for(lambda: next((beat for beat in beats if beat.pid and leads(beat)), None), "a Beat that leads")

    def busy_worker(self) -> tuple[Process, str]:
        """Return a worker that is in the middle of a slow run, and the run."""

        def find() -> tuple[Process, str] | None:
            for row in self.ledger.story.runs(state="running"):
                if str(row["schedule"]).endswith("-slow"):
                    return self.stack.process(f"worker-{row['service']}"), str(row["id"])
            return None

        return wait_for(find, "a worker in the middle of a slow run")


def pause(seconds: float) -> None:
    """Let the stack work for a while."""
    threading.Event().wait(seconds)


def wait_for(find: Callable[[], Found | None], what: str, timeout: float = 30.0) -> Found:
    """Return what `find` finds, asking ten times a second."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = find()
        if found is not None:
            return found
        pause(0.1)
    raise StackError(f"There was not {what} within {timeout:g} s.")


def show(verdicts: list[Verdict]) -> None:
    """Print what became of each schedule's fires."""
    table = Table(title="Fires by the schedules' arithmetic, effects by the marketplace's rows", title_style="bold")
    table.add_column("schedule")
    for column in ("expected", "effects", "doubled", "missing", "longest delay"):
        table.add_column(column, justify="right")
    for each in verdicts:
        wrong = [f"[bold red]{count}[/]" if count else "0" for count in (len(each.doubled), len(each.missing))]
        delay = f"{each.longest_delay.total_seconds():.1f} s"
        table.add_row(each.name, str(each.expected), str(each.made), *wrong, delay)
    totals = [sum(len(getattr(each, name)) for each in verdicts) for name in ("doubled", "missing")]
    table.add_section()
    table.add_row(
        "all", str(sum(each.expected for each in verdicts)), str(sum(each.made for each in verdicts)), *map(str, totals)
    )
    console.print(table)


def show_gaps(faults: list[tuple[datetime, str]], rows: list[Effect], until: datetime) -> None:
    """Print the longest time without any effect between each fault and the next."""
    table = Table(title="Longest time without an effect after each fault", title_style="bold")
    table.add_column("at")
    table.add_column("fault")
    table.add_column("gap", justify="right")
    ends = [at for at, _ in faults[1:]] + [until]
    for (began, what), end in zip(faults, ends, strict=True):
        moments = sorted(row.first_taken_at for row in rows if began <= row.first_taken_at <= end)
        edges = [began, *moments]
        gap = max((later - sooner for sooner, later in pairwise(edges)), default=end - began)
        table.add_row(f"{began:%H:%M:%S}", what, f"{gap.total_seconds():.1f} s")
    console.print(table)


def main() -> int:
    """Run the drill and return the exit code."""
    app.loader.import_default_modules()
    with ExitStack() as cleanup:
        folder = cleanup.enter_context(scratch_folder())
        stack = Stack(
            "tasks.demo",
            services_of(app),
            folder=folder,
            prepare=app.steadybeat.settings.dev_prepare,
            run=app.steadybeat.settings.dev_run,
            cwd=Path(__file__).resolve().parent.parent,
            output=lambda line: console.print(f"{datetime.now(UTC):%H:%M:%S}  {line}", style="dim"),
        )
        console.print("[bold]steadybeat demo[/]: ten schedules of 1 to 5 seconds, four faults, one minute.\n")
        cleanup.callback(stack.stop)
        stack.start()
        stack.wait_ready(READY)
        ledger = Ledger(Settings(database_url=stack.database_url))
        market = sa.create_engine(sa.make_url(stack.database_url).set(drivername="postgresql+psycopg"))
        cleanup.callback(market.dispose)
        cleanup.callback(ledger.database.close)
        since = datetime.now(UTC)
        drill = Drill(stack, ledger)
        drill.run()
        until = datetime.now(UTC)
        console.print(f"{until:%H:%M:%S}  no more dispatch; the rest may finish")
        settle(ledger, market, since, until)
        rows = effects(market)
        verdicts = judge(rows, since, until)
    console.print()
    show(verdicts)
    show_gaps(drill.faults, rows, until)
    well = all(verdict.well for verdict in verdicts)
    for each in verdicts:
        for kind in ("doubled", "missing", "unexpected"):
            for at in getattr(each, kind):
                console.print(f"[bold red]{kind}[/]  {each.name} at {at:%H:%M:%S}")
    console.print("[bold green]Every fire had exactly one effect.[/]" if well else "[bold red]That is not right.[/]")
    return 0 if well else 1


def settle(ledger: Ledger, market: sa.Engine, since: datetime, until: datetime) -> None:
    """Dispatch nothing more once all fires up to `until` are on their way, and wait for what still runs."""
    deadline = time.monotonic() + SETTLE.total_seconds()
    while ledger.fires.due(until, 1) and time.monotonic() < deadline:
        pause(0.2)
    ledger.schedules.apply([], services_of(app))
    while time.monotonic() < deadline and any(each.missing for each in judge(effects(market), since, until)):
        pause(0.5)
    while time.monotonic() < deadline and any(
        ledger.story.runs(state=state) for state in ("running", "enqueued", "waiting")
    ):
        pause(0.5)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StackError as error:
        console.print(f"[bold red]Error:[/] {error}")
        sys.exit(1)
