"""`celery -A … dev`: the whole local stack, with one command."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from celery.bin.base import CeleryCommand, CeleryOption

from steadybeat.commands.installed import installed

GROUP = "Local stack"


@click.command(cls=CeleryCommand)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".steadybeat"),
    show_default=True,
    cls=CeleryOption,
    help="Where data and logs are kept.",
    help_group=GROUP,
)
@click.option(
    "--redis-url",
    envvar="STEADYBEAT_REDIS_URL",
    cls=CeleryOption,
    help="A running Redis to use; an embedded one unless given.",
    help_group=GROUP,
)
@click.option(
    "--database-url",
    envvar="STEADYBEAT_DATABASE_URL",
    cls=CeleryOption,
    help="A running Postgres to use; an embedded one unless given.",
    help_group=GROUP,
)
@click.option("--no-flower", is_flag=True, cls=CeleryOption, help="Leave Flower out.", help_group=GROUP)
@click.option(
    "--plain",
    is_flag=True,
    cls=CeleryOption,
    help="Print lines instead of a screen, as without a terminal.",
    help_group=GROUP,
)
@click.pass_context
def dev(
    ctx: click.Context, folder: Path, redis_url: str | None, database_url: str | None, no_flower: bool, plain: bool
) -> None:
    """Run everything on this machine: Redis, Postgres, two Beats, a worker for each service, Flower.

    Exits with 0 when it was told to stop, with 1 when the stack does not come up or one is running already, and
    with 2 when it was given something wrong.
    """
    # Celery loads every sub-command for every command, also for a worker: what only this one needs waits here.
    from rich.console import Console

    from steadybeat.app import services_of
    from steadybeat.dev import Stack
    from steadybeat.dev.foreground import run_in_foreground

    app = installed(ctx, tasks=True, schema=False)
    run_in_foreground(
        lambda output: Stack(
            app_name(ctx, sys.argv[1:]),
            services_of(app),
            folder=folder,
            prepare=app.steadybeat.settings.dev_prepare,
            redis_url=redis_url,
            database_url=database_url,
            flower=not no_flower,
            output=output,
        ),
        Console(force_terminal=sys.stdout.isatty() and not plain),
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
