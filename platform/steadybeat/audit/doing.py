"""Doing: what a task's code does to the world, and what keeps that from happening twice, or by half."""

from __future__ import annotations

import ast
import re

from steadybeat.audit.source import Around, Call, Loop, Outside, Source, Write
from steadybeat.audit.source.effects import KEYS

FENCED = frozenset({"exactly_once", "external"})
"""What asks, at the effect, whether the attempt still holds its run."""

_TRANSACTIONS = frozenset({"begin", "begin_nested", "atomic", "transaction", "savepoint", "exactly_once"})
_STATE = re.compile(
    r"stat(e|us)|\bis (not )?null|is_\(None\)|__isnull|_(at|until|count)\b|[<>]|!=|exists"
    r"|\b(paid|sent|done|processed|settled|expired|version)\b",
    re.IGNORECASE,
)
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_CHANGING = frozenset({"uuid1", "uuid4", "token_hex", "token_urlsafe", "random", "randint", "now", "utcnow", "time"})
_GOES_ON = re.compile(r"\bshould_stop\b|\bis_aborted\b")


def effects(source: Source) -> list[str]:
    """Return what the code changes, each with its place.

    Args:
        source: The code.
    """
    return [
        *(f"{each.kind} at {each.place}" for each in source.writes),
        *(f"`{each.call.written}(…)` at {each.call.place}" for each in changing(source)),
        *(f"mail at {each.place}" for each in source.mails),
    ]


def changing(source: Source) -> list[Outside]:
    """Return the calls of other programs that may change something there.

    A function that is handed its verb only reads where all that call it hand it ``GET``.

    Args:
        source: The code.
    """
    return [each for each in source.outside if each.changes and not _only_reads(source, each.call)]


def _only_reads(source: Source, call: Call) -> bool:
    name = call.function.rpartition(".")[2]
    callers = [each for each in source.calls if each.last == name]
    return bool(callers) and all(_hands_a_reading_verb(each) for each in callers)


def _hands_a_reading_verb(call: Call) -> bool:
    given = [call.names.constant(each) for each in (*call.arguments, *call.keywords.values())]
    return any(isinstance(each, str) and each in _READING for each in given)


def why_no_key(outside: Outside) -> str:
    """Return why no key goes with a call by which it would be known again; empty where one does.

    Args:
        outside: A call of another program.
    """
    if not outside.keyed:
        return "no key goes with it"
    call = outside.call
    for value in _keys(call):
        held = call.names.standing_for(value)
        if any(
            isinstance(each, ast.Call) and _last(call.names.dotted(each.func)) in _CHANGING for each in ast.walk(held)
        ):
            return f"its key `{ast.unparse(held)}` is another one with each attempt"
        if isinstance(held, ast.Constant):
            return f"its key {held.value!r} is the same for all"
    return ""


def _keys(call: Call) -> list[ast.expr]:
    """Return what a call gives as its key: as an argument, or as a header."""
    given = [value for name, value in call.keywords.items() if name.lower() in KEYS]
    for held in (call.names.standing_for(each) for each in (*call.arguments, *call.keywords.values())):
        for tree in ast.walk(held):
            pairs = zip(tree.keys, tree.values, strict=True) if isinstance(tree, ast.Dict) else ()
            given += [value for key, value in pairs if isinstance(key, ast.Constant) and str(key.value).lower() in KEYS]
    return given


def fences(source: Source) -> list[Call]:
    """Return the calls of ``exactly_once`` and ``external``.

    Args:
        source: The code.
    """
    return list(source.called(*FENCED))


def is_resolved(source: Source, call: Call) -> bool:
    """Return whether a call happens in ``external(…)``, which asks what became of it before it is made again.

    A function that is also called beside ``external`` is not: nobody asks there.

    Args:
        source: The code.
        call: Of another program, or of a mail server.
    """
    nodes, names = _in_external(source)
    return id(call.node) in nodes or _last(call.function) in names


def _in_external(source: Source) -> tuple[set[int], set[str]]:
    """Return what happens in ``external(…)``: calls that stand there, and functions that these lead to, by name."""
    nodes, names = set[int](), set[str]()
    for each in source.called("external"):
        for given in (*each.arguments, *each.keywords.values()):
            handed = each.names.standing_for(given)
            words = {
                _last(ast.unparse(node)) for node in ast.walk(handed) if isinstance(node, ast.Name | ast.Attribute)
            }
            inner = [
                tree for tree in _nested(source, each.function) if tree.name in words - _called_beside(source, handed)
            ]
            nodes |= {id(node) for tree in (handed, *inner) for node in ast.walk(tree)}
            names |= words
    while True:
        found = {each.last for each in source.calls if id(each.node) in nodes or _last(each.function) in names}
        if found <= names:
            return nodes, _only_there(source, nodes, names)
        names |= found


def _only_there(source: Source, nodes: set[int], names: set[str]) -> set[str]:
    """Return the names of those functions that nothing else calls."""
    while True:
        beside = {
            each.last for each in source.calls if id(each.node) not in nodes and _last(each.function) not in names
        }
        if not beside & names:
            return names
        names = names - beside


def _called_beside(source: Source, handed: ast.AST) -> set[str]:
    """Return the names that are called elsewhere than in what is handed to ``external(…)``."""
    inside = {id(each) for each in ast.walk(handed)}
    return {each.written for each in source.calls if id(each.node) not in inside}


def _nested(source: Source, name: str) -> list[ast.FunctionDef]:
    """Return the functions that a function defines within itself."""
    trees = [each.definition.tree for each in source.functions if each.definition.name == name]
    return [each for tree in trees for each in ast.walk(tree) if isinstance(each, ast.FunctionDef) and each is not tree]


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def in_transaction(around: Around) -> bool:
    """Return whether what stands there commits with all else in one transaction.

    Args:
        around: What stands around it.
    """
    return any(each.rpartition(".")[2] in _TRANSACTIONS for each in around.within)


def is_fenced(write: Write) -> bool:
    """Return whether a write commits together with the processed key.

    Args:
        write: A write.
    """
    return any(each.rpartition(".")[2] == "exactly_once" for each in write.around.within)


def asks_for_state(source: Source, write: Write) -> bool:
    """Return whether a write does nothing where it was done before.

    It is an upsert, a unique key refuses it, it has a condition on a state or an instant, or its function has read
    the row under a lock.

    Args:
        source: The code.
        write: One of its writes.
    """
    if any(each.kind == "LOCK" and each.function == write.function for each in source.statements):
        return True
    by_state = not write.relative and bool(_STATE.search(write.where))
    return is_upsert(write) or write.guarded or by_state or (write.kind == "DELETE" and bool(write.where))


def is_upsert(write: Write) -> bool:
    """Return whether a write leaves one row as it is wanted, however often it happens.

    Args:
        write: A write.
    """
    return write.kind == "UPSERT" and not write.relative


def working_loops(source: Source) -> list[Loop]:
    """Return the loops in which the code does something: reads or writes rows, calls, sends, waits.

    A generator's own loop is not among them: whoever goes through what it yields says whether it goes on.

    Args:
        source: The code.
    """
    lazy = {each.definition.name for each in source.functions if _is_generator(each.definition.tree)}
    wide = {each.place for each in source.loops if each.kind != "comprehension"}
    loops = [
        each
        for each in source.loops
        if each.function not in lazy and (each.kind != "comprehension" or each.place not in wide)
    ]
    return [each for each in loops if _works(source, each)]


def _is_generator(tree: ast.AST) -> bool:
    return any(isinstance(each, ast.Yield | ast.YieldFrom) for each in ast.walk(tree))


def _works(source: Source, loop: Loop) -> bool:
    around = [each.around for each in source.statements]
    around += [each.call.around for each in source.outside]
    around += [each.around for each in (*source.mails, *source.sent, *source.sleeps, *source.children, *fences(source))]
    return any(loop.place in each.loops for each in around)


def goes_on(source: Source, loop: Loop) -> bool:
    """Return whether a loop, or one around it, asks in each round whether to go on.

    Args:
        source: The code.
        loop: One of its loops.
    """
    near = [loop, *(each for each in source.loops if each.place in loop.around.loops)]
    return any(source.asks_to_stop(each) or _asks_itself(source, each) for each in near)


def _asks_itself(source: Source, loop: Loop) -> bool:
    tests = [each.test for each in source.guards if loop.place in each.around.loops]
    return any(_GOES_ON.search(each) for each in (*tests, loop.over if loop.kind == "while" else ""))


def said_of(loop: Loop) -> str:
    """Return a loop as it stands in the code, and where.

    Args:
        loop: A loop.
    """
    head = f"while {loop.over}" if loop.kind == "while" else f"for … in {loop.over}"
    return f"`{head[:90]}` ({loop.place})"
