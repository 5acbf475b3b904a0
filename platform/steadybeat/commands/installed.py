"""The app that a command works on."""

from __future__ import annotations

from typing import Any

import click

from steadybeat.errors import ConfigurationError


def installed(ctx: click.Context, *, tasks: bool = False, schema: bool = True) -> Any:
    """Return the app given to ``celery -A``, checked.

    Args:
        ctx: Context of a sub-command of `celery`.
        tasks: Whether its tasks are wanted: Celery imports none for a sub-command.
        schema: Whether the ledger must have every table of this release.

    Raises:
        ConfigurationError: steadybeat is not installed on the app.
        SchemaTooOld: Names the command that mends it.
        LedgerUnavailable: Names the URL.
    """
    app = ctx.obj.app
    if getattr(app, "steadybeat", None) is None:
        program, _, rest = ctx.command_path.partition(" ")
        if app.main in (None, "default"):
            raise ConfigurationError(f"No app is given. Name yours before the sub-command: {program} -A tasks {rest}")
        raise ConfigurationError(
            f"app={app.main!r}: has no steadybeat. Name one that has, before the sub-command ({program} -A … {rest}),"
            " or call steadybeat.install(app) in this one."
        )
    if tasks:
        app.loader.import_default_modules()
    if schema:
        app.steadybeat.ledger.require_schema()
    return app
