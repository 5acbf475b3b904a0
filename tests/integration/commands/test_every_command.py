from __future__ import annotations

import inspect
import json
import os
import pty
import re
import select
import shlex
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from celery.bin.celery import celery
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from steadybeat.commands.usage import DOCUMENT, Command, Group
from tests.integration.commands.every import ALL, ANSWERING, OURS
from tests.integration.commands.fans import ended, fanned_out
from tests.integration.commands.shop import ROOT, MakeApp, Run, charged, refusal, said

NEED_NO_LEDGER = {("audit",), ("health",), ("schedules", "check"), ("schedules", "explain")}
HEAVY = {"alembic", "apprise", "psycopg", "rich", "sentry_sdk", "sqlalchemy", "structlog", "tornado"}
CELERY = [str(Path(sys.executable).with_name("celery"))]

FRONT = """
import datetime, celery, steadybeat
app = celery.Celery("shop")
steadybeat.install(app)

@app.task(name="shop.mail.digest", schedule=steadybeat.cron("0 6 * * *", tz="UTC"))
def digest(): ...
"""


def each(pairs: list[Any]) -> Any:
    return pytest.mark.parametrize(("path", "command"), pairs, ids=[" ".join(path) for path, _ in pairs])


def example(path: tuple[str, ...], command: click.Command) -> list[str]:
    """The example's words after the name of its command."""
    start = f"Example: celery -A tasks {' '.join(path)}"
    assert (command.epilog or "").startswith(start), f"its epilog must be: {start} …"
    return shlex.split(str(command.epilog).removeprefix(start))


def bare(*arguments: str) -> Result:
    """Runs a sub-command without an app."""
    return CliRunner().invoke(celery, list(arguments))


def helped(path: tuple[str, ...], width: int = 80) -> str:
    result = CliRunner().invoke(celery, [*path, "--help"], terminal_width=width)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_none_of_them_hides_behind_a_command_of_celerys() -> None:
    for path, command in ALL:
        if len(path) == 1:
            assert celery.commands[path[0]] is command


@each(ALL)
def test_the_help_begins_with_a_line_that_says_what_it_does(path: tuple[str, ...], command: click.Command) -> None:
    first = " ".join(inspect.cleandoc(command.help or "").partition("\n\n")[0].split())
    assert first.endswith("."), first
    assert not command.get_short_help_str(60).endswith("..."), f"too long for a list of commands: {first}"


@each(ALL)
def test_the_help_fits_a_terminal_of_80_columns(path: tuple[str, ...], command: click.Command) -> None:
    text, _, _ = helped(path).partition("\nExample:\n")
    assert [line for line in text.splitlines() if len(line) > 80] == []


@each(ALL)
def test_the_help_explains_every_option_and_argument(path: tuple[str, ...], command: click.Command) -> None:
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{parameter.opts[0]} has no help"
        elif not isinstance(parameter.type, click.Choice):
            assert str(parameter.name).upper() in (command.help or "")


@each(ALL)
def test_the_example_stands_in_one_line_and_is_understood(path: tuple[str, ...], command: click.Command) -> None:
    arguments = example(path, command)
    assert f"\n  {str(command.epilog).removeprefix('Example: ')}\n" in helped(path, 50)
    while isinstance(command, click.Group):
        name, *arguments = arguments
        command = command.commands[name]
    command.make_context(path[-1], arguments)


@each(ALL)
def test_what_it_does_not_know_is_refused_in_one_line(path: tuple[str, ...], command: click.Command) -> None:
    assert isinstance(command, Command), "use cls=Command or cls=Group of steadybeat.commands.usage"
    line = refusal(bare(*path, "--no-such-option"))
    assert line.startswith("--no-such-option: there is no such option.")
    assert line.endswith(f" {' '.join(path)} --help")


@each([pair for pair in ALL if isinstance(pair[1], click.Group)])
def test_a_mistyped_command_is_refused_with_the_nearest_one(path: tuple[str, ...], command: click.Group) -> None:
    assert isinstance(command, Group)
    for name in command.commands:
        line = refusal(bare(*path, f"{name}x"))
        assert f"{' '.join(path)} {name}x: there is no such command. Did you mean '{name}'? There are: " in line


# What changes one thing only, so that what it would change is what it is given.
ONE_THING = {
    ("alerts", "unsilence"), ("schedules", "pause"), ("schedules", "trigger"),
}  # fmt: skip


@each(ANSWERING)
def test_what_changes_more_than_one_thing_has_a_dry_run_and_says_why_it_is_done(
    path: tuple[str, ...], command: click.Command
) -> None:
    options = {name: parameter for parameter in command.params for name in parameter.opts}
    if "--dry-run" in options:
        assert options["--dry-run"].help == "Only say what would change."  # type: ignore[attr-defined]
    if "--reason" in options and path not in ONE_THING:
        assert "--dry-run" in options


# Whose values nobody can offer: made up by the person, or too many.
FREE = {
    "reason", "error", "key", "subject", "url", "day", "exchange", "routing_key", "serializer", "cron", "rrule",
    "dtstart", "logfile", "plain", "redis_url", "database_url",
}  # fmt: skip


@each(ALL)
def test_each_name_that_somebody_could_know_is_offered(path: tuple[str, ...], command: click.Command) -> None:
    for parameter in command.params:
        is_text = parameter.type is click.STRING and parameter.name not in FREE
        assert not is_text or parameter._custom_shell_complete is not None, f"{parameter.name} offers nothing"


def test_every_command_stands_in_the_reference_and_nothing_else_does() -> None:
    page = (ROOT / "docs/reference/commands.md").read_text()
    assert {*re.findall(r"^##+ (.+)$", page, re.MULTILINE)} == {" ".join(path) for path, _ in ALL}


def test_celerys_own_help_names_each_group_and_what_it_is_for() -> None:
    text = CliRunner().invoke(celery, ["--help"], terminal_width=100).stdout
    for path, command in ALL:
        if len(path) == 1:
            assert f"  {path[0]} " in text
            assert command.get_short_help_str(90).rstrip(".") in " ".join(text.split())


@each(ANSWERING)
def test_it_answers_machines_and_says_how(path: tuple[str, ...], command: click.Command) -> None:
    assert "--json" in [name for parameter in command.params for name in parameter.opts]
    assert inspect.cleandoc(command.help or "").partition(DOCUMENT)[2], "its help must end in the shape of the document"
    assert "\n--json prints:\n  " in helped(path)


@each(ANSWERING)
def test_its_example_answers_or_is_refused_in_one_line(path: tuple[str, ...], command: click.Command, run: Run) -> None:
    result = run(*path, *example(path, command), "--json")
    if result.exit_code == 2:
        refusal(result)
    else:
        assert result.exit_code in (0, 1), result.exception
        json.loads(result.stdout)
    assert "\x1b" not in result.output


@each([pair for pair in ANSWERING if pair[0] not in NEED_NO_LEDGER])
def test_a_ledger_that_is_away_is_one_line(
    path: tuple[str, ...], command: click.Command, run: Run, make_app: MakeApp
) -> None:
    away = make_app(steadybeat_database_url="postgresql://127.0.0.1:1/nowhere")
    assert "does not answer" in refusal(run(*path, *example(path, command), app=away))


def test_a_rerun_goes_on_record_while_the_queue_is_away(app: Any, run: Run, instance: str, make_app: MakeApp) -> None:
    old = charged(app, instance, error="OSError: no")
    away = make_app(steadybeat_redis_url="redis://127.0.0.1:1/0")
    new = said(run("runs", "rerun", old, "--reason", "x", "--json", app=away))["run"]
    assert said(run("runs", "show", new, "--json"))["state"] == "enqueued"


def test_the_app_option_is_refused_after_the_command_with_its_right_place() -> None:
    assert refusal(bare("runs", "list", "-A", "tasks")) == (
        "-A stands before the sub-command: celery -A … runs list"
    )  # fmt: skip


def test_an_unknown_state_is_refused_with_the_nearest_one() -> None:
    line = refusal(bare("runs", "list", "--state", "ded"))
    assert "'ded' is no state. Did you mean 'dead'? There are: enqueued, running, " in line


@pytest.mark.parametrize("module", sorted({entry.module for entry in OURS}))
def test_loading_a_command_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []


# As a person sees it: the real program, on a terminal and in a pipe


@pytest.fixture
def front(tmp_path: Path, ledger_url: str, redis_url: str) -> dict[str, Any]:
    """What a subprocess needs to find an app called `front` with a ledger."""
    (tmp_path / "front.py").write_text(FRONT)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("STEADYBEAT_", "NO_COLOR"))}
    servers = {"STEADYBEAT_DATABASE_URL": ledger_url, "STEADYBEAT_REDIS_URL": redis_url}
    return {"cwd": tmp_path, "env": {**kept, **servers, "TERM": "xterm-256color", "COLUMNS": "100"}}


def on_a_terminal(front: dict[str, Any], *arguments: str, **env: str) -> str:
    """What a command prints on a terminal, escape sequences included."""
    ours, theirs = pty.openpty()
    given = {**front, "env": {**front["env"], **env}}
    process = subprocess.Popen([*CELERY, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, **given)
    os.close(theirs)
    shown = b""
    while True:
        assert select.select([ours], [], [], 60)[0], "it says nothing for a minute"
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait(60) == 0, shown
    return shown.decode().replace("\r\n", "\n")


def test_a_terminal_gets_a_table_in_colours_unless_they_are_declined(
    front: dict[str, Any], app: Any, instance: str
) -> None:
    charged(app, instance)
    coloured = on_a_terminal(front, "-A", "front", "runs", "list")
    assert "─────" in coloured
    assert re.search(r"\x1b\[[0-9;]*32m *succeeded", coloured)
    assert "\x1b" not in on_a_terminal(front, "-A", "front", "runs", "list", NO_COLOR="1")
    assert "\x1b" not in on_a_terminal(front, "--no-color", "-A", "front", "runs", "list")


def test_a_narrow_terminal_cuts_no_id_off(front: dict[str, Any], app: Any, instance: str) -> None:
    old = charged(app, instance)
    shown = on_a_terminal(front, "-A", "front", "runs", "list", COLUMNS="46", NO_COLOR="1")
    assert [line.split() for line in shown.splitlines()] == [
        ["run", old], ["task", "shop.billing.charge"], ["state", "succeeded"]
    ]  # fmt: skip


def test_a_terminal_gets_a_bar_of_a_fan_outs_tenants(front: dict[str, Any], app: Any, instance: str) -> None:
    one = fanned_out(app, instance, [*"abcd"])
    ended(app, instance, one, ["a"])
    shown = on_a_terminal(front, "-A", "front", "runs", "show", one, "--watch", NO_COLOR="1")
    assert "3 succeeded, 1 failed" in shown
    assert re.search(r"━{40} 4 of 4\s", shown)


def test_a_terminal_gets_a_bar_of_long_work_and_a_pipe_does_not(
    front: dict[str, Any], app: Any, instance: str, run: Run
) -> None:
    for _ in range(3):
        charged(app, instance, error="OSError: no")
    shown = on_a_terminal(front, "-A", "front", "dead", "requeue", "--all", "--reason", "x", NO_COLOR="1")
    assert re.search(r"requeued .*━.* 3/3", shown)
    assert shown.endswith("3 dead letters were requeued.\n")
    charged(app, instance, error="OSError: no")
    assert run("dead", "requeue", "--all", "--reason", "x").stdout.startswith("1 dead letter was requeued: ")


def test_a_pipe_gets_plain_lines_and_may_be_closed_early(front: dict[str, Any], app: Any, instance: str) -> None:
    for _ in range(3):
        charged(app, instance)
    command = f"{shlex.join(CELERY)} -A front runs list | head -1"
    piped = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, **front)
    assert piped.stdout.split()[:3] == ["RUN", "TASK", "STATE"]
    assert piped.stderr == ""


# What the Tab key offers


Press = Callable[..., list[str]]


@pytest.fixture
def press_tab(app: Any) -> Press:
    """Returns what is offered after some words of `celery …` for the beginning of the next one."""

    def press(*words: str, app: Any = app) -> list[str]:
        complete = ShellComplete(celery, {"default_map": {"app": app}}, "celery", "_CELERY_COMPLETE")
        return [item.value for item in complete.get_completions(list(words[:-1]), words[-1])]

    return press


def test_the_tab_key_offers_what_the_ledger_knows(app: Any, run: Run, instance: str, press_tab: Press) -> None:
    run("schedules", "apply")
    ended, waits = charged(app, instance), app.send_task("shop.billing.report").id
    assert press_tab("runs", "why", "") == ["shop.mail.digest"]
    assert press_tab("runs", "why", "shop.billing") == []
    assert press_tab("runs", "why", "shop.mail.digest", "n") == ["next", "now"]
    assert press_tab("runs", "list", "--service", "") == ["mail", "billing"]
    assert press_tab("runs", "list", "--task", "shop.b") == ["shop.billing.report", "shop.billing.charge"]
    assert press_tab("runs", "list", "--schedule", "") == ["shop.mail.digest"]
    assert press_tab("runs", "list", "--state", "d") == ["dead"]
    for verb in ("add", "backfill", "explain", "pause", "remove", "show", "trigger"):
        assert press_tab("schedules", verb, "shop") == ["shop.mail.digest"], verb
    assert press_tab("schedules", "resume", "") == []
    run("schedules", "pause", "shop.mail.digest", "--reason", "x")
    assert press_tab("schedules", "resume", "") == ["shop.mail.digest"]
    assert press_tab("schedules", "trigger", "shop.mail.digest", "--as-of", "") == ["last", "now"]
    assert press_tab("schedules", "add", "new", "--task", "shop.m") == ["shop.mail.digest"]
    assert press_tab("schedules", "add", "new", "--overlap", "q") == ["queue_one", "queue_all"]
    assert sorted(press_tab("runs", "show", "")) == sorted([ended, waits])
    assert press_tab("runs", "rerun", "") == [ended]


def test_the_tab_key_offers_nothing_where_there_is_no_ledger(make_app: MakeApp, press_tab: Press) -> None:
    assert press_tab("runs", "why", "", app=make_app(steadybeat_database_url="postgresql://127.0.0.1:1/x")) == []
    assert press_tab("runs", "why", "", app=None) == []
    assert press_tab("runs", "why", "", app="no_such_module") == []


def test_an_app_that_takes_too_long_to_load_is_not_waited_for(
    press_tab: Press, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "slow_app.py").write_text("import threading; threading.Event().wait()")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("steadybeat.commands.completion.PATIENCE", timedelta(milliseconds=200))
    assert press_tab("runs", "why", "", app="slow_app") == []


TAB = """
eval "$(_CELERY_COMPLETE=bash_source celery)"
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); _celery_completion celery
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("runs list --si", "--since"),
        ("runs list --un", "--until"),
        ("runs list --er", "--error"),
        ("dead requeue --dr", "--dry-run"),
        ("ledger prune --dr", "--dry-run"),
        ("call shop.ma", "shop.mail.digest"),
        ("call shop.mail.digest --queue m", "mail"),
        ("schedules explain --tz Europe/Rig", "Europe/Riga"),
        ("runs why shop.mail.digest l", "last"),
    ],
)
def test_bash_itself_completes_options_and_what_they_take(
    typed: str, offered: str, front: dict[str, Any], app: Any, run: Run
) -> None:
    run("schedules", "apply")
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    given = {**front, "env": {**front["env"], **path}}
    words = ["bash", "-c", TAB, "bash", "celery", "-A", "front", *typed.split()]
    assert subprocess.run(words, capture_output=True, text=True, check=True, **given).stdout.split() == [offered]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_real_program_completes_for_the_app_it_is_given(
    shell: str, front: dict[str, Any], app: Any, run: Run
) -> None:
    run("schedules", "apply")
    words = {"bash": ("6", "shop"), "zsh": ("6", "shop"), "fish": ("shop", "")}[shell]
    asked = {"_CELERY_COMPLETE": f"{shell}_complete", "COMP_CWORD": words[0]}
    asked["COMP_WORDS"] = f"celery -A front runs list --schedule {words[1]}"
    given = {**front, "env": {**front["env"], **asked}}
    offered = subprocess.run(CELERY, capture_output=True, text=True, check=True, **given)
    assert "shop.mail.digest" in offered.stdout
    assert offered.stderr == ""
