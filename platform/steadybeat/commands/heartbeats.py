"""`celery -A … heartbeats`: the monitors elsewhere that are told of runs."""

from __future__ import annotations

import click

from steadybeat.commands.usage import Group


@click.group(cls=Group, epilog="Example: celery -A tasks heartbeats test")
def heartbeats() -> None:
    """Make and try the monitors elsewhere that are told of runs."""
