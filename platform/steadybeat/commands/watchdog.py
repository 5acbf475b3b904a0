"""`celery -A … watchdog`: what keeps work moving without a Beat."""

from __future__ import annotations

import click
from celery.bin.base import LOG_LEVEL

from steadybeat.commands.installed import installed
from steadybeat.commands.usage import Command


@click.command(cls=Command, epilog="Example: celery -A tasks watchdog -l INFO")
@click.option("-l", "--loglevel", default="WARNING", type=LOG_LEVEL, help="Logging level.")
@click.option("-f", "--logfile", help="Log to this file instead of standard error.")
@click.pass_context
def watchdog(ctx: click.Context, loglevel: int, logfile: str | None) -> None:
    """Send what is due, rescue what was lost, and watch.

    Retries, delayed runs and runs whose worker died go on while a watchdog or a Beat lives. What is missing, late,
    stuck or slow is seen while Postgres lives, whatever becomes of Beats and of Redis, and people are told. Any number
    may run; one of them watches, and another takes over when it dies.
    Started while Postgres or Redis is away, it waits for them, and tells people of that.
    Exits with 0 when it was told to stop, and with 2 when the ledger's schema is too old or a setting is wrong.
    """
    from steadybeat.watchdog import Watchdog

    app = installed(ctx, schema=False)
    app.steadybeat.alerts.check()  # before standard error is the log's, which hides what looks like a URL's secret
    app.log.setup(loglevel=loglevel, logfile=logfile, colorize=False if ctx.obj.no_color else None)
    Watchdog(app).run()
