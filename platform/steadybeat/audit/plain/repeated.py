"""Repeated: section 4, idempotency, of a plain application."""

from __future__ import annotations

import re

from steadybeat.audit.answer import Answer, failed, not_applicable, partly, passed, unknown
from steadybeat.audit.finding import Verdict
from steadybeat.audit.plain.asking import (
    effects,
    files_written,
    is_one_statement,
    is_transaction,
    unread,
    working_loops,
)
from steadybeat.audit.plain.checking import check
from steadybeat.audit.plain.program import Job, Program
from steadybeat.audit.source import Write

STATE = re.compile(
    r"stat(e|us)|\bis (not )?null|\bnot\b|__isnull|_at\b|[<>]|!=|exists"
    r"|\b(paid|sent|done|processed|settled|expired|version|fence)\b",
    re.IGNORECASE,
)
"""What stands in a condition that asks for a state, and not only for a row."""

MARK = re.compile(
    r"stat(e|us)|\bis (not )?null|__isnull|not exists|\b(not )?(paid|sent|done|processed|settled|expired)\b",
    re.IGNORECASE,
)
"""What stands in the condition of a query that leaves out what was done before."""

CONNECTED = ("connect", "connection", "session", "Session", "session_scope", "cursor")
TWICE = (
    "Write a test that does so on a scratch database, and counts the effects; steadybeat's audit does it by itself for"
    " tasks that declare audit_args."
)


def _nothing(job: Job) -> Answer | None:
    """Return the answer to a line about effects where none is seen."""
    if not job.source.known:
        return unknown(unread(job), "Read the code: what does it change, and what if it runs twice?")
    if effects(job):
        return None
    return _unseen(job) or not_applicable("its code changes nothing that can be seen")


def _unseen(job: Job) -> Answer | None:
    """Return the answer where something is committed that no statement says."""
    commit = job.source.unseen
    if commit is None:
        return None
    return unknown(
        f"`{commit.written}()` at {commit.place}: what it changes is not seen in the code",
        "Read the code: which rows does it change, and what if it runs twice? A statement that says so is seen.",
    )


@check("4.1")
def run_id(job: Job, program: Program) -> Answer:
    """Unique run id."""
    names = called_as(job)
    direct = [each for each in program.calls if each.name in names]
    if direct:
        return failed(
            f"called as a function at {direct[0].place}: that run has no id",
            f"Send it: {direct[0].written}.delay(…).",
        )
    fixed = [each for each in program.calls if each.last == "apply_async" and isinstance(each.keyword("task_id"), str)]
    mine = [each for each in fixed if each.name.rpartition(".")[0] in names]
    if mine:
        return failed(f"every run gets the same id ({mine[0].place})", "Leave task_id out.")
    return passed("request.id: Celery gives each message one of its own; nothing calls it as a function")


def called_as(job: Job) -> frozenset[str]:
    """Return the dotted names by which code calls a task as a function; none of a class, which is made before."""
    if getattr(job.task, "__wrapped__", None) is None:
        return frozenset()
    return frozenset({job.name, f"{job.task.__module__}.{getattr(job.task, '__name__', job.name)}"})


@check("4.2")
def checked(job: Job, program: Program) -> Answer:
    """State checked before the effect."""
    if (answer := _nothing(job)) is not None:
        return answer
    source = job.source
    bare = [each for each in source.writes if not _asks_for_state(each)]
    blind = [each for each in source.outside if each.changes and not _names_its_effect(each.call.last)]
    if not bare and not source.mails and not source.sent and not blind and not files_written(job):
        return passed(f"{effects(job)[0]}: the effect itself asks for the state, or names it")
    reads = [each for each in source.statements if not each.changes]
    looped = working_loops(job)
    inner = [each for each in reads if each.around.loops]
    guards = [each for each in source.guards if (each.around.loops or not looped) and not _is_of_lock(each.test, job)]
    if guards and (inner or (reads and not looped)):
        return passed(f"if {guards[0].test[:80]} ({guards[0].place}), read just before")
    of_batch = [each for each in reads if MARK.search(each.where)]
    if of_batch:
        return partly(
            f"{of_batch[0].text[:100]} ({of_batch[0].place}): asked once for all, stale when the last has its turn",
            "Ask for the state of each row again, FOR UPDATE, in the transaction of its effect.",
        )
    return failed(
        f"{effects(job)[0]}: without asking whether it has happened",
        "Read the state first, in the same transaction, and return where it is done.",
    )


def _is_of_lock(test: str, job: Job) -> bool:
    return any(lock.text in test or test in lock.text for lock in job.source.locks) or "lock" in test.lower()


def _asks_for_state(write: Write) -> bool:
    return write.kind == "UPSERT" or write.guarded or (not write.relative and bool(STATE.search(write.where)))


@check("4.3")
def atomic(job: Job, program: Program) -> Answer:
    """State changes atomic."""
    if (answer := _nothing(job)) is not None:
        return answer
    writes = job.source.writes
    if not writes:
        return _unseen(job) or not_applicable("it writes no rows")
    if is_one_statement(job):
        return passed(f"one statement: {writes[0].text[:100]} ({writes[0].place})")
    commits = bool(job.source.called("commit"))
    loose = [each for each in writes if not _in_transaction(each, commits)]
    if not loose or any(each.rpartition(".")[2] == "atomic" for each in job.source.decorators):
        within = writes[0].around.within
        return passed(f"{len(writes)} writes, within {within[-1] if within else 'one transaction'}")
    if len(writes) == 1 and not writes[0].around.loops:
        return passed(f"one write: {writes[0].text[:100]} ({writes[0].place})")
    return failed(
        f"{loose[0].text[:100]} ({loose[0].place}) stands in no transaction: a crash leaves half of it",
        "Put the writes that belong together into one: with engine.begin(), transaction.atomic() or session.begin().",
    )


def _in_transaction(write: Write, commits: bool) -> bool:
    within = write.around.within
    return is_transaction(within) or (commits and any(each.rpartition(".")[2] in CONNECTED for each in within))


@check("4.4")
def upserts(job: Job, program: Program) -> Answer:
    """Upserts where rows are written."""
    if (answer := _nothing(job)) is not None:
        return answer
    writes = job.source.writes
    if not writes:
        return _unseen(job) or not_applicable("it writes no rows")
    bare = _doubling(job)
    if bare is not None:
        what = "twice is two rows" if bare.kind == "INSERT" else "twice is twice as much"
        return failed(
            f"{bare.text[:100]} ({bare.place}): {what}",
            "INSERT … ON CONFLICT (key) DO NOTHING, update_or_create, or set a value instead of adding to it.",
        )
    return passed("; ".join(sorted({f"{each.kind} {each.place}" for each in writes})))


def _doubling(job: Job) -> Write | None:
    """Return a write of which two are not one; None where there is none."""
    return next(
        (each for each in job.source.writes if each.relative or (each.kind == "INSERT" and not each.guarded)), None
    )


@check("4.5")
def keyed(job: Job, program: Program) -> Answer:
    """External calls carry an idempotency key."""
    return _keyed(job)


def _keyed(job: Job) -> Answer:
    if (answer := _nothing(job)) is not None:
        return answer
    changing = [each for each in job.source.outside if each.changes and not _names_its_effect(each.call.last)]
    if not changing and not job.source.mails:
        return not_applicable("it changes nothing elsewhere by a call that would do it twice")
    for each in changing:
        if each.keyed is False:
            return failed(
                f"{each.call.written}() at {each.call.place}: without a key, a second one is a second effect",
                "Send headers={'Idempotency-Key': …} made from what it is for, such as the sale's id.",
            )
        if each.keyed is None:
            return unknown(
                f"{each.call.written}(**…) at {each.call.place}: the code does not tell",
                "Look whether a key is among them.",
            )
    if job.source.mails and not _noted(job):
        return failed(
            f"{job.source.mails[0].written}() at {job.source.mails[0].place}: nothing notes that it was sent",
            "INSERT a row (recipient, kind, period) ON CONFLICT DO NOTHING first, and send only where it is new.",
        )
    return passed(
        "; ".join(
            [
                *(f"{each.call.written}() with a key at {each.call.place}" for each in changing),
                *(f"mail, noted before it is sent, at {each.place}" for each in job.source.mails),
            ]
        )
    )


def _names_its_effect(method: str) -> bool:
    """Say whether a method of HTTP does the same however often it is asked.

    Source: RFC 9110, section 9.2.2.
    """
    return method in {"put", "delete", "PUT", "DELETE"}


def _noted(job: Job) -> bool:
    return any(each.kind == "UPSERT" or each.guarded for each in job.source.writes)


@check("4.6")
def run_twice(job: Job, program: Program) -> Answer:
    """Proven: run twice, one effect."""
    return _proven(job, "run twice")


@check("4.7")
def killed(job: Job, program: Program) -> Answer:
    """Proven: killed in the middle, resumed."""
    if (answer := _nothing(job)) is not None:
        return answer
    if not job.task.acks_late:
        return failed(
            "acks_late=False: the message is gone when the work begins, so nothing resumes it",
            "Set acks_late=True, reject_on_worker_lost=True, once it is safe to run twice.",
        )
    if not job.task.reject_on_worker_lost:
        return failed(
            "reject_on_worker_lost=False: the message of a killed child is acknowledged",
            "Set reject_on_worker_lost=True.",
        )
    return _proven(job, "killed in the middle")


@check("4.8")
def concurrent(job: Job, program: Program) -> Answer:
    """Proven: concurrent, one effect."""
    return _proven(job, "two at once")


def _proven(job: Job, how: str) -> Answer:
    if (answer := _nothing(job)) is not None:
        return answer
    bare, blind = _doubling(job), _keyed(job)
    if bare is not None:
        return failed(
            f"{how}: {bare.text[:90]} ({bare.place}) happens twice",
            "Make the effect safe to repeat first (4.4), then prove it by a test.",
        )
    if blind.verdict is Verdict.FAIL:
        return failed(
            f"{how}: {blind.evidence}", "Make the effect safe to repeat first (4.5), then prove it by a test."
        )
    return unknown(f"nothing has shown it: {how}", TWICE)
