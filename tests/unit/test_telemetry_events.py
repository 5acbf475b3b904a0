"""The table of events says what the code logs, no more and no less."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import steadybeat
from steadybeat.telemetry import chatter, events, outcomes

SOURCES = Path(steadybeat.__file__).parent
LEVELS = {"info", "warning", "error", "exception", "critical", "log"}
LOGGERS = {"logger", "_log", "log"}


class Call(NamedTuple):
    where: str
    names: set[str]
    fields: set[str]


def calls() -> Iterator[Call]:
    """Every call of a logger in the platform that gives its event as a text."""
    for file in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr == "_apart":  # the watchdog's: what goes wrong in its block is logged so
                given = {str(keyword.arg) for keyword in node.keywords}
                yield Call(f"{file.relative_to(SOURCES)}:{node.lineno}", names(node.args[0]), given | {"error"})
                continue
            if not (isinstance(node.func.value, ast.Name) and node.func.value.id in LOGGERS):
                continue
            if node.func.attr in LEVELS:
                said = names(node.args[1 if node.func.attr == "log" else 0])
                if said:
                    where = f"{file.relative_to(SOURCES)}:{node.lineno}"
                    yield Call(where, said, fields(node, is_error=node.func.attr == "exception"))


def names(event: ast.expr) -> set[str]:
    if isinstance(event, ast.Constant):
        return {str(event.value)}
    if isinstance(event, ast.IfExp):
        return names(event.body) | names(event.orelse)
    if isinstance(event, ast.JoinedStr):
        beginning = event.values[0]
        assert isinstance(beginning, ast.Constant)
        told = events.named().values()
        return {
            event.name for event in told if event.name.startswith(str(beginning.value)) and "reason" in event.fields
        }
    return set()


def fields(node: ast.Call, *, is_error: bool) -> set[str]:
    """What a call gives beside its event, as far as it says that on the spot."""
    found = {"error"} if is_error else set()
    for keyword in node.keywords:
        if keyword.arg == "extra" and isinstance(keyword.value, ast.Dict):
            given = [keyword.value]
            given += [each for each in keyword.value.values if isinstance(each, ast.Dict)]
            keys = [key for each in given for key in each.keys]
            found |= {str(key.value) for key in keys if isinstance(key, ast.Constant) and key.value != "facts"}
    return found


CALLS = [*calls()]
BY_OTHERS = {event.name for event in (*events.OUTCOMES, *events.TOLD_BY_CELERY)}


def test_what_the_code_logs_stands_in_the_table_with_its_fields() -> None:
    assert len(CALLS) > 80
    for call in CALLS:
        for name in call.names:
            assert name in events.named(), f"{call.where} logs {name!r}: add it to telemetry/events.py, then make docs"
            allowed = {*events.named()[name].fields, "error"}
            assert call.fields <= allowed, f"{call.where}: {name!r} says more than the table"


def test_what_stands_in_the_table_is_logged() -> None:
    logged = {name for call in CALLS for name in call.names}
    assert {*events.named()} - BY_OTHERS == logged


def test_every_outcome_stands_in_the_table() -> None:
    assert {event for event, _ in outcomes.EVENTS.values()} == {event.name for event in events.OUTCOMES}


def test_every_sentence_of_celery_stands_in_the_table() -> None:
    said = {*chatter._KNOWN.values(), "task received", "task succeeded", "task retried"}
    assert said == {event.name for event in events.TOLD_BY_CELERY}


def test_no_event_stands_in_the_table_twice() -> None:
    every = [event.name for _, group in events.GROUPS for event in group]
    assert len(every) == len({*every})
