"""Every command of ours, with the words that lead to it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import distribution

import click

OURS = distribution("steadybeat").entry_points.select(group="celery.commands")
RUN_UNTIL_STOPPED = {"dev", "watchdog"}
"""They answer nothing, so that there is nothing to print as JSON."""


def walk(path: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from walk((*path, name), each)


ALL = [pair for entry in OURS for pair in walk((entry.name,), entry.load())]
ANSWERING = [pair for pair in ALL if not isinstance(pair[1], click.Group) and pair[0][0] not in RUN_UNTIL_STOPPED]
