"""Watching: a run as it goes on, until it is over: a bar on a terminal, a line for each change in a pipe."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

from steadybeat.commands.asked import run_of
from steadybeat.commands.output import STYLES, Output
from steadybeat.commands.progress import bar
from steadybeat.ledger import Ledger
from steadybeat.operating.fanned import counted, fan_out_of, is_over, pace_of, progress_of

LOOK = timedelta(seconds=1)
"""How often it is looked how far a run is; less often where looking takes long."""

_SHARE = 0.1  # so much of the time may be spent with looking

Look = tuple[dict[str, Any], "dict[str, Any] | None"]


def look(book: Ledger, run: str) -> Look:
    """Return a run, and its fan-out where it has one."""
    return run_of(book, run), fan_out_of(book, run)


def looks(book: Ledger, run: str) -> Iterator[Look]:
    """Yield how a run stands again and again, until it is over."""
    while True:
        began = time.monotonic()
        found = look(book, run)
        yield found
        if is_over(*found):
            return
        threading.Event().wait(max(LOOK.total_seconds(), (time.monotonic() - began) * (1 / _SHARE - 1)))


def watch(out: Output | None, book: Ledger, run: str) -> None:
    """Wait until a run is over, and show meanwhile how far it is.

    Args:
        out: Where; None: nowhere.
        book: The ledger.
        run: Its id.
    """
    with closing(Screen(out)) as screen:
        for found in looks(book, run):
            screen.show(*found)


class Screen:
    """What a person sees while waiting.

    Args:
        out: Where; None: nowhere.
    """

    def __init__(self, out: Output | None) -> None:
        self._out = out
        self._said = ""
        self._live: Any = None
        if out is not None and out.console is not None:
            from rich.live import Live

            self._live = Live(console=out.console, auto_refresh=False, transient=True)
            self._live.start()

    def show(self, run: dict[str, Any], fan_out: dict[str, Any] | None) -> None:
        """Show how it stands."""
        pace = pace_of(fan_out, datetime.now(UTC)) if fan_out is not None else ""
        if self._live is not None:
            self._live.update(_drawn(run, fan_out, pace), refresh=True)
            return
        words = run["state"] if fan_out is None else f"{run['state']}: {progress_of(fan_out)}"
        if self._out is not None and words != self._said:
            self._out.say(f"{words}; {pace}" if pace else words)
            self._said = words

    def close(self) -> None:
        """Take it away; what follows says how the run ended."""
        if self._live is not None:
            self._live.stop()


def _drawn(run: dict[str, Any], fan_out: dict[str, Any] | None, pace: str) -> Any:
    """Return what a terminal shows: the state, or a bar with the counts below it."""
    from rich.console import Group
    from rich.text import Text

    if fan_out is None:
        return Text(run["state"], STYLES.get(run["state"], ""))
    counts = fan_out["counts"]
    lines = [Text(counted(counts)), Text(pace, "dim")]
    return Group(bar(counts["ended"], counts["total"]), *(line for line in lines if line.plain))
