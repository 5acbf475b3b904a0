"""`make docs`: writes `docs/reference/` anew from what the code says of its settings, commands and tasks.

    settings.md    the fields of `Settings`, and what `install(app)` sets in Celery's own configuration
    commands.md    every sub-command of `celery -A …` that pyproject.toml names
    tasks.md       what a task may be told, what a run can ask, and the rules of time

Nothing here knows a setting, a command or an option by name: what is added in the code appears at the next
`make docs`, and a test fails until then. The same code gives the same pages on every machine.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import sys
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, Field, fields
from datetime import timedelta
from pathlib import Path
from types import FunctionType
from typing import Any

import click
from celery import Celery

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import steadybeat
from ops.docstrings import WIDTH, called, code, documented, listed, parameters, sections, wrapped
from steadybeat import errors, fanout, schedule, schedules
from steadybeat.beat.definitions import _ENTRY_KEYS
from steadybeat.commands.output import length
from steadybeat.commands.usage import EXAMPLE
from steadybeat.errors import ConfigurationError
from steadybeat.schedule.policies import CATCH_UP, OVERLAP
from steadybeat.settings import PREFIX, Settings
from steadybeat.task import SteadyTask, options

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"
GENERATED = "<!-- Written by `make docs` from the code. Do not edit this page. -->\n\n"
DAY = 86400

_SETTINGS = f"""\
A setting stands in Celery's configuration under its name, or in the environment under the same name in capitals, which
wins; an empty variable says nothing. Lists are written with commas or spaces there. A name with `{PREFIX}` that is
not here is refused, with the nearest one that is."""
_INSTALLED = """\
What the configuration says itself is left alone; of `broker_transport_options` each key by itself is a default."""
_COMMANDS = """\
Each is a sub-command of `celery -A <app>`, beside Celery's own. Tables on a terminal, aligned text in a pipe, and with
`--json` one document: instants in ISO 8601, UTC; durations in seconds."""
_EXIT_CODES = """\
Exit codes: **0** well; **1** a finding, as the command says below; **2** something given is wrong, or Postgres or
Redis does not answer: one line on standard error names it and the way out."""
_TASKS = """\
Every task of an app on which `steadybeat.install(app)` was called is a `SteadyTask`. Celery's own options keep
[Celery's meaning](https://docs.celeryq.dev/en/stable/userguide/tasks.html); these come beside them."""
_LIMITS = f"""\
A task that names no `time_limit` or `soft_time_limit` takes them from
[`{PREFIX}time_limit_seconds`](settings.md#{PREFIX}time_limit_seconds) and
[`{PREFIX}soft_time_limit_seconds`](settings.md#{PREFIX}soft_time_limit_seconds). `max_retries=None` is refused unless
`retry_for` or `expires` bounds the retries in time; so is any `serializer` but `json`."""
_NARROWED = """\
A rule is a value: it is told in a chain, `cron(…).excluding(…).starting(…).limited(10)`, and each step returns another
rule. What stands first is done first: `excluding(day).limited(3)` is due three times, `limited(3).excluding(day)`
perhaps twice."""
_OTHER_RULES = """\
A `schedule` may also be a `timedelta`, a number of seconds, an aware `datetime` (due once), Celery's `crontab` or
`schedule`, RedBeat's `rrule`, or django-celery-beat's `clocked`. A crontab is read in the time zone of the Celery app,
and is due where both of its day fields fit, as in Celery."""
_AT_RUN_TIME = """\
`from steadybeat import schedules`: what an application changes beside its code; [how](../schedules.md#by-a-program)."""


def pages() -> dict[str, str]:
    """Return every page of the reference, by the name of its file."""
    return {"settings.md": settings_page(), "commands.md": commands_page(), "tasks.md": tasks_page()}


# Settings


def settings_page() -> str:
    """Return the page of all settings."""
    parts = [
        f"{GENERATED}# Settings",
        _SETTINGS,
        *(_setting(spec) for spec in fields(Settings)),
        "## What install(app) sets in Celery",
        _INSTALLED,
        _celery_defaults(),
    ]
    return "\n\n".join(wrapped(part) for part in parts) + "\n"


def _setting(spec: Field[Any]) -> str:
    name = PREFIX + spec.name
    return f"## {name}\n\n{spec.metadata['text']}\n\n`{name.upper()}` · {_kind(spec)} · default {_default(spec)}"


def _kind(spec: Field[Any]) -> str:
    """Return type, unit and range of a setting in words."""
    kinds = {"str": "text", "int": "a count", "float": "seconds", "tuple[str, ...]": "list of texts"}
    words = [kinds.get(str(spec.type)) or f"JSON, such as `{spec.metadata['example']}`"]
    low, high = spec.metadata["low"], spec.metadata["high"]
    words += [f"at least {low:g}"] if low is not None else []
    words += [f"at most {high:g}"] if high is not None else []
    limit = _limit(spec)
    words += [f"less than [`{limit}`](#{limit})"] if limit else []
    return ", ".join(words)


def _limit(spec: Field[Any]) -> str:
    """Return the setting that this one must stay below, as the check itself says it."""
    if not isinstance(spec.default, float):
        return ""
    high = spec.metadata["high"]
    most: dict[str, Any] = {spec.name: 1e12 if high is None else high}
    try:
        Settings(**most)
    except ConfigurationError as error:
        found = re.search(rf"must be less than ({PREFIX}\w+)=", str(error))
        return found[1] if found else ""
    return ""


def _default(spec: Field[Any]) -> str:
    value = spec.default
    if isinstance(value, float):
        words = "" if value < 60 else f" ({value / DAY:g} days)" if value >= DAY else f" ({length(_seconds(value))})"
        return f"{value:.10g}{words}"
    if value is MISSING:
        return "empty"
    return "empty" if value in ("", ()) else f"`{value}`" if isinstance(value, str) else str(value)


def _seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def _celery_defaults() -> str:
    """Return what `install` writes into the configuration of an app that says nothing itself."""
    with plain_environment():
        app = Celery("reference", set_as_current=False)
        steadybeat.install(app)
    own = {"deprecated_settings", "task_routes"}  # Celery's notes to itself; functions
    return "\n".join(
        f"- `{key} = {_value(value)}`" for key, value in sorted(app.conf.changes.items()) if key not in own
    )


def _value(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict) else repr(value)


@contextmanager
def plain_environment() -> Iterator[None]:
    """Leave this process' own settings out of what the block reads."""
    own = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(PREFIX.upper())}
    try:
        yield
    finally:
        os.environ.update(own)


# Commands


def commands() -> dict[str, click.Command]:
    """Return the sub-commands of `celery -A …` that the package brings along, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: dict[str, click.Command] = {}
    for name, target in sorted(project["entry-points"]["celery.commands"].items()):
        module, _, attribute = target.partition(":")
        found[name] = getattr(importlib.import_module(module), attribute)
    return found


def commands_page() -> str:
    """Return the page of all commands."""
    parts = [f"{GENERATED}# Commands", _COMMANDS, _EXIT_CODES, *_commands("", commands(), 2)]
    return "\n\n".join(wrapped(part) for part in parts) + "\n"


def _commands(path: str, group: Mapping[str, click.Command], level: int) -> Iterator[str]:
    for name, command in sorted(group.items()):
        if command.hidden:
            continue
        own = f"{path} {name}".strip()
        yield f"{'#' * min(level, 4)} {own}"
        if isinstance(command, click.Group):
            yield from _paragraphs(command.help or "")
            yield from _commands(own, command.commands, level + 1)
        else:
            yield from _command(own, command)


def _command(path: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=path)
    arguments = [each for piece in command.collect_usage_pieces(context) for each in piece.split()]
    yield f"`celery -A <app> {' '.join([path, *arguments])}`"
    yield from _paragraphs(command.help or "")
    given = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    if given:
        yield "\n".join(_option(each, context) for each in given)
    if command.epilog:
        examples = [each.strip() for each in command.epilog.removeprefix(EXAMPLE).strip().splitlines()]
        yield "\n".join(["```console", *(f"$ {each}" for each in examples), "```"])


def _option(option: click.Option, context: click.Context) -> str:
    names, text = option.get_help_record(context) or ("", "")
    if option.envvar:
        text += f" [environment: {option.envvar}]"
    if option.required and "required" not in text:
        text += " [required]"
    return f"- `{names}`: {' '.join(text.split())}".replace(":  [", ": [")


def _paragraphs(text: str) -> Iterator[str]:
    r"""Yield the paragraphs of a help text; those marked with ``\b`` are kept as they are."""
    for paragraph in inspect.cleandoc(text).partition("\f")[0].split("\n\n"):
        if paragraph.startswith("\b"):
            yield f"```text\n{paragraph.removeprefix(chr(8)).strip(chr(10))}\n```"
        elif paragraph.strip():
            yield re.sub(rf"(?<![`\w])({PREFIX}[a-z_]+)", r"[`\1`](settings.md#\1)", " ".join(paragraph.split()))


# Tasks


def tasks_page() -> str:
    """Return the page of a task's options and of what its run can ask."""
    parts = [
        f"{GENERATED}# Tasks and schedules",
        _TASKS,
        "## Options of a task",
        *_task_options(),
        "## Options of a beat_schedule entry",
        f"{listed(_ENTRY_KEYS)}; the policies mean what they mean on a task. Any other key is refused.",
        "## What a run can ask",
        "Inside a task with `bind=True`:",
        *(_member(name) for name in _run_members()),
        "## Tenants",
        *_fan_outs(),
        "## Rules of time",
        *_rules(),
        f"## Schedules at run time\n\n{_AT_RUN_TIME}",
        *_functions(),
        "## Errors",
        f"```text\n{inspect.cleandoc(errors.__doc__ or '').split(chr(10) * 2)[1]}\n```",
    ]
    return "\n\n".join(wrapped(part) for part in parts) + "\n"


def _task_options() -> Iterator[str]:
    allowed = {"severity": options.SEVERITIES, "catch_up": CATCH_UP, "overlap": OVERLAP}
    texts = dict(sections(SteadyTask)["Attributes"])
    for name in sorted(options.OPTIONS, key=list(texts).index):
        value = getattr(SteadyTask, name)
        words = [f"One of {listed(allowed[name])}."] if name in allowed else []
        words += [f"Default `{value!r}`."] if value not in (None, (), {}) else []
        yield f"### {name}\n\n{code(texts[name])}" + (f"\n\n{' '.join(words)}" if words else "")
    yield _LIMITS


def _run_members() -> list[str]:
    """Return the properties and methods that `SteadyTask` and its parts add for the code of a task."""
    theirs = {"apply_async", "on_bound", "on_replace", "retry"}  # Celery's own, with Celery's meaning
    parts = [vars(part) for part in SteadyTask.__mro__ if part.__module__.startswith("steadybeat.task.")]
    members = [(name, member) for part in parts for name, member in part.items() if not name.startswith("_")]
    return [name for name, member in members if name not in theirs and isinstance(member, property | FunctionType)]


def _member(name: str) -> str:
    member = inspect.getattr_static(SteadyTask, name)
    if isinstance(member, property):
        return f"### self.{name}\n\n{documented(member.fget)}"
    heading = f"### self.{name}({parameters(member)})"
    return called(f"self.{name}", member) if len(heading) > WIDTH else f"{heading}\n\n{documented(member)}"


def _fan_outs() -> Iterator[str]:
    for name in fanout.__all__:
        member = getattr(fanout, name)
        if name in steadybeat.__all__:
            yield called(name, member)


def _rules() -> Iterator[str]:
    *_, examples = inspect.cleandoc(schedule.__doc__ or "").split("\n\n")
    yield f"```text\n{textwrap.dedent(examples)}\n```"
    for name in steadybeat.__all__:
        member = getattr(steadybeat, name)
        if inspect.isfunction(member) and member.__module__.startswith("steadybeat.schedule"):
            yield f"### {name}()\n\n```text\n{name}({parameters(member)})\n```\n\n{documented(member)}"
    yield f"### What every rule can be told and asked\n\n{_NARROWED}"
    for name, member in vars(schedule.Rule).items():
        if not name.startswith("_") and inspect.isfunction(member) and not getattr(member, "__isabstractmethod__", 0):
            yield f"#### {name}({parameters(member)})\n\n{documented(member)}"
    yield f"### Other forms\n\n{_OTHER_RULES}"


def _functions() -> Iterator[str]:
    for name, member in inspect.getmembers(schedules, inspect.isfunction):
        if name in schedules.__all__:
            yield called(f"schedules.{name}", member)


def main() -> None:
    """Write the pages that have changed, and say which."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        page = FOLDER / name
        if not page.exists() or page.read_text() != text:
            page.write_text(text)
            print(f"{page.relative_to(ROOT)} is written anew.")
    print("The reference is up to date.")


if __name__ == "__main__":
    main()
