"""What the person at the terminal sees: one live screen, or plain lines where there is no terminal."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from steadybeat.dev.process import Process, State
from steadybeat.dev.stack import Stack

REDRAW_EVERY = timedelta(seconds=1)
TAIL_BYTES = 8192

LOOK = {
    State.PENDING: ("·", "dim"),
    State.STARTING: ("◌", "yellow"),
    State.READY: ("●", "green"),
    State.SILENT: ("◍", "magenta"),
    State.RESTARTING: ("↻", "yellow"),
    State.DONE: ("✓", "green"),
    State.FAILED: ("✗", "bold red"),
    State.STOPPED: ("○", "dim"),
}
NEXT = (
    ("schedules next", "what fires next"),
    ("runs list", "what ran"),
    ("runs why SCHEDULE last", "what became of a fire"),
)
HEADER_LINES = 5  # the title, the titles of the columns, and three empty lines

LEVELS = {"warning": "yellow", "error": "red", "critical": "bold red"}

# Facts that stand in every line of a run, and say nothing new beside the name of its process.
UNTOLD = {
    "attempt",
    "correlation_id",
    "event",
    "instance",
    "level",
    "logger",
    "run_id",
    "scheduled_for",
    "scheduler",
    "service",
    "stack",
    "started_at",
    "timestamp",
    "trace_id",
}
TOLD_COUNT = 4
SELF_EVIDENT = {"task", "schedule"}  # facts whose value needs no name beside it
# What stands before the message in lines of Redis, of Postgres and of Flower.
PREFIX = re.compile(
    r"^(?:\d+:[A-Z] \d\d \w+ \d{4} [\d:.]+ [-.*#] "
    r"|\d{4}-\d\d-\d\d [\d:.]+ \w+ \[\d+\] (?:LOG:  )?"
    r"|\[[A-Z] \d{6} [\d:]+ \w+:\d+\] )"
)
NOISE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


class LiveScreen:
    """One screen with every process of a stack; drawn again when something on it has changed.

    A frame costs some 20 ms of CPU, so an idle stack is drawn about once a minute.

    Args:
        stack: What to show.
        console: Where to draw.
    """

    def __init__(self, stack: Stack, console: Console) -> None:
        self._stack = stack
        self._tails: dict[str, Tail] = {}
        self._live = Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False)
        self._drawn_at = float("-inf")
        self._shown: object = None

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def draw(self, *, changed: bool = False) -> None:
        """Draw the screen if it would look different, at most once a second unless `changed`."""
        now = time.monotonic()
        if not changed and now - self._drawn_at < REDRAW_EVERY.total_seconds():
            return
        lines = {process.name: self._last_line(process) for process in self._stack.processes}
        visible = (self._live.console.size, _mood(self._stack), lines, [_facts(each) for each in self._stack.processes])
        if visible != self._shown:
            self._shown, self._drawn_at = visible, now
            self._live.update(render(self._stack, lines, self._live.console.height), refresh=True)

    def _last_line(self, process: Process) -> str:
        if process.log is None:
            return "runs elsewhere"
        return self._tails.setdefault(process.name, Tail(process.log)).read()


class Tail:
    """The last line of a growing file, read again only when the file has grown.

    Args:
        path: The file, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = 0
        self._line = ""

    def read(self) -> str:
        """Return the last line that is not empty."""
        try:
            size = self._path.stat().st_size
            if size != self._size:
                with self._path.open("rb") as file:
                    file.seek(max(0, size - TAIL_BYTES))
                    lines = file.read().decode(errors="replace").splitlines()
                self._size = size
                self._line = next((line for line in reversed(lines) if line.strip()), "")
        except FileNotFoundError:
            self._line = ""
        return self._line


def render(stack: Stack, last_lines: Mapping[str, str], height: int = 36) -> RenderableType:
    """Return the whole screen.

    Args:
        stack: What to show.
        last_lines: The last thing that each process has said, by its name.
        height: Lines of the terminal; where they are few, what is not about a process gives way.
    """
    groups = _groups(stack)
    head, foot = _header(stack), _footer(stack)
    row_count = sum(map(len, groups))
    needed = HEADER_LINES + len(_addresses(stack)) + row_count + len(groups) - 1 + len(foot)
    if needed <= height:
        return Group(head, "", _table(groups, last_lines, apart=True), "", *foot)
    needed = HEADER_LINES + len(_addresses(stack)) + row_count + 1
    if needed <= height:
        return Group(head, "", _table(groups, last_lines, apart=False), "", foot[-1])
    return Group(_title(stack), _table(groups, last_lines, apart=False), foot[-1])


def _groups(stack: Stack) -> list[list[Process]]:
    """Return the processes as they are shown together: servers, steps, schedulers, workers, and all else."""
    groups: list[list[Process]] = [[], [], [], [], []]
    for process in stack.processes:
        if process.once:
            if stack.ready_after is None:
                groups[1].append(process)
        elif process.name in {"redis", "postgres"}:
            groups[0].append(process)
        else:
            groups[{"beat": 2, "worker": 3}.get(process.name.partition("-")[0], 4)].append(process)
    return [group for group in groups if group]


def _table(groups: Sequence[Sequence[Process]], last_lines: Mapping[str, str], *, apart: bool) -> Table:
    restarted = any(process.restarts for group in groups for process in group)
    table = Table(box=None, expand=True, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("process", no_wrap=True)
    table.add_column("pid", justify="right", style="dim", no_wrap=True)
    table.add_column("state", no_wrap=True, min_width=12)
    if restarted:
        table.add_column("restarts", justify="right", no_wrap=True)
    table.add_column("up", justify="right", no_wrap=True, min_width=3)
    table.add_column("last line", ratio=1, no_wrap=True, overflow="ellipsis")
    for n, group in enumerate(groups):
        if n and apart:
            table.add_row()
        for process in group:
            table.add_row(*_row(process, last_lines.get(process.name, ""), restarted=restarted))
    return table


def brief(line: str) -> Text:
    """Return one line of a log for a narrow column: of JSON the event and its key facts, of the rest the message."""
    clean = NOISE.sub("", line).strip()
    if clean.startswith("{"):
        try:
            facts = json.loads(clean)
        except ValueError:
            facts = None
        if isinstance(facts, dict) and "event" in facts:
            return _brief_facts(facts)
    return Text(PREFIX.sub("", clean), style="dim")


def duration(value: timedelta) -> str:
    """Return a duration in minutes, hours and days: ``<1m``, ``12m``, ``3h07m``, ``2d03h``."""
    minutes = int(value.total_seconds()) // 60
    hours, days = minutes // 60, minutes // 1440
    if days:
        return f"{days}d{hours % 24:02}h"
    return f"{hours}h{minutes % 60:02}m" if hours else f"{minutes}m" if minutes else "<1m"


def plain_line(text: str) -> str:
    """Return one event as a line with the time of the day before it."""
    return f"{datetime.now().astimezone():%H:%M:%S} {text}"


def access_lines(stack: Stack) -> list[str]:
    """Return where everything is, for a terminal without a screen; the password stands here and nowhere else."""
    lines = [f"{name} {url}" for name, url in stack.urls.items()]
    if stack.flower_url:
        lines.append(f"flower user admin, password {stack.flower_password}")
    return lines


def next_lines(stack: Stack) -> list[str]:
    """Return what can be done with a stack that is ready, for a terminal without a screen."""
    return [f"{command}  {answer}" for command, answer in _next_steps(stack)]


def _facts(process: Process) -> tuple[State, str, str, str, str]:
    """Return what is shown of a process beside its name and last line: state, pid, restarts, uptime, note."""
    uptime = process.uptime
    up = duration(uptime) if uptime is not None else ""
    return process.state, str(process.pid or ""), str(process.restarts), up, process.note


def _row(process: Process, last_line: str, *, restarted: bool) -> list[RenderableType]:
    state, pid, restarts, up, note = _facts(process)
    sign, style = LOOK[state]
    return [
        Text(process.name, style="dim" if state in {State.PENDING, State.STOPPED} else "bold"),
        pid,
        Text(f"{sign} {state}", style=style),
        *([Text("" if restarts == "0" else restarts, style="yellow")] if restarted else []),
        Text(up, style="dim"),
        Text(note) if note else brief(last_line),  # in the terminal's own colour, to be read on any background
    ]


def _addresses(stack: Stack) -> list[tuple[str, Text]]:
    """Return where everything is: what a person opens first, then what programs speak to."""
    found = []
    if stack.flower_url:
        user, password = ("  user ", "dim"), ("  password ", "dim")
        flower = Text.assemble((stack.flower_url, "bold cyan"), user, "admin", password, stack.flower_password)
        found.append(("Flower", flower))
    for name, url in stack.urls.items():
        if name != "flower":
            found.append((name.capitalize(), Text.assemble((url, "cyan"))))
        if name == "postgres" and (elsewhere := stack.data_elsewhere):
            found[-1][1].append("  data in ", style="dim").append(str(elsewhere))
    return found


def _header(stack: Stack) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    for name, address in _addresses(stack):
        grid.add_row(name, address)
    return Group(_title(stack), "", grid)


def _title(stack: Stack) -> Text:
    return Text.from_markup(f"[bold]steadybeat[/] [dim]·[/] {escape(stack.app_name)} [dim]·[/] {_mood(stack)}")


def _mood(stack: Stack) -> str:
    if stack.stopping:
        return "[yellow]stopping[/]"
    if stack.failure:
        return "[bold red]failed[/]"
    if stack.ready_after is None:
        done = sum(1 for each in stack.processes if each.settled)
        return f"[yellow]starting, {done} of {len(stack.processes)}[/]"
    kept = [each for each in stack.processes if not each.once]
    unwell = sum(1 for each in kept if not each.settled)
    if unwell:
        return f"[yellow]{unwell} of {len(kept)} not ready[/]"
    return f"[green]ready[/] [dim]in {stack.ready_after.total_seconds():.1f} s[/]"


def _footer(stack: Stack) -> list[Text]:
    """Return what can be done now, a line for each; the last one is shown however low the terminal is."""
    if stack.stopping:
        return [Text("Ctrl-C again stops harder", style="dim")]
    folder = _short(stack.folder.path)
    last = Text.assemble(("Ctrl-C", "bold"), (" stops all  ·  logs in ", "dim"), f"{folder}/logs")
    if stack.ready_after is None:
        return [last]
    lines = [Text.assemble(command, (f"  {answer}", "dim")) for command, answer in _next_steps(stack)]
    return [*(_in_one_line(line) for line in lines), Text(), last]


def _next_steps(stack: Stack) -> list[tuple[str, str]]:
    """Return what to type into another terminal, padded to one width, each with what it answers."""
    celery = f"{_celery()} -A {stack.app_name}"
    steps = [(f". {_short(stack.folder.path)}/env", "first, in another terminal")]
    steps += [(f"{celery} {command}", answer) for command, answer in NEXT]
    width = max(len(command) for command, _ in steps)
    return [(command.ljust(width), answer) for command, answer in steps]


def _in_one_line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _celery() -> str:
    """Return how a shell started here finds this environment's `celery`."""
    own = Path(sys.executable).with_name("celery")
    found = shutil.which("celery")
    return "celery" if found and Path(found) == own else _short(own)


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _brief_facts(facts: dict[str, Any]) -> Text:
    if facts.get("schedule") == facts.get("task"):
        facts.pop("schedule", None)
    told = [(name, value) for name, value in facts.items() if name not in UNTOLD and value not in (None, "")]
    told.sort(key=lambda fact: (fact[0] not in SELF_EVIDENT, fact[0] == "result"))
    said = Text(str(facts["event"]), style=LEVELS.get(str(facts.get("level")), "" if told else "dim"))
    for name, value in told[:TOLD_COUNT]:
        said.append_text(_brief_fact(name, value))
    return said


def _brief_fact(name: str, value: Any) -> Text:
    if name in SELF_EVIDENT:
        return Text(f"  {value}", style="cyan" if name == "task" else "")
    if name.endswith("_seconds") and isinstance(value, int | float):
        took = f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
        label = "" if name == "duration_seconds" else f"{name.removesuffix('_seconds').replace('_', ' ')} "
        return Text.assemble((f"  {label}", "dim"), took)
    shown = f"{value:.3g}" if isinstance(value, float) else str(value).partition("\n")[0]
    if name == "result":
        return Text("  " + shown.strip("{}").replace("'", ""), style="dim")
    return Text.assemble((f"  {name} ", "dim"), shown)
