"""Held: the locks that code takes: in Redis, in Django's cache, in Postgres, in files; and how it gives them back."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from steadybeat.audit.source.facts import Around, Call, Handler, Text
from steadybeat.audit.source.names import MISSING

ADVISORY = re.compile(r"\bpg_(try_)?advisory_(xact_)?lock(?:_shared)?\s*\(([^)]*)", re.IGNORECASE)
UNLOCK = re.compile(r"\bpg_advisory_unlock", re.IGNORECASE)
OF_THREADS = ("threading.", "multiprocessing.", "asyncio.", "billiard.", "_thread.")
TTL = ("timeout", "ex", "expire", "ttl", "lock_timeout", "auto_release_time")
MILLISECONDS = ("px",)
RELEASING = frozenset({"release", "unlock", "delete", "eval", "evalsha", "register_script", "unlink"})
EXTENDING = frozenset({"extend", "reacquire", "expire", "pexpire", "touch", "extend_lock"})
WHOLE_SCRIPT = re.compile(r"redis\.call\(.get.", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """One lock that code takes.

    Attributes:
        kind: ``redis lock`` (redis-py's), ``set nx``, ``cache.add``, ``quorum``, ``advisory`` (Postgres), ``row``
            (``FOR UPDATE``), ``file``.
        text: The call or statement, as it is written.
        key: The expression of its key.
        varies: Whether the key holds anything of the run, such as an argument.
        seconds: After how long it lapses by itself; None where it never does, or the code does not tell.
        bounded: Whether it lapses by itself; None where the code does not tell.
        waits: Whether taking it waits for who holds it; None where the code does not tell.
        wait_seconds: For how long, at the most; None for ever, or where the code does not tell.
        owned: Whether only who took it can give it back: a token of its own for each acquisition, compared on release.
        released: ``with``, ``finally``, ``transaction``, ``straight`` (only where nothing is raised), or ``never``.
        extended: Whether the code prolongs it.
        tested: Whether the code looks at whether it got it.
        without: What happens where the store of the lock does not answer: ``raises``, ``goes on`` or ``ends``.
        release_errors: What happens to an error of giving it back: ``raises``, ``logged`` or ``silent``.
        place: Where it is taken.
        function: The function that takes it.
        around: What stands around it.
    """

    kind: str
    text: str
    key: str
    varies: bool
    seconds: float | None
    bounded: bool | None
    waits: bool | None
    wait_seconds: float | None
    owned: bool
    released: str
    extended: bool
    tested: bool
    without: str
    release_errors: str
    place: str
    function: str
    around: Around


def locks(calls: Sequence[Call], texts: Sequence[Text], handlers: Sequence[Handler]) -> list[Lock]:
    """Return the locks that code takes, in the order in which it is written.

    Args:
        calls: All calls of the code.
        texts: All its texts.
        handlers: All its ``except``.
    """
    found = [lock for call in calls if (kind := _kind(call)) and (lock := _of_call(kind, call, calls, texts, handlers))]
    return [*found, *_advisory(texts)]


def _kind(call: Call) -> str:
    head = call.name.partition(".")[0].lower()
    if call.name.startswith(OF_THREADS):
        return ""
    if "redlock" in head or call.last in {"Redlock", "RedLock"}:
        return "quorum" if call.last in {"lock", "Redlock", "RedLock"} and (call.arguments or call.keywords) else ""
    if call.last == "setnx" or (call.last == "set" and call.keyword("nx") is True):
        return "set nx"
    if call.last == "add" and call.written.rpartition(".")[0].lower().endswith("cache"):
        return "cache.add"
    if call.last in {"FileLock", "SoftFileLock"} or call.name in {"fcntl.flock", "fcntl.lockf", "portalocker.Lock"}:
        return "file"
    if call.last == "lock" and "." in call.written and (call.arguments or call.keywords):
        return "redis lock"
    return "redis lock" if call.last == "Lock" and head in {"redis", "redis_lock", "pottery"} else ""


def _of_call(
    kind: str, call: Call, calls: Sequence[Call], texts: Sequence[Text], handlers: Sequence[Handler]
) -> Lock | None:
    near = [each for each in calls if each is not call and _beside(each, call)]
    acquire = next((each for each in near if each.last == "acquire" and each.name.startswith(call.name)), None)
    releases = [each for each in near if _gives_back(each, call)]
    seconds, bounded = _lapses(kind, call)
    blocking, wait = _waits(kind, call, acquire)
    script = any(WHOLE_SCRIPT.search(each.text) for each in texts if each.function == call.function)
    return Lock(
        kind=kind,
        text=ast.unparse(call.node),
        key=_key(kind, call),
        varies=_varies(call),
        seconds=seconds,
        bounded=bounded,
        waits=blocking,
        wait_seconds=wait,
        owned=kind in {"redis lock", "quorum", "file"} or script,
        released=_released(call, releases),
        extended=call.keyword("auto_renewal") is True
        or any(each.last in EXTENDING and _same(each, call) for each in near),
        tested=kind == "file"
        or blocking is True
        or any(each.used_as in {"test", "kept", "returned"} for each in (acquire or call, call)),
        without=_without(acquire or call, handlers),
        release_errors=_release_errors(releases, handlers),
        place=call.place,
        function=call.function,
        around=call.around,
    )


def _beside(each: Call, call: Call) -> bool:
    """Say whether two calls stand in the same function, or in two methods of one class."""
    owner = call.names.owner
    return each.names is call.names or (owner is not None and each.names.owner is owner)


def _gives_back(each: Call, lock: Call) -> bool:
    return each.last in RELEASING and _same(each, lock)


def _same(each: Call, lock: Call) -> bool:
    """Say whether a call is of the same lock: of the object itself, or of its key."""
    if each.name.startswith(f"{lock.name}."):
        return True
    keys = {ast.unparse(given) for given in each.arguments[:3]}
    return bool(lock.arguments) and ast.unparse(lock.arguments[0]) in keys


def _lapses(kind: str, call: Call) -> tuple[float | None, bool | None]:
    if kind == "file":
        return None, True  # the operating system frees it with its process
    for name in TTL:
        if name in call.keywords:
            seconds = call.seconds(name)
            return seconds, None if seconds is None and call.keyword(name) is MISSING else seconds is not None
    if (seconds := call.seconds("px")) is not None:
        return seconds / 1000, True
    place = {"cache.add": 2, "quorum": 1, "set nx": 2, "redis lock": 1}[kind]
    if call.last != "setnx" and place < len(call.arguments):
        given = call.names.seconds(call.arguments[place])
        return (given / 1000 if kind == "quorum" and given else given), True
    if kind == "cache.add":
        return 300.0, True  # Django's own default
    return (10.0, True) if kind == "quorum" else (None, None if call.unpacked else False)


def _waits(kind: str, call: Call, acquire: Call | None) -> tuple[bool | None, float | None]:
    if kind in {"set nx", "cache.add"}:
        return False, None
    for at in (acquire, call):
        if at is None:
            continue
        blocking = at.keyword("blocking")
        blocking = at.argument(0) if blocking is MISSING and at is acquire else blocking
        wait = at.seconds("blocking_timeout")
        if blocking is False or wait == 0:
            return False, None
        if wait is not None:
            return True, wait
    return kind != "quorum", None


def _key(kind: str, call: Call) -> str:
    given = _key_of(call)
    if given is None:
        return kind
    value = call.names.constant(given)
    return ast.unparse(call.names.standing_for(given)) if value is MISSING else str(value)


def _key_of(call: Call) -> ast.expr | None:
    """Return what a lock is given as its key."""
    named = call.keywords.get("name") or call.keywords.get("key")
    place = 1 if call.last == "Lock" and call.name.partition(".")[0] in {"redis", "redis_lock"} else 0
    return named or (call.arguments[place] if place < len(call.arguments) else None)


def _varies(call: Call) -> bool:
    given = _key_of(call)
    return given is not None and call.names.constant(given) is MISSING


def _released(call: Call, releases: Sequence[Call]) -> str:
    if call.used_as == "with" or any(each.startswith(call.name) for each in call.around.within):
        return "with"
    if not releases:
        return "with" if _entered(call) else "never"
    if any(each.function.endswith("__exit__") for each in releases):
        return "with"
    return "finally" if any(each.around.in_finally for each in releases) else "straight"


def _entered(call: Call) -> bool:
    return call.used_as == "kept" and call.names.is_entered(call.node)


def _without(call: Call, handlers: Iterable[Handler]) -> str:
    """Return what becomes of an error of taking a lock."""
    handler = _handler_of(call, handlers)
    if handler is None or handler.raises:
        return "raises"
    return "ends" if handler.ends else "goes on"


def _release_errors(releases: Sequence[Call], handlers: Iterable[Handler]) -> str:
    for call in releases:
        handler = _handler_of(call, handlers)
        if handler is not None and not handler.raises:
            return "logged" if handler.logs else "silent"
    return "raises"


def _handler_of(call: Call, handlers: Iterable[Handler]) -> Handler | None:
    """Return the innermost ``except`` that catches what this call raises where its store is away, or None."""
    inner = None
    for each in handlers:
        if each.function == call.function and set(each.errors) <= set(call.around.caught) and _of_stores(each):
            inner = each
    return inner


def _of_stores(handler: Handler) -> bool:
    return handler.broad or any(
        "redis" in each.lower() or each.endswith(("ConnectionError", "LockError", "LockNotOwnedError", "OSError"))
        for each in handler.errors
    )


def _advisory(texts: Sequence[Text]) -> list[Lock]:
    found = []
    for text in texts:
        match = ADVISORY.search(text.text)
        if match is None:
            continue
        unlocks = [each for each in texts if UNLOCK.search(each.text) and each.function == text.function]
        own = "finally" if any(each.around.in_finally for each in unlocks) else "straight" if unlocks else "never"
        key = match.group(3).strip()
        found.append(
            Lock(
                kind="advisory",
                text=" ".join(text.text.split()),
                key=key,
                varies=bool(re.search(r"[{%:$]", key)),
                seconds=None,
                bounded=True,  # Postgres frees it with its session
                waits=match.group(1) is None,
                wait_seconds=None,
                owned=True,
                released="transaction" if match.group(2) else own,
                extended=True,
                tested=True,
                without="raises",
                release_errors="raises",
                place=text.place,
                function=text.function,
                around=text.around,
            )
        )
    return found
