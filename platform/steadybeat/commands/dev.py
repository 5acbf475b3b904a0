"""`celery -A … dev`: the whole local stack, with one command."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from steadybeat.commands.installed import installed
from steadybeat.commands.usage import Command


@click.command(cls=Command, epilog="Example: celery -A tasks dev")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".steadybeat"),
    show_default=True,
    help="Where data and logs are kept.",
)
@click.option(
    "--redis-url",
    envvar="STEADYBEAT_REDIS_URL",
    help="A running Redis to use; an embedded one unless given.",
)
@click.option(
    "--database-url",
    envvar="STEADYBEAT_DATABASE_URL",
    help="A running Postgres to use; an embedded one unless given.",
)
@click.option("--no-flower", is_flag=True, help="Leave Flower out.")
@click.option("--plain", is_flag=True, help="Print lines instead of a screen, as without a terminal.")
@click.pass_context
def dev(
    ctx: click.Context, folder: Path, redis_url: str | None, database_url: str | None, no_flower: bool, plain: bool
) -> None:
    """Run the whole platform on this machine, until Ctrl-C.

    That is Redis, Postgres, two Beats, a watchdog, a worker for each service (or for several that share one), and
    Flower, kept running; data and logs stay in the folder.

    Exits with 0 when it was told to stop, with 1 when the stack does not come up or one is running already, and
    with 2 when it was given something wrong.
    """
    # Celery loads every sub-command for every command, also for a worker: what only this one needs waits here.
    from rich.console import Console

    from steadybeat.delivery import services_of
    from steadybeat.dev import Stack
    from steadybeat.dev.foreground import run_in_foreground

    app = installed(ctx, tasks=True, schema=False)
    run_in_foreground(
        lambda output: Stack(
            app_name(ctx, sys.argv[1:]),
            services_of(app),
            folder=folder,
            prepare=app.steadybeat.settings.dev_prepare,
            run=app.steadybeat.settings.dev_run,
            together=app.steadybeat.settings.dev_together,
            redis_url=redis_url,
            database_url=database_url,
            flower=not no_flower,
            output=output,
        ),
        Console(force_terminal=sys.stdout.isatty() and not plain, no_color=ctx.obj.no_color or None),
    )
    click.echo(f"All stopped. Data and logs are kept in {folder}.")


def app_name(ctx: click.Context, arguments: list[str]) -> str:
    """Return what was given to ``celery -A``, which Celery itself keeps only as the application it found.

    Args:
        ctx: Context of a sub-command of `celery`.
        arguments: The command line, without the program.
    """
    parent = ctx.find_root()
    options, _, _ = parent.command.make_parser(parent).parse_args(list(arguments))
    given = options.get("app") or parent.params.get("app")
    return given if isinstance(given, str) else str(ctx.obj.app.main)
