"""By hand: what the locks are worth that a task's own code takes, where the platform does not guard its runs.

Everything is read from the code: which lock, for how long, how it is given back. Of several locks the first counts.
"""

from __future__ import annotations

import math
from typing import Any

from steadybeat.audit.answer import Answer, failed, not_applicable, partly, passed, unknown
from steadybeat.audit.source import Lock, Source

GUARD = "let steadybeat guard its runs: `steadybeat.install(app)`, which claims each run before its code"
_AS_STORED = frozenset({"advisory", "row"})
_LOCAL = frozenset({"file"})


def lock_of(source: Source) -> Lock | None:
    """Return the lock that a task's code takes, or None."""
    return next((each for each in source.locks if each.kind != "row"), None)


def said_of(lock: Lock) -> str:
    """Return a lock as it stands in the code, and where."""
    return f"`{lock.text}` ({lock.place})"


def without_lock(source: Source, why: str, *, remedy: str = GUARD) -> Answer:
    """Return the answer where the code takes no lock, or cannot be read.

    Args:
        source: The code.
        why: Why the platform does not guard its runs.
        remedy: What would mend it.
    """
    if not source.known:
        return unread(source, why)
    return failed(f"{why}; its own code takes no lock ({source.place})", remedy)


def unread(source: Source, why: str) -> Answer:
    """Return the answer where the code cannot be read."""
    told = "; ".join(source.unread) or "its code cannot be read"
    return unknown(f"{why}; {told}", "run the audit where the source of the task is installed")


def turn(source: Source, why: str) -> Answer:
    """Say whether no run works without its turn."""
    lock = lock_of(source)
    if lock is None:
        return without_lock(source, why)
    if lock.kind in _LOCAL:
        return partly(f"{said_of(lock)} holds on one machine only", GUARD)
    if not lock.tested:
        return failed(f"{said_of(lock)}: the code goes on whether it got it or not", "look at what acquire() returns")
    return passed(f"its own code takes {said_of(lock)}, and looks whether it got it")


def key(source: Source, why: str, others: list[tuple[str, Lock]]) -> Answer:
    """Say whether a lock is the task's own.

    Args:
        source: The code.
        why: Why the platform does not guard its runs.
        others: The locks of other tasks, each with the task's name.
    """
    lock = lock_of(source)
    if lock is None:
        return without_lock(source, why)
    shared = sorted({name for name, other in others if other.key == lock.key and other.place != lock.place})
    if shared and not lock.varies:
        return failed(
            f"{said_of(lock)}: its key {lock.key} is also that of {', '.join(shared)}",
            "put the task's name into the key",
        )
    of = "of what it works on" if lock.varies else "one for all of its runs"
    return passed(f"{said_of(lock)}: key {lock.key}, {of}")


def outlives(source: Source, why: str, limit_seconds: float | None) -> Answer:
    """Say whether a lock outlives the longest attempt.

    Args:
        source: The code.
        why: Why the platform does not guard its runs.
        limit_seconds: Hard time limit of an attempt; None: there is none.
    """
    lock = lock_of(source)
    if lock is None:
        return without_lock(source, why)
    if lock.extended:
        return passed(f"{said_of(lock)} is extended while it is held")
    if lock.bounded is False:
        return passed(f"{said_of(lock)} never lapses by itself")
    if lock.seconds is None:
        return unknown(f"{said_of(lock)}: how long it lasts, the code does not say", "write its timeout as a number")
    longest = "no time limit" if limit_seconds is None else f"time_limit={limit_seconds:g} s"
    if lock.seconds > (math.inf if limit_seconds is None else limit_seconds):
        return passed(f"{said_of(lock)} lasts {lock.seconds:g} s, {longest}")
    return failed(
        f"{said_of(lock)} lasts {lock.seconds:g} s, {longest}: it lapses under a run that goes on",
        "let it last longer than time_limit, or extend it while the work goes on",
    )


def released(source: Source, why: str) -> Answer:
    """Say whether a lock is given back on every way out."""
    lock = lock_of(source)
    if lock is None:
        return without_lock(source, why)
    if lock.released in {"with", "finally", "transaction"}:
        return passed(f"{said_of(lock)} is given back by its {lock.released}")
    remedy = "give it back in a `finally`, or take it in a `with`"
    if lock.released == "straight":
        return failed(f"{said_of(lock)} is given back only where nothing is raised", remedy)
    if lock.seconds is not None:
        return partly(f"{said_of(lock)} is never given back; it lapses after {lock.seconds:g} s", remedy)
    return failed(f"{said_of(lock)} is never given back", remedy)


def extended(source: Source, why: str, limit_seconds: float | None) -> Answer:
    """Say whether a lock is extended while long work runs.

    Args:
        source: The code.
        why: Why the platform does not guard its runs.
        limit_seconds: Hard time limit of an attempt; None: there is none.
    """
    lock = lock_of(source)
    if lock is None:
        return without_lock(source, why)
    if lock.extended:
        return passed(f"{said_of(lock)} is extended")
    if lock.bounded is False:
        return not_applicable(f"{said_of(lock)} never lapses")
    if lock.seconds is not None and limit_seconds is not None and lock.seconds > limit_seconds:
        return not_applicable(f"{said_of(lock)} lasts {lock.seconds:g} s, longer than time_limit={limit_seconds:g} s")
    return failed(f"{said_of(lock)}: nothing extends it", "extend it from a thread or between two items, or " + GUARD)


def held(source: Source, why: str) -> Answer:
    """Say what becomes of a run that finds the lock held."""
    lock = lock_of(source)
    if lock is None:
        return without_lock(source, why)
    if lock.waits:
        bound = "for ever" if lock.wait_seconds is None else f"for {lock.wait_seconds:g} s"
        return passed(f"{said_of(lock)}: a run that finds it held waits {bound}")
    if lock.tested:
        return passed(f"{said_of(lock)}: a run that finds it held does not go on")
    return failed(f"{said_of(lock)}: nobody looks whether it was got", "end the run, or wait, where it is held")


def release_failed(source: Source, why: str) -> Answer:
    """Say who learns of a release that fails."""
    lock = lock_of(source)
    if lock is None:
        return without_lock(source, why)
    if lock.release_errors == "silent":
        return failed(f"{said_of(lock)}: an error of its release is swallowed", "log it, and count it for an alert")
    how = "is logged" if lock.release_errors == "logged" else "fails the task, whose error Celery logs"
    return partly(f"{said_of(lock)}: an error of its release {how}; nobody is alerted", "send it to who is on call")


def without_store(source: Source, why: str) -> Answer:
    """Say what happens while the store of the lock is away."""
    lock = lock_of(source)
    if lock is None:
        return without_lock(source, why)
    if lock.without == "goes on":
        return failed(
            f"{said_of(lock)}: where its store does not answer, the code goes on without it",
            "end the run there: a run that is missed can be made up for, one that happened twice cannot",
        )
    how = "the error ends the attempt" if lock.without == "raises" else "the run ends"
    return passed(f"{said_of(lock)}: where its store does not answer, {how} before its work")


def owned(source: Source, why: str) -> Answer:
    """Say whether nobody gives back another's lock."""
    lock = lock_of(source)
    if lock is None:
        return without_lock(source, why)
    if lock.owned:
        return passed(f"{said_of(lock)}: only who took it can give it back")
    return failed(
        f"{said_of(lock)}: whoever ends gives it back, also where it has lapsed and is another's by then",
        "use redis-py's Lock, which has a token of its own for each acquisition",
    )


def fenced(source: Source, why: str) -> Answer:
    """Say whether a holder whose lock has lapsed cannot commit."""
    lock = lock_of(source)
    if lock is not None and lock.kind in _AS_STORED and lock.released == "transaction":
        return passed(f"{said_of(lock)}: the lock ends with the transaction that it guards")
    if lock is None:
        return without_lock(source, why)
    return failed(
        f"{said_of(lock)}: nothing looks at commit whether it is still held",
        "have the effect in `with self.exactly_once() as db:`, which checks the fence before COMMIT",
    )


def dead_holder(source: Source, why: str, limit_seconds: float | None) -> Answer:
    """Say whether a dead holder blocks others for no longer than an attempt may take.

    Args:
        source: The code.
        why: Why the platform does not guard its runs.
        limit_seconds: Hard time limit of an attempt; None: there is none.
    """
    lock = lock_of(source)
    if lock is None:
        if not source.known:
            return unread(source, why)
        return not_applicable(f"its own code takes no lock that a dead run could hold ({source.place})")
    remedy = "give the lock a timeout of time_limit and some seconds"
    if lock.kind in _AS_STORED | _LOCAL:
        return passed(f"{said_of(lock)} ends with the connection, or the process, of who holds it")
    if not lock.bounded:
        return failed(f"{said_of(lock)} never lapses: a killed holder blocks all others until a person helps", remedy)
    if limit_seconds is None or lock.seconds is None:
        return partly(f"{said_of(lock)} lapses by itself, but nothing bounds an attempt (time_limit=None)", remedy)
    margin = max(60.0, limit_seconds / 2)
    if lock.seconds <= limit_seconds + margin:
        return passed(f"{said_of(lock)} lapses after {lock.seconds:g} s, time_limit={limit_seconds:g} s")
    return failed(f"{said_of(lock)} blocks for {lock.seconds:g} s, time_limit={limit_seconds:g} s", remedy)


def limit_of(task: Any) -> float | None:
    """Return the hard time limit of a task, in seconds; None: there is none."""
    limit = task.time_limit if task.time_limit is not None else task.app.conf.task_time_limit
    return None if limit is None else float(limit)
