"""`celery -A … alerts`: what people were told, and what they answer."""

from __future__ import annotations

import click

from steadybeat.commands.reports import report
from steadybeat.commands.usage import Group


@click.group(cls=Group, epilog="Example: celery -A tasks alerts list")
def alerts() -> None:
    """Show what is wrong, answer it, and try the ways to people."""


alerts.add_command(report)
