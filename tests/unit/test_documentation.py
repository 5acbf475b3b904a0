from __future__ import annotations

import re
import shlex
import tomllib
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
from celery.bin.celery import celery

from ops import reference
from steadybeat.ledger.tables import metadata
from steadybeat.settings import PREFIX, Settings
from steadybeat.telemetry.metrics.table import METRICS
from tests.documents import PAGES, ROOT, Block, anchors, blocks, comes_out, links, spans

SETTINGS = {PREFIX + spec.name for spec in fields(Settings)}
COMPOSED = ("docker-compose.yml", "ops/Dockerfile")
HAND_WRITTEN = [page for page in PAGES if not page.startswith("docs/reference/")]


def catalogue() -> dict[str, click.Command]:
    """The sub-commands that the reference catalogue brings along."""
    project = tomllib.loads((ROOT / "tasks/pyproject.toml").read_text())["project"]
    found = {}
    for name, target in project["entry-points"]["celery.commands"].items():
        module, _, attribute = target.partition(":")
        found[name] = getattr(import_module(module), attribute)
    return found


COMMANDS: dict[str, click.Command] = {**celery.commands, **catalogue(), **reference.commands()}


def test_the_reference_is_what_the_code_says() -> None:
    written = {page.name: page.read_text() for page in reference.FOLDER.glob("*.md")}
    assert written == reference.pages(), "docs/reference is out of date: run make docs"


def test_the_reference_is_the_same_whoever_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = reference.pages()
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("STEADYBEAT_REDIS_URL", "redis://elsewhere:1/2")
    monkeypatch.setenv("STEADYBEAT_LEASE_SECONDS", "44")
    assert reference.pages() == pages


def test_every_setting_has_its_entry() -> None:
    assert anchors("docs/reference/settings.md") >= SETTINGS


def test_the_reference_knows_which_setting_must_be_less_than_which() -> None:
    page = (ROOT / "docs/reference/settings.md").read_text()
    assert re.findall(r"_(\w+)_SECONDS` · [^·]*less than\s+\[`steadybeat_(\w+)_seconds`", page) == [
        ("LOCK_TIMEOUT", "lease"),
        ("KEEPER", "lease"),
        ("LEADER_POLL", "leader_lock"),
        ("SOFT_TIME_LIMIT", "time_limit"),
    ]


def leaves(path: str, command: click.Command) -> list[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        return [(path, command)]
    return [leaf for name, each in command.commands.items() for leaf in leaves(f"{path} {name}", each)]


def test_every_command_and_every_option_has_its_entry() -> None:
    page = (ROOT / "docs/reference/commands.md").read_text()
    found = [leaf for name, command in reference.commands().items() for leaf in leaves(name, command)]
    assert found
    for path, command in found:
        _, heading, entry = page.partition(f"# {path}\n")
        entry = entry.partition("\n## ")[0].partition("\n### ")[0]
        assert heading, f"{path} has no entry"
        assert "$ celery -A tasks " in entry, f"{path} has no example"
        options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
        assert [each.name for each in options if f"{each.opts[-1]}" not in entry] == []


@pytest.mark.parametrize("page", [*HAND_WRITTEN, *COMPOSED])
def test_every_setting_and_every_metric_that_is_named_exists(page: str) -> None:
    text = (ROOT / page).read_text()
    named = set(re.findall(rf"\b{PREFIX}[a-z]\w*", text))
    named |= {name.lower() for name in re.findall(rf"(?<!\{{)\b{PREFIX.upper()}[A-Z]\w*", text)}
    assert named - SETTINGS - METRICS.keys() == set()


# Command lines


def wrong(line: str, *, whole: bool) -> str:
    """What is wrong with a command line of celery, or an empty text; a whole one has all that the command needs."""
    words = shlex.split(line, comments=True)
    command: click.Command = click.Group("celery", commands=COMMANDS, params=celery.params)
    while True:
        context = click.Context(command, **command.context_settings)
        context.allow_interspersed_args = command.allow_interspersed_args
        parser = command.make_parser(context)
        try:
            given, rest, _ = parser.parse_args(list(words))
        except click.UsageError as error:
            return error.format_message()
        if not isinstance(command, click.Group) or not rest:
            break
        if rest[0] not in command.commands:
            return f"there is no {rest[0]}"
        command, words = command.commands[rest[0]], rest[1:]
    if rest and not (context.ignore_unknown_options or context.allow_extra_args):
        return f"takes no {rest[0]}"
    missing = [each.name for each in command.params if each.required and not is_given(given.get(str(each.name)))]
    if {"dry_run", "reason"} <= {each.name for each in command.params} and not given.get("dry_run"):
        missing += [] if is_given(given.get("reason")) else ["reason"]
    return f"lacks {', '.join(map(str, missing))}" if whole and missing else ""


def is_given(value: Any) -> bool:
    return isinstance(value, str | int) or (isinstance(value, tuple | list) and bool(value))


def called(line: str) -> list[str]:
    """The command lines of celery in a line of a shell, without `celery` itself."""
    return re.findall(r"\bcelery (-A [^|;&)]+)", line.partition(" # ")[0])


@pytest.mark.parametrize("page", PAGES)
def test_every_command_line_of_a_console_can_be_run(page: str) -> None:
    lines = [line for block in blocks(page) if block.language == "console" for line in block.commands]
    found = {line: wrong(line, whole=True) for each in lines for line in called(each)}
    assert {line: problem for line, problem in found.items() if problem} == {}


@pytest.mark.parametrize("page", HAND_WRITTEN)
def test_every_command_that_a_sentence_names_exists(page: str) -> None:
    groups = [name for name, each in COMMANDS.items() if isinstance(each, click.Group)]
    named = [span.removeprefix("celery ") for span in spans(page) if span.startswith("celery -A ")]
    named += [
        f"-A tasks {span}" for span in spans(page) if span.partition(" ")[0] in (*groups, "health") and " " in span
    ]
    found = {line: wrong(line.replace("…", "tasks"), whole=False) for line in named if line[3:] not in ("<app>", "…")}
    assert {line: problem for line, problem in found.items() if problem} == {}


@pytest.mark.parametrize("file", COMPOSED)
def test_every_command_line_of_a_container_can_be_run(file: str) -> None:
    text = (ROOT / file).read_text().replace("$$", "$")
    lines = [re.sub(r"[\[\]\",]+", " ", line) for line in text.splitlines() if not line.lstrip().startswith("#")]
    found = [each.strip(" }'") for line in lines for each in re.findall(r"\bcelery +(-A +[^|;&)#]+)", line)]
    assert found or file == "ops/Dockerfile"
    assert {line: problem for line in found if (problem := wrong(line, whole=True))} == {}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("-A tasks runs why settle now", ""),
        ("-A tasks runs why settle", ""),
        ("-A tasks runs show", "lacks run"),
        ("-A tasks runs rerun 1 --dry-run", ""),
        ("-A tasks runs rerun 1", "lacks reason"),
        ("-A tasks runs rerunn 1", "there is no rerunn"),
        ("-A tasks runs list --stat dead", "No such option"),
        ("-A tasks ledger status now", "takes no now"),
        ("-A tasks worker -Q orders -l INFO", ""),
    ],
)
def test_a_wrong_command_line_is_seen(line: str, problem: str) -> None:
    found = wrong(line, whole=True)
    assert found.startswith(problem)
    assert bool(found) == bool(problem)


# Pages


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    broken = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        name = target.resolve().relative_to(ROOT).as_posix()
        if not target.exists() or (anchor and name.endswith(".md") and anchor not in anchors(name)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", HAND_WRITTEN)
def test_every_file_column_and_test_that_a_page_names_exists(page: str) -> None:
    tests = {file.name for file in ROOT.glob("tests/**/test_*.py")}
    missing = []
    for span in spans(page):
        table, _, column = span.partition(".")
        if re.fullmatch(r"test_\w+\.py", span):
            missing += [span] if span not in tests else []
        elif re.fullmatch(r"(platform|tasks|tests|docs|ops|bench)/[\w./-]*", span):
            missing += [span] if not (ROOT / span).exists() else []
        elif f"steadybeat.{table}" in metadata.tables and re.fullmatch(r"\w+\.\w+", span):
            missing += [span] if column not in metadata.tables[f"steadybeat.{table}"].columns else []
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_every_target_of_make_that_a_page_names_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    lines = [line for block in blocks(page) if block.language == "console" for line in block.commands]
    named = {name for text in (*spans(page), *lines) for name in re.findall(r"^make ([a-z]+)", text)}
    assert named <= targets


def test_the_two_commands_of_the_readme_are_there() -> None:
    lines = [line for block in blocks("README.md") if block.language == "console" for line in block.commands]
    assert [line.split()[:2] for line in lines[:2]] == [["make", "demo"], ["make", "test"]]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_python_compiles(page: str) -> None:
    for block in blocks(page):
        if block.language == "python":
            compile(re.sub(r"(, )?…", "", block.text), f"{page}, line {block.line}", "exec")


@pytest.mark.parametrize("page", PAGES)
def test_no_line_is_wider_than_120_columns_but_those_of_tables(page: str) -> None:
    lines = (ROOT / page).read_text().splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []


def test_answers_are_looked_for_in_order() -> None:
    assert comes_out(["a … c", "d"], "x\na  b  c\ny\nd\n")
    assert not comes_out(["d", "a … c"], "a b c\nd\n")
    assert not comes_out(["a"], "ab\n")


def test_a_block_says_what_is_typed_and_what_is_printed() -> None:
    block = Block(1, "console", ("run",), "$ one\ntwo\n\n$ three\n")
    assert (block.commands, block.answers, block.file) == (["one", "three"], ["two"], None)
    assert Block(1, "python", ("file=a.py",), "").file == "a.py"


def test_every_page_of_the_documentation_is_read() -> None:
    assert {"README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/reference/settings.md"} <= set(PAGES)
    assert all(Path(ROOT / page).is_file() for page in PAGES)
