"""Locked: section 2, locking and single execution, of a plain application."""

from __future__ import annotations

import ast
from collections.abc import Callable

from steadybeat.audit.answer import Answer, failed, not_applicable, partly, passed, unknown
from steadybeat.audit.plain.asking import hard_limit, is_redis, library_lock, not_prefork, seconds, turns, visibility
from steadybeat.audit.plain.checking import check
from steadybeat.audit.plain.program import Job, Program
from steadybeat.audit.plain.telling import tells_of_failures
from steadybeat.audit.source import Lock

MARGIN = 1.1  # a lock holds at least so many times the longest attempt
TAKE = (
    "Take a lock around the work: with client.lock(f'job:{key}', timeout=…, blocking=False), or"
    " pg_try_advisory_xact_lock() in the transaction of the effect."
)


def _turn(job: Job) -> Lock | Answer:
    """Return the lock that gives a job its turn, or the answer where there is none to be asked."""
    if not job.source.known:
        return unknown(_unread(job), "Read the code: does it take a lock, for how long, and who frees it?")
    found = turns(job)
    if not found and (library := library_lock(job)):
        return unknown(
            f"{library} takes a lock for it, by its base class",
            f"Look at the options of {library}: does its lock outlast time_limit, and is it freed after errors?",
        )
    held = [each for each in found if each.kind != "row"]
    return held[0] if held else found[0] if found else failed("its code takes no lock, and no row FOR UPDATE", TAKE)


def _unread(job: Job) -> str:
    return f"its code cannot be read: {'; '.join(job.source.unread)}"


def _asked(line: str) -> Callable[[Callable[[Lock, Job, Program], Answer]], Callable[[Job, Program], Answer]]:
    """Register a check that is asked of the lock that a job takes; without one, no line is answered with yes."""

    def register(function: Callable[[Lock, Job, Program], Answer]) -> Callable[[Job, Program], Answer]:
        @check(line)
        def ask(job: Job, program: Program) -> Answer:
            turn = _turn(job)
            return turn if isinstance(turn, Answer) else function(turn, job, program)

        return ask

    return register


def _said(lock: Lock) -> str:
    what = "the database locks the rows of: " if lock.kind == "row" else ""
    return f"{what}{lock.text[:90]} ({lock.place})"


@_asked("2.1")
def taken(lock: Lock, job: Job, program: Program) -> Answer:
    """No run without its turn."""
    if not lock.tested:
        return failed(f"{_said(lock)}: nobody looks at whether it was got", "Return where the lock is not got.")
    if lock.without == "goes on":
        return failed(
            f"{_said(lock)}: where Redis does not answer, the work is done without it", "Let the error end the attempt."
        )
    return passed(_said(lock))


@_asked("2.2")
def keyed(lock: Lock, job: Job, program: Program) -> Answer:
    """Lock key unique per task (or per key)."""
    if lock.kind == "row" or lock.varies:
        return passed(f"key: {lock.key} ({lock.place})")
    others = [
        each.name
        for each in program.jobs
        if each is not job and any(lock.key == other.key and not other.varies for other in each.source.locks)
    ]
    if others:
        return failed(f"key: {lock.key!r}, which {', '.join(others[:3])} has too", "Put the task's name into the key.")
    return passed(f"key: {lock.key!r}, which no other task has ({lock.place})")


@_asked("2.3")
def outlives(lock: Lock, job: Job, program: Program) -> Answer:
    """Lock and lease outlive the longest attempt, with margin."""
    limit, where = hard_limit(job, program)
    pool = not_prefork(program)
    if is_redis(program) and job.task.acks_late and (limit is None or visibility(program) < limit * MARGIN):
        return failed(
            f"visibility_timeout={seconds(visibility(program))}, {where}: a long attempt's message goes to a"
            " second worker",
            "Set broker_transport_options={'visibility_timeout': …} above the longest time limit, countdown and ETA.",
        )
    if lock.kind in {"row", "advisory", "file"} or lock.extended:
        return passed(f"held as long as the work goes on: {_said(lock)}")
    if lock.bounded is False:
        return passed(f"never lapses by itself: {_said(lock)}")
    if lock.seconds is None:
        return unknown(
            f"for how long it is taken is not said in the code: {_said(lock)}", f"Compare its time-out with {where}."
        )
    if limit is None or pool:
        ends = f"{where}, which a pool of {pool} does not keep" if pool else "nothing ends an attempt"
        return failed(
            f"the lock lapses after {seconds(lock.seconds)}; {ends}: {_said(lock)}",
            "Set time_limit= below the lock's time-out; use prefork.",
        )
    if lock.seconds < limit * MARGIN:
        return failed(
            f"the lock lapses after {seconds(lock.seconds)}, an attempt may take {seconds(limit)} ({where})",
            f"Take it for {seconds(limit * 1.5)}, or extend it while the work goes on.",
        )
    return passed(f"the lock holds {seconds(lock.seconds)}, an attempt {seconds(limit)} at the most ({where})")


@_asked("2.4")
def given_back(lock: Lock, job: Job, program: Program) -> Answer:
    """Released on every way out."""
    if lock.released in {"with", "finally", "transaction"}:
        return passed(f"released by {lock.released}: {_said(lock)}")
    if lock.released == "straight":
        return failed(f"released only where nothing is raised: {_said(lock)}", "Release it in finally, or use with.")
    return failed(f"never released, only left to lapse: {_said(lock)}", "Release it in finally, or use with.")


@_asked("2.5")
def extended(lock: Lock, job: Job, program: Program) -> Answer:
    """Extended while long work runs."""
    limit, where = hard_limit(job, program)
    if lock.extended:
        return passed(f"held or extended while the work goes on: {_said(lock)}")
    if limit is not None and lock.seconds is not None and lock.seconds >= limit * MARGIN and not not_prefork(program):
        return not_applicable(f"no attempt ({where}) is longer than its lock ({seconds(lock.seconds)})")
    return failed(f"nothing extends it: {_said(lock)}", "Call lock.extend() or lock.reacquire() as the work goes on.")


@_asked("2.6")
def refused(lock: Lock, job: Job, program: Program) -> Answer:
    """A lock that is held makes the run skip or wait, by stated policy."""
    if not lock.tested:
        return failed(f"nobody looks at whether it was got: {_said(lock)}", "Return where the lock is not got.")
    if lock.waits is False:
        return passed(f"held by another, the run ends at once: {_said(lock)}")
    if lock.waits is None:
        return unknown(f"the code does not say whether it waits: {_said(lock)}", "Say blocking= and blocking_timeout=.")
    if lock.wait_seconds is not None:
        return passed(f"waits {seconds(lock.wait_seconds)} for who holds it: {_said(lock)}")
    if lock.kind == "row":
        return passed(f"waits for the other transaction, and finds its rows done: {_said(lock)}")
    return partly(
        f"waits without an end for who holds it: {_said(lock)}", "Set blocking_timeout=, or blocking=False to skip."
    )


@_asked("2.7")
def release_told(lock: Lock, job: Job, program: Program) -> Answer:
    """A failed release is logged and alerted."""
    if lock.released == "transaction":
        return passed(f"Postgres frees it with the transaction: {_said(lock)}")
    if not lock.owned or lock.released in {"never", "straight"}:
        return failed(
            f"whether it was still ours when it was given back is not asked: {_said(lock)}",
            "Use redis-py's Lock: releasing a lock that was lost raises LockNotOwnedError. Let it be raised.",
        )
    if lock.release_errors == "silent":
        return failed(f"an error of giving it back is swallowed: {_said(lock)}", "Log it, and alert.")
    told = tells_of_failures(job, program)
    if lock.release_errors == "raises" and told:
        return passed(f"a lost lock raises on release, and failures are told by {told}")
    return partly(
        f"an error of giving it back {lock.release_errors}, and nobody is told: {_said(lock)}", "Alert on task_failure."
    )


@_asked("2.8")
def without_redis(lock: Lock, job: Job, program: Program) -> Answer:
    """Behaviour without Redis defined: skip rather than run twice."""
    if lock.kind in {"row", "advisory", "file"}:
        return passed(f"the lock is not in Redis: {_said(lock)}")
    if lock.without == "goes on":
        return failed(
            f"without Redis the work is done all the same: {_said(lock)}", "Let the error of Redis end the attempt."
        )
    what = "ends the attempt" if lock.without == "raises" else "is a reason to return"
    return passed(f"without Redis, taking the lock {what}: {_said(lock)}")


@_asked("2.9")
def owned(lock: Lock, job: Job, program: Program) -> Answer:
    """Unique token per acquisition."""
    if lock.owned:
        return passed(f"{lock.kind}: a token, or a session, of its own ({lock.place})")
    return failed(
        f"{lock.kind} without a token of its own: who comes late deletes the lock of another ({_said(lock)})",
        "Use client.lock(…), or compare the token before deleting, in one Lua script.",
    )


@check("2.10")
def quorum(job: Job, program: Program) -> Answer:
    """Quorum locks where configured."""
    quorums = [each for each in job.source.locks if each.kind == "quorum"]
    if not quorums:
        return not_applicable("no quorum of Redis nodes is configured")
    lock = max(quorums, key=_nodes)
    if _nodes(lock) >= 3:
        return passed(f"{_nodes(lock)} nodes: {_said(lock)}")
    if _nodes(lock):
        return failed(
            f"{_nodes(lock)} nodes: {_said(lock)}", "Give it three or five nodes that do not replicate each other."
        )
    return unknown(
        f"how many nodes it asks is not seen in the code: {_said(lock)}",
        "Count them: a quorum needs three independent ones.",
    )


def _nodes(lock: Lock) -> int:
    """Return how many nodes stand in the call that makes a quorum lock."""
    lists = [each for each in ast.walk(ast.parse(lock.text)) if isinstance(each, ast.List | ast.Set | ast.Tuple)]
    return max((len(each.elts) for each in lists), default=0)


@_asked("2.11")
def fenced(lock: Lock, job: Job, program: Program) -> Answer:
    """Fencing: an expired holder cannot commit."""
    if lock.kind in {"row", "advisory"} and lock.released == "transaction" and not _leaves_database(job):
        return passed(f"lock and effect are one transaction: {_said(lock)}")
    fence = next(
        (
            each
            for each in job.source.writes
            if any(word in each.where.lower() for word in ("fence", "version", "lock_token"))
        ),
        None,
    )
    if fence is not None:
        return passed(f"the effect is made only where {fence.where[:80]} ({fence.place})")
    return failed(
        "who has lost the lock, and does not know it, commits all the same",
        "Keep a number with the lock, and write the effect only WHERE fence = :mine; or lock in its transaction.",
    )


def _leaves_database(job: Job) -> bool:
    """Say whether a job does something that its transaction does not hold back, and that would be done twice."""
    return bool(job.source.mails) or any(each.changes and not each.keyed for each in job.source.outside)
