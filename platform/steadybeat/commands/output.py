"""Output: how a command's answer looks.

Tables and colours on a terminal, aligned text in a pipe, one JSON document for machines.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import click

from steadybeat.wording import count, distance, length, moment, nominal, one_line

if TYPE_CHECKING:
    from rich.text import Text

__all__ = [
    "GAP",
    "NONE",
    "STYLES",
    "Column",
    "Output",
    "aligned",
    "as_json",
    "count",
    "distance",
    "json_option",
    "length",
    "moment",
    "nominal",
    "one_line",
]

NONE = "-"
GAP = 3  # characters between two columns of a table on a terminal
SQUEEZED = 12  # a column that wraps or is cut may become as narrow as this

STYLES: Mapping[str, str] = {
    "succeeded": "green",
    "running": "cyan",
    "dispatched": "cyan",
    "waiting": "yellow",
    "retried": "yellow",
    "interrupted": "yellow",
    "skipped": "yellow",
    "coalesced": "yellow",
    "superseded": "yellow",
    "cancelled": "dim",
    "missed": "bold red",
    "dead": "bold red",
    "failed": "red",
    "lost": "red",
    "timed_out": "red",
    "added": "green",
    "changed": "yellow",
    "retired": "red",
}
"""How states, outcomes and changes are coloured on a terminal."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table.

    Attributes:
        title: What stands above it.
        value: The text for a row; empty where there is nothing to say.
        style: A style of Rich for all its cells; `STYLES` says it for those that are a state.
        shown_from: A terminal needs this many columns of characters to be shown it; a pipe gets every column.
        right: Whether it is a number.
        tight: What happens where a terminal is too narrow: ``keep`` its cells whole, ``wrap`` them, or ``cut`` them.
    """

    title: str
    value: Callable[[Any], str]
    style: str = ""
    shown_from: int = 0
    right: bool = False
    tight: Literal["keep", "wrap", "cut"] = "keep"


class Output:
    """Standard output, as one command sees it.

    Args:
        ctx: Context of a sub-command of `celery`, which knows ``--no-color``.
    """

    def __init__(self, ctx: click.Context) -> None:
        self._console: Any = None
        if sys.stdout.isatty():
            # Celery loads every sub-command for every command, also for a worker: Rich waits until it is wanted.
            from rich.console import Console

            system: Literal["auto"] | None = None if ctx.obj.no_color else "auto"
            self._console = Console(color_system=system, highlight=False, markup=False, emoji=False)

    @property
    def console(self) -> Any:
        """The terminal as Rich knows it, or None in a pipe."""
        return self._console

    def json(self, document: Any) -> None:
        """Print one JSON document: instants as ISO 8601 in UTC, durations in seconds."""
        click.echo(json.dumps(as_json(document), indent=2, ensure_ascii=False))

    def say(self, text: str, style: str = "") -> None:
        """Print a sentence."""
        if self._console is None:
            click.echo(one_line(text))
        else:
            self._console.print(one_line(text), style=style)

    def hint(self, text: str) -> None:
        """Say to a person, and not in a pipe, what to type next."""
        if self._console is not None:
            self.say(text, "dim")

    def block(self, title: str, text: str) -> None:
        """Print text of several lines, such as a stack, under a title."""
        lines = [one_line(line, strip=False).rstrip() for line in text.strip("\n").splitlines()]
        if self._console is None:
            click.echo("\n".join(["", f"{title}:", *(f"  {line}".rstrip() for line in lines)]))
            return
        from rich.padding import Padding

        self._console.print(f"\n{title}", style="bold")
        self._console.print(Padding("\n".join(lines), (0, 0, 0, 2), expand=False), style="dim")

    def facts(self, facts: Iterable[tuple[str, str]]) -> None:
        """Print names and values, one pair a line; pairs without a value are left out."""
        pairs = [(name, one_line(value)) for name, value in facts if value]
        if self._console is None:
            width = max(len(name) for name, _ in pairs)
            click.echo("\n".join(f"{name.ljust(width)}  {value}" for name, value in pairs))
            return
        from rich.text import Text

        self._pairs([(name, Text(value, style=STYLES.get(value.partition(":")[0], ""))) for name, value in pairs])

    def table(self, columns: Sequence[Column], rows: Sequence[Any]) -> None:
        """Print a table, a line for each row; where a terminal is too narrow for that, a block for each row."""
        cells = [[one_line(column.value(row)) for column in columns] for row in rows]
        if self._console is None:
            click.echo("\n".join(aligned(columns, cells)))
            return
        from rich.text import Text

        texts = [
            [Text(text, STYLES.get(text, column.style)) for text, column in zip(row, columns, strict=True)]
            for row in cells
        ]
        shown = [
            n
            for n, column in enumerate(columns)
            if self._console.width >= column.shown_from and any(row[n] for row in cells)
        ]
        fits = sum(_narrowest(columns[n], [row[n] for row in cells]) + GAP for n in shown) - GAP <= self._console.width
        draw = self._side_by_side if fits else self._one_below_the_other
        draw([columns[n] for n in shown], [[row[n] for n in shown] for row in texts])

    def _side_by_side(self, columns: Sequence[Column], rows: Sequence[Sequence[Text]]) -> None:
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False, show_edge=False)
        for column in columns:
            justify: Literal["left", "right"] = "right" if column.right else "left"
            table.add_column(column.title, justify=justify, no_wrap=column.tight == "keep", overflow="fold")
        for row in rows:
            for text, column in zip(row, columns, strict=True):
                if column.tight == "cut":
                    text.no_wrap, text.overflow = True, "ellipsis"
            table.add_row(*row)
        self._console.print(table)

    def _one_below_the_other(self, columns: Sequence[Column], rows: Sequence[Sequence[Text]]) -> None:
        """Print each row as a block of its own: in columns, its values would be cut off."""
        for n, row in enumerate(rows):
            if n:
                self._console.print()
            pairs = zip(columns, row, strict=True)
            self._pairs([(column.title, text) for column, text in pairs if text.plain])

    def _pairs(self, pairs: Iterable[tuple[str, Text]]) -> None:
        from rich.table import Table

        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for pair in pairs:
            grid.add_row(*pair)
        self._console.print(grid)


def _narrowest(column: Column, cells: Sequence[str]) -> int:
    """Return how few characters a column of a table may be wide."""
    widest = max(len(text) for text in (column.title, *cells))
    return widest if column.tight == "keep" else min(widest, SQUEEZED)


def aligned(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table as plain text: titles, then rows, cells padded to the widest of their column."""
    lines = [[column.title.upper() for column in columns], *([cell or NONE for cell in row] for row in cells)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(columns))]
    return [
        "  ".join(
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        ).rstrip()
        for line in lines
    ]


def as_json(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if isinstance(value, Mapping):
        return {str(name): as_json(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    if isinstance(value, datetime):
        from steadybeat.schedule.rule import iso

        return iso(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value) if isinstance(value, UUID) else value
