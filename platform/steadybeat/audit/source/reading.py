"""Reading: what a task's code says, as questions that a check asks."""

from __future__ import annotations

import ast
import functools
import inspect
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from celery import Task
from celery.local import maybe_evaluate

from steadybeat.audit.source import effects
from steadybeat.audit.source.definition import Definition, Tree, parsed
from steadybeat.audit.source.effects import Outside
from steadybeat.audit.source.facts import Call, Guard, Handler, Loop, Text
from steadybeat.audit.source.following import Following, Function, functions_of_task, hooks_of
from steadybeat.audit.source.held import Lock, locks
from steadybeat.audit.source.names import Names
from steadybeat.audit.source.walking import walk
from steadybeat.audit.source.writes import Write, write_of_call, write_of_text

YIELDS = frozenset(
    {"iterate", "is_aborted", "checkpoint", "raise_if_cancelled", "update_state", "heartbeat", "progress"}
)


class Source:
    """What a task's code says: its own function, and what it calls in the same package.

    Args:
        functions: What was read, the task's own code first.
        unread: Why something could not be read, a sentence each.
        own: The task's own function, which wrappers of the same package may stand before.
    """

    def __init__(self, functions: Sequence[Function], unread: Sequence[str] = (), own: Any = None) -> None:
        self.functions = tuple(functions)
        self.unread = tuple(unread)
        found = [each.definition for each in functions if own is not None and each.definition.function is own]
        self.own: Definition | None = next(iter([*found, *(each.definition for each in functions)]), None)

    @property
    def known(self) -> bool:
        """Whether the task's own code could be read; if not, `unread` says why, and nothing else says anything."""
        return bool(self.functions) and not self.unread

    @property
    def place(self) -> str:
        """Where the task's code begins, such as ``shop/jobs.py:12``; empty where it is not known."""
        return self.own.place if self.own is not None else ""

    @property
    def decorators(self) -> tuple[str, ...]:
        """Dotted names of what decorates the task's own code, and its wrappers."""
        return tuple(names.dotted(each) for names, each in self._decorated())

    @property
    def decorations(self) -> tuple[str, ...]:
        """The same as it is written, with all arguments."""
        return tuple(ast.unparse(each) for _, each in self._decorated())

    def _decorated(self) -> list[tuple[Names, ast.expr]]:
        return [
            (Names(each.definition), decorator)
            for each in self.functions
            if each.depth == 0 or each.definition is self.own
            for decorator in getattr(each.definition.tree, "decorator_list", ())
        ]

    @functools.cached_property
    def calls(self) -> tuple[Call, ...]:
        """Every call."""
        return tuple(call for each in self.functions for call in each.facts.calls)

    @functools.cached_property
    def loops(self) -> tuple[Loop, ...]:
        """Every loop and comprehension."""
        return tuple(loop for each in self.functions for loop in each.facts.loops)

    @functools.cached_property
    def handlers(self) -> tuple[Handler, ...]:
        """Every ``except``."""
        return tuple(handler for each in self.functions for handler in each.facts.handlers)

    @functools.cached_property
    def texts(self) -> tuple[Text, ...]:
        """Every text but docstrings."""
        return tuple(text for each in self.functions for text in each.facts.texts)

    @functools.cached_property
    def guards(self) -> tuple[Guard, ...]:
        """Every ``if`` that ends its function, or this round of its loop."""
        return tuple(guard for each in self.functions for guard in each.facts.guards)

    @functools.cached_property
    def statements(self) -> tuple[Write, ...]:
        """Every read and write of a database."""
        of_texts = [found for text in self.texts if (found := write_of_text(text))]
        of_calls = [found for call in self.calls if (found := write_of_call(call, self.chained(call)))]
        return (*of_texts, *of_calls)

    @property
    def writes(self) -> tuple[Write, ...]:
        """Every write of a database."""
        return tuple(each for each in self.statements if each.changes)

    @property
    def unseen(self) -> Call | None:
        """A commit of a session where no write is seen: attributes of rows that are changed leave no other trace."""
        commits = self.called("commit")
        return commits[0] if commits and not self.writes else None

    @functools.cached_property
    def locks(self) -> tuple[Lock, ...]:
        """Every lock that the code takes."""
        return tuple(locks(self.calls, self.texts, self.handlers))

    @functools.cached_property
    def outside(self) -> tuple[Outside, ...]:
        """Every call of another program; a key that a caller hands down to it counts as its own."""
        found = [each for call in self.calls if (each := effects.outside(call))]
        keyed = any(each.text.lower() in effects.KEYS for each in self.texts)
        own = "" if self.own is None else self.own.name
        return tuple(
            replace(each, keyed=True) if keyed and not each.keyed and each.call.function != own else each
            for each in found
        )

    @property
    def mails(self) -> tuple[Call, ...]:
        """Every call that sends mail; where none is seen, those that connect to a mail server."""
        sends = tuple(filter(effects.is_mail, self.calls))
        return sends or tuple(filter(effects.is_connection_for_mail, self.calls))

    @property
    def sleeps(self) -> tuple[Call, ...]:
        """Every call that waits."""
        return tuple(filter(effects.is_sleep, self.calls))

    @property
    def parallel(self) -> tuple[Call, ...]:
        """Every call that starts threads, processes or coroutines."""
        return tuple(filter(effects.is_parallel, self.calls))

    @property
    def children(self) -> tuple[Call, ...]:
        """Every call that starts another program."""
        return tuple(filter(effects.is_child, self.calls))

    @property
    def sent(self) -> tuple[Call, ...]:
        """Every call that sends a task."""
        return tuple(filter(effects.is_sending, self.calls))

    @property
    def loaded(self) -> tuple[Call, ...]:
        """Every call that takes a whole input into memory."""
        return tuple(filter(effects.is_loading, self.calls))

    @property
    def batched(self) -> tuple[Call, ...]:
        """Every call that takes an input piece by piece."""
        return tuple(filter(effects.is_batching, self.calls))

    @property
    def swallowed(self) -> tuple[Handler, ...]:
        """Every ``except`` of every error after which nobody learns of it."""
        return tuple(each for each in self.handlers if each.broad and each.silent)

    def inside(self, loop: Loop) -> tuple[Call, ...]:
        """Return every call that happens in a loop, also in functions that are called there."""
        return tuple(each for each in self.calls if loop.place in each.around.loops)

    def asks_to_stop(self, loop: Loop) -> bool:
        """Say whether a loop asks whether to go on: it iterates through `self.iterate`, or asks for an abort."""
        names = {loop.name.rpartition(".")[2], *(each.last for each in self.inside(loop))}
        return bool(names & YIELDS)

    def called(self, *names: str) -> tuple[Call, ...]:
        """Return every call of these names: dotted ones as they begin, simple ones as they end."""
        dotted = tuple(name for name in names if "." in name)
        return tuple(each for each in self.calls if each.last in names or (dotted and each.name.startswith(dotted)))

    def chained(self, call: Call) -> tuple[Call, ...]:
        """Return the calls that are made of a call's value: ``.values(…)`` and all others behind ``insert(table)``."""
        return tuple(self._chains.get(id(call.node), ()))

    @functools.cached_property
    def _chains(self) -> dict[int, list[Call]]:
        found: dict[int, list[Call]] = {}
        for outer in self.calls:
            node: ast.expr = outer.node.func
            for _ in range(30):
                if isinstance(node, ast.Call):
                    found.setdefault(id(node), []).append(outer)
                    node = node.func
                elif isinstance(node, ast.Attribute):
                    node = node.value
                elif (held := outer.names.standing_for(node)) is not node:
                    node = held
                else:
                    break
        return found

    def constants(self) -> tuple[Any, ...]:
        """Return what the first function returns, where each ``return`` has a constant; empty where any has none."""
        return returned(self.functions[0].definition.tree) if self.functions else ()

    @property
    def is_stub(self) -> bool:
        """Whether the first function does nothing: it calls nothing but a log line or a print, and returns nothing."""
        if not self.functions:
            return False
        calls = [each for each in self.functions[0].facts.calls if not is_telling(each)]
        return not calls and not any(value is not None for value in _returns(self.functions[0].definition.tree))


def is_telling(call: Call) -> bool:
    """Say whether a call only writes a line: `print`, or that of a logger."""
    return call.name == "print" or any(word in call.written.lower() for word in ("log.", "logger.", "logging."))


def _returns(tree: Tree) -> Iterable[ast.expr | None]:
    if isinstance(tree, ast.Lambda):
        return [tree.body]
    return [
        None if isinstance(each.value, ast.Constant) and each.value.value is None else each.value
        for each in ast.walk(tree)
        if isinstance(each, ast.Return)
    ]


def returned(tree: Tree) -> tuple[Any, ...]:
    """Return the values of each ``return`` of a function where all are constants; else nothing."""
    values = list(_returns(tree))
    if not values or not all(isinstance(each, ast.Constant) for each in values):
        return ()
    return tuple(each.value for each in values if isinstance(each, ast.Constant))


def read(task: Task) -> Source:
    """Return what a task's code says, with what it calls in its own package; a `__call__` of the user's own with it.

    Hooks such as ``on_failure`` are not among it: `read_hooks` reads these.
    """
    task = maybe_evaluate(task)  # one of `shared_task` is no task before it is asked for something
    following = Following(str(getattr(task, "__module__", None) or type(task).__module__))
    called = list(functions_of_task(task))
    for each in reversed(called):
        following.read(each, type(task))
    return Source(following.functions, following.unread, inspect.unwrap(called[-1]))


def read_hooks(task: Task) -> dict[str, Source]:
    """Return what the user's own hooks of a task say, by name, such as ``on_failure``; each without the task's code."""
    task = maybe_evaluate(task)
    found = {}
    for name, hook in hooks_of(task).items():
        following = Following(str(getattr(task, "__module__", None) or type(task).__module__))
        following.read(hook, type(task))
        found[name] = Source(following.functions, following.unread)
    return found


def read_file(file: Path, module: str) -> Source:
    """Return what a whole file says, its functions as well as what stands outside of them; nothing is imported.

    Raises:
        Unreadable: It is no Python that this Python reads.
    """
    found = Definition(None, parsed(file), file, module)
    return Source([Function(found, walk(found, Names(found)), 0)])


def read_functions(file: Path, module: str, named: re.Pattern[str]) -> list[Source]:
    """Return what functions of a file say, each by itself; nothing is imported, and no call is followed.

    Args:
        file: The file.
        module: Its module.
        named: What must be found in the name of a function.

    Raises:
        Unreadable: It is no Python that this Python reads.
    """
    trees = [each for each in ast.walk(parsed(file)) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    found = [Definition(None, tree, file, module) for tree in trees if named.search(tree.name)]
    return [Source([Function(each, walk(each, Names(each)), 0)]) for each in found]


def read_function(function: Any) -> Source:
    """Return what any function says, such as a receiver of a signal, with what it calls in its own package."""
    following = Following(str(getattr(function, "__module__", "") or ""))
    following.read(function)
    return Source(following.functions, following.unread)
