"""Usage: how a command is asked for, and how it refuses what it cannot take: in one line, with the way out.

Every command of ours is a `Command` or a `Group`; a group's commands are `Command`s by themselves.
"""

from __future__ import annotations

import inspect
import textwrap
from typing import Any

import click

from steadybeat.errors import ConfigurationError, did_you_mean

EXAMPLE = "Example: "
"""An epilog that begins so stands in the help as one line, however narrow the terminal, so that it can be copied."""


DOCUMENT = "\b\n--json:"
"""What stands in a docstring before the shape of the JSON document, its last paragraph."""


NOTHING_CHANGED = "Nothing was changed (--dry-run)."
"""How every dry run ends."""

dry_run_option = click.option("--dry-run", is_flag=True, help="Only say what would change.")
reason_unless_dry = click.option(
    "--reason", help="Why; it is written down with your name. Required, but for --dry-run."
)


class WrongUsage(click.UsageError):
    """A command line that a command cannot take; shown as one line."""

    def show(self, file: Any = None) -> None:
        """Print the line to standard error."""
        click.echo(f"Error: {self.format_message()}", file=file, err=file is None)


def _in_one_line(error: click.UsageError, ctx: click.Context | None) -> WrongUsage:
    """Return the same refusal in one line that ends in the way out."""
    ctx = error.ctx or ctx
    path = ctx.command_path if ctx else "celery"
    if isinstance(error, click.NoSuchOption) and error.option_name in ("-A", "--app"):
        program, _, rest = path.partition(" ")
        return WrongUsage(f"{error.option_name} stands before the sub-command: {program} -A … {rest}", ctx)
    if isinstance(error, click.NoSuchOption) and ctx is not None:
        known = [name for each in ctx.command.get_params(ctx) for name in each.opts if name.startswith("-")]
        said = f"{error.option_name}: there is no such option.{did_you_mean(error.option_name, known)}"
    else:
        said = " ".join(error.format_message().split())
        said = said if said.endswith((".", "?", "!")) else f"{said}."
    return WrongUsage(f"{said} Help: {path} --help", ctx)


def reason_given(reason: str, example: str) -> str:
    """Return the reason that a person gave for a change.

    Args:
        reason: What stands behind ``--reason``.
        example: One that would do.

    Raises:
        ConfigurationError: It is empty.
    """
    if not reason.strip():
        raise ConfigurationError(f"--reason={reason!r}: must say why, such as --reason {example!r}.")
    return reason.strip()


def reason_unless(dry_run: bool, reason: str | None, example: str) -> str:
    """Return the reason that a person gave for a change; of a dry run it may be empty.

    Args:
        dry_run: Whether nothing is to change.
        reason: What stands behind ``--reason``.
        example: One that would do.

    Raises:
        ConfigurationError: It is empty.
    """
    return "" if dry_run and reason is None else reason_given(reason or "", example)


class Command(click.Command):
    """A command that refuses in one line and shows its example in one."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Return the context of a call.

        Raises:
            WrongUsage: The arguments are none of its own.
        """
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            if isinstance(error, WrongUsage) or _is_help(error):
                raise
            raise _in_one_line(error, parent) from None

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the command does; what its document looks like follows after the options."""
        whole = self.help
        self.help, _ = _parted(whole)
        try:
            super().format_help_text(ctx, formatter)
        finally:
            self.help = whole

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what ``--json`` prints, wrapped, and the example, unwrapped."""
        _, document = _parted(self.help)
        if document:
            with formatter.section("--json prints"):
                indent = " " * formatter.current_indent
                lines = textwrap.wrap(
                    document, formatter.width, initial_indent=indent, subsequent_indent=f"{indent} ",
                    break_long_words=False, break_on_hyphens=False,
                )  # fmt: skip
                formatter.write("\n".join(lines) + "\n")
        if not (self.epilog or "").startswith(EXAMPLE):
            super().format_epilog(ctx, formatter)
            return
        with formatter.section(EXAMPLE.rstrip(": ")):
            for line in str(self.epilog).removeprefix(EXAMPLE).splitlines():
                formatter.write(f"{'':{formatter.current_indent}}{line.strip()}\n")


class Group(Command, click.Group):
    """A group of such commands, which knows what a mistyped one may have been."""

    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is asked for.

        Raises:
            WrongUsage: There is none of that name; says which there are.
        """
        name = args[0]
        if self.get_command(ctx, name) is None and not ctx.resilient_parsing and not name.startswith("-"):
            known = ", ".join(self.list_commands(ctx))
            raise WrongUsage(
                f"{ctx.command_path} {name}: there is no such command.{did_you_mean(name, self.commands)}"
                f" There are: {known}.",
                ctx,
            )
        return super().resolve_command(ctx, args)


Group.group_class = Group


def _parted(text: str | None) -> tuple[str, str]:
    """Return what a docstring says, and the shape of the JSON document, which may be empty."""
    said, _, document = inspect.cleandoc(text or "").partition(DOCUMENT)
    return said.rstrip(), " ".join(document.split())


def _is_help(error: click.UsageError) -> bool:
    """Whether it is the whole help, as a group without a command answers with (click 8.2 and newer)."""
    return type(error).__name__ == "NoArgsIsHelpError"
