"""Progress: how far something long has come. A bar on a terminal, a line for each thing in a pipe."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from steadybeat.commands.output import STYLES, Output, one_line


class Progress:
    """How far something has come, while a ``with`` block lasts.

    Args:
        out: Where it is shown; None: nowhere.
        what: What it is.
        total: How many things there are; None: nobody knows.
        is_quiet: Whether nothing is said of each thing, and the bar is gone in the end.
    """

    def __init__(self, out: Output | None, what: str, total: int | None, *, is_quiet: bool = False) -> None:
        self._out, self._total, self._done = out, total, 0
        self._bar: Any = None
        if out is not None and out.console is not None:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Bar(*columns, console=out.console, transient=is_quiet)
            self._task = self._bar.add_task(what, total=total)

    @classmethod
    def quiet(cls, out: Output | None, what: str, total: int | None = None) -> Progress:
        """Return one of which a terminal sees the bar while it lasts, and a pipe nothing."""
        return cls(out, what, total, is_quiet=True)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, number: int = 1) -> None:
        """Say that so many things have ended."""
        self._done += number
        if self._bar is not None:
            self._bar.advance(self._task, number)

    def ended(self, text: str, state: str) -> None:
        """Say that one thing has ended, and how."""
        self._done += 1
        if self._bar is not None:
            from rich.text import Text

            self._bar.console.print(Text(one_line(f"{text} {state}"), STYLES.get(state, "")))
            self._bar.advance(self._task)
        elif self._out is not None:
            self._out.say(f"{text} {state} ({self._done} of {self._total})")


def bar(done: int, total: int) -> Any:
    """Return how far something is as Rich draws it: a bar, and the counts beside it."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    grid = Table.grid(padding=(0, 1))
    grid.add_row(ProgressBar(total=total or 1, completed=done, width=40), f"{done:,} of {total:,}")
    return grid
