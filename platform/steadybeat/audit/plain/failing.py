"""Failing: section 5, errors and shutdown, of a plain application."""

from __future__ import annotations

import ast
import re

from steadybeat.audit.answer import Answer, failed, not_applicable, partly, passed, unknown
from steadybeat.audit.plain.asking import (
    autoretry,
    hard_limit,
    hiding,
    in_web_process,
    is_redis,
    not_prefork,
    retries,
    seconds,
    turns,
    unread,
    visibility,
    working_loops,
)
from steadybeat.audit.plain.checking import check
from steadybeat.audit.plain.program import Job, Program
from steadybeat.audit.plain.telling import signal_of
from steadybeat.audit.plain.watched import failures

BROAD = {Exception, BaseException}
GROWS = re.compile(r"\*\*|retries|backoff|expo", re.IGNORECASE)
CHANCE = re.compile(r"random|jitter|uniform|full_jitter", re.IGNORECASE)
ALIVE = "Run workers and Beat as processes of their own, which something starts again."


@check("5.1")
def contained(job: Job, program: Program) -> Answer:
    """Nothing escapes unhandled (crash containment around scheduler and task)."""
    if web := in_web_process(program):
        return failed(f"{web}: whatever ends one of them ends all", ALIVE)
    embedded = [each for each in program.commands if each.embeds_beat]
    if embedded:
        return failed(f"{embedded[0].text} ({embedded[0].place}): what kills the worker kills its scheduler", ALIVE)
    if job.source.parallel:
        call = job.source.parallel[0]
        return partly(
            f"{call.written}() at {call.place}: an error in there reaches nobody",
            "Send tasks instead, or wait for the result and raise.",
        )
    if pool := not_prefork(program):
        return partly(
            f"a pool of {pool}: a crash takes the other tasks of the worker along", "Use worker_pool='prefork'."
        )
    return passed("worker_pool='prefork': an error, or a crash of the child, ends this task only")


@check("5.2")
def logged(job: Job, program: Program) -> Answer:
    """Errors logged with run id, task, stack."""
    if not job.source.known:
        return unknown(unread(job), "Read the code: does an except swallow errors?")
    told = [each for each in job.source.handlers if each.logs and not each.raises]
    for each in (*hiding(job), *told):
        if not each.stack:
            return failed(
                f"except {', '.join(each.errors)} at {each.place}: the error ends there, and no stack is written",
                "Write log.exception(…), and raise.",
            )
    hidden = [each for each in hiding(job) if "task_id" not in str(program.conf.worker_log_format)]
    if hidden:
        return partly(
            f"except {', '.join(hidden[0].errors)} at {hidden[0].place}: a line with the stack, and no run id",
            "Use celery.utils.log.get_task_logger, whose lines have task name and id.",
        )
    return passed("celery.app.trace writes name, id and stack of each failure; no except hides one")


@check("5.3")
def alerted(job: Job, program: Program) -> Answer:
    """Errors raise alerts."""
    hidden = [each for each in hiding(job) if not each.around.in_finally]
    if hidden:
        each = hidden[0]
        return failed(
            f"except {', '.join(each.errors)} at {each.place}: the run succeeds, so no alert of failures sees it",
            "Raise at the end what was caught on the way, or count it and alert.",
        )
    return failures(job, program)


@check("5.4")
def progress(job: Job, program: Program) -> Answer:
    """Partial progress recorded."""
    loops = working_loops(job)
    if not loops:
        return not_applicable("it does one thing, not many in a loop")
    sent = [each for each in job.source.sent if each.around.loops]
    if sent:
        return passed(f"each part is a message of its own ({sent[0].place})")
    told = job.source.called("update_state", "checkpoint")
    if told:
        return passed(f"{told[0].written}() at {told[0].place}")
    committed = [
        each
        for each in job.source.calls
        if each.around.loops
        and (each.last == "commit" or (each.used_as == "with" and each.last in {"begin", "atomic", "transaction"}))
    ]
    marks = [each for each in job.source.writes if each.around.loops]
    if committed and marks:
        return passed(f"each part is committed with its mark: {marks[0].text[:80]} ({marks[0].place})")
    return failed(
        f"for … in {loops[0].over} ({loops[0].place}): how far it came is written nowhere",
        "Commit each part with a mark of it, or call self.update_state().",
    )


@check("5.5")
def bounded(job: Job, program: Program) -> Answer:
    """Retry count bounded."""
    if job.task.max_retries is None:
        return failed("max_retries=None: it is tried for ever", "Set max_retries=5.")
    own = [
        each
        for each in retries(job)
        if isinstance(node := each.keywords.get("max_retries"), ast.Constant) and node.value is None
    ]
    if own:
        return failed(f"max_retries=None at {own[0].place}", "Leave it out, or set a count.")
    return passed(f"max_retries={job.task.max_retries}")


@check("5.6")
def backs_off(job: Job, program: Program) -> Answer:
    """Exponential back-off with jitter."""
    task = job.task
    if autoretry(job):
        if not getattr(task, "retry_backoff", False):
            return failed(
                f"autoretry_for without retry_backoff: every {task.default_retry_delay} s", "Set retry_backoff=True."
            )
        if not getattr(task, "retry_jitter", True):
            return failed("retry_jitter=False: all come back at once", "Set retry_jitter=True.")
        return passed(f"retry_backoff={task.retry_backoff}, retry_jitter=True")
    asked = retries(job)
    if not asked:
        return failed("it is not tried again at all", "Set autoretry_for=(…), retry_backoff=True.")
    said = (
        ast.unparse(asked[0].names.standing_for(asked[0].keywords["countdown"]))
        if "countdown" in asked[0].keywords
        else ""
    )
    if GROWS.search(said) and CHANCE.search(said):
        return passed(f"countdown={said} ({asked[0].place})")
    return failed(
        f"countdown={said or task.default_retry_delay} ({asked[0].place}): the same each time, or without chance",
        "countdown=random.uniform(0, 2 ** self.request.retries).",
    )


@check("5.7")
def told_apart(job: Job, program: Program) -> Answer:
    """Retryable and permanent errors told apart."""
    errors, asked = autoretry(job), retries(job)
    never = tuple(getattr(job.task, "dont_autoretry_for", ()) or ())
    if errors and (not set(errors) & BROAD or never):
        names = ", ".join(each.__name__ for each in errors)
        return passed(
            f"autoretry_for=({names})"
            + (f", dont_autoretry_for=({', '.join(e.__name__ for e in never)})" if never else "")
        )
    if errors:
        return failed(
            "autoretry_for=(Exception,): what can never succeed is tried as often as what can",
            "Name the errors that pass: autoretry_for=(ConnectionError, TimeoutError).",
        )
    if not asked:
        return failed(
            "no error is tried again, also none that would pass",
            "Set autoretry_for=(ConnectionError, TimeoutError), retry_backoff=True.",
        )
    caught = [each for each in job.source.handlers if any(call.endswith(".retry") for call in each.calls)]
    if (caught and not any(each.broad for each in caught)) or (not caught and asked[0].around.conditions):
        return passed(f"only some errors are tried again ({asked[0].place})")
    return failed(f"every error is tried again ({asked[0].place})", "Catch the errors that pass by name.")


@check("5.8")
def buried(job: Job, program: Program) -> Answer:
    """Dead letters exist and can be replayed."""
    for source in signal_of(job, program, "failure"):
        kept = [each for each in source.writes if each.kind in {"INSERT", "UPSERT"}]
        pushed = source.called("rpush", "lpush", "xadd")
        if kept or pushed:
            where = kept[0].place if kept else pushed[0].place
            replay = [
                each
                for each in program.calls
                if each.last in {"send_task", "apply_async"} and each.place.partition(":")[0] == where.partition(":")[0]
            ]
            if replay:
                return passed(f"failures are kept ({where}) and sent again ({replay[0].place})")
            return partly(
                f"failures are kept ({where}); nothing sends them again",
                "Write a command that sends a kept failure again.",
            )
    if _dead_letter_queue(program) and job.task.acks_late:
        return passed("x-dead-letter-exchange on its queue, acks_late=True")
    if program.conf.result_backend and program.conf.result_extended and not job.task.ignore_result:
        return partly(
            "the result backend keeps name and arguments of failures; nothing sends them again",
            "Write a command that sends them again.",
        )
    return failed(
        "what has failed for good is a line of the log",
        "Keep task, args and error of each failure in on_failure, and a command that sends them again.",
    )


def _dead_letter_queue(program: Program) -> bool:
    queues = program.conf.task_queues or ()
    return any("x-dead-letter-exchange" in (getattr(each, "queue_arguments", None) or {}) for each in queues)


@check("5.9")
def shut_down(job: Job, program: Program) -> Answer:
    """SIGTERM: current work finishes or checkpoints, no new work starts."""
    if web := in_web_process(program):
        return failed(f"{web}: it ends with the web process, in the middle of the work", ALIVE)
    limit, where = hard_limit(job, program)
    soft = float(program.conf.worker_soft_shutdown_timeout or 0)
    if soft and (job.task.acks_late or (limit is not None and limit <= soft)):
        return passed(f"worker_soft_shutdown_timeout={seconds(soft)}, acks_late={job.task.acks_late}")
    if limit is None:
        return failed(
            "worker_soft_shutdown_timeout=0, and no time limit: it is killed by whoever does not want to wait",
            "Set a time limit, and worker_soft_shutdown_timeout.",
        )
    return partly(
        f"SIGTERM waits for it, up to {seconds(limit)} ({where}), if nobody kills the worker before",
        f"Give the container {seconds(limit)} to end, or set worker_soft_shutdown_timeout and acks_late=True.",
    )


@check("5.10")
def resumed(job: Job, program: Program) -> Answer:
    """Unfinished work is on record and resumes."""
    if not job.task.acks_late:
        return failed(
            "acks_late=False: what a worker has begun is forgotten when it dies",
            "Set acks_late=True and reject_on_worker_lost=True, once it is safe to run twice.",
        )
    if not job.task.reject_on_worker_lost:
        return failed(
            "reject_on_worker_lost=False: a killed child's message is acknowledged", "Set reject_on_worker_lost=True."
        )
    if is_redis(program):
        return partly(
            "acks_late and reject_on_worker_lost; Redis loses what was popped and not yet noted (kombu#305), and gives"
            f" the rest out again after {seconds(visibility(program))}",
            "Use RabbitMQ, or keep a row for each run and send again what has not ended.",
        )
    return passed(f"acks_late=True, reject_on_worker_lost=True on {str(program.conf.broker_url).partition(':')[0]}")


@check("5.11")
def locks_freed(job: Job, program: Program) -> Answer:
    """Locks freed on shutdown."""
    held = turns(job)
    if not held:
        return not_applicable("it holds no lock")
    if web := in_web_process(program):
        return (
            failed(f"{web}: its thread ends without finally; {held[0].text[:60]} stays", ALIVE)
            if held[0].kind != "row"
            else passed("Postgres frees the rows with the connection")
        )
    bad = [each for each in held if each.released in {"straight", "never"}]
    if bad:
        return failed(
            f"released {bad[0].released}: {bad[0].text[:80]} ({bad[0].place})", "Release it in finally, or use with."
        )
    return passed(f"released by {held[0].released} ({held[0].place}), which a warm shutdown waits for")
