"""Machines: what a task's code keeps on the machine that it runs on, and how many connections it may open."""

from __future__ import annotations

import re
from dataclasses import dataclass

from steadybeat.audit.source import Call, Source
from steadybeat.audit.source.names import MISSING

SHARE = "keep it where all workers find it: in the database, in Redis, in an object store"
BOUND = "set broker_pool_limit, redis_max_connections, and pool_size= and max_overflow= of the engine"
_WRITING = re.compile(r"[wax+]")
_KEEPING = frozenset({"write_text", "write_bytes", "touch", "mkdir"})
_PASSING = ("tempfile.",)


def local_state(source: Source) -> str:
    """Return where a task's code leaves something on its own machine, or an empty text.

    Args:
        source: The code.
    """
    for call in source.calls:
        if call.name in {"open", "io.open", "codecs.open"} and _writes(call):
            return f"`{call.written}(…)` at {call.place}"
        if call.last in _KEEPING and not any(each.startswith(_PASSING) for each in call.around.within):
            return f"`{call.written}(…)` at {call.place}"
    lock = next((each for each in source.locks if each.kind == "file"), None)
    return f"`{lock.text}` at {lock.place}" if lock is not None else ""


def _writes(call: Call) -> bool:
    mode = call.keyword("mode")
    mode = call.argument(1) if mode is MISSING else mode
    return isinstance(mode, str) and bool(_WRITING.search(mode))


@dataclass(frozen=True, slots=True)
class Engine:
    """What an engine of SQLAlchemy says of its pool.

    Attributes:
        said: As it stands in the code.
        unbounded: Whether it may open as many connections as are asked for.
    """

    said: str
    unbounded: bool


def engine_bounds(call: Call) -> Engine:
    """Return what a call of ``create_engine`` says of the pool; SQLAlchemy's own bound is 5 and 10 on top.

    Args:
        call: The call.
    """
    size, more = call.keyword("pool_size"), call.keyword("max_overflow")
    pool = call.keywords.get("poolclass")
    named = call.names.dotted(pool).rpartition(".")[2] if pool is not None else ""
    shown = {"pool_size": 5 if size is MISSING else size, "max_overflow": 10 if more is MISSING else more}
    said = f"create_engine({', '.join(f'{name}={value}' for name, value in shown.items())}) at {call.place}"
    endless = size == 0 or more == -1 or named == "NullPool"
    return Engine(f"{said}{f', {named}' if named else ''}", endless)
