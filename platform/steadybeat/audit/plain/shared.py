"""Shared: section 8, tenants and fan-out, of a plain application."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable

from steadybeat.audit.answer import Answer, failed, not_applicable, partly, passed, unknown
from steadybeat.audit.plain.asking import FANNING, autoretry, fan_outs, of_tenants, retries, unread
from steadybeat.audit.plain.checking import check
from steadybeat.audit.plain.defined import unscheduled
from steadybeat.audit.plain.program import Job, Program
from steadybeat.audit.source import Call, Loop
from steadybeat.schedule import Every

POLICY = re.compile(r"eligib|policy|allowed|feature|flag|entitle|is_enabled|can_run|quota", re.IGNORECASE)
SHUFFLED = re.compile(r"order\s+by\s+random\(\)|order_by\(.\?.\)|func\.random", re.IGNORECASE)
REST = re.compile(r"not[_ ]done|remaining|unfinished|pending", re.IGNORECASE)
LOGGED = ("info", "warning", "debug", "error", "exception")
BIND = ("bind_contextvars", "bind", "contextualize", "set_tag", "set_context", "set_user", "bound_contextvars")
EACH = "Send a task for each tenant, and let the fan-out only send."


def _asked(
    line: str, *, loops: Callable[[Job], list[Loop]] = fan_outs
) -> Callable[[Callable[[Loop, Job, Program], Answer]], Callable[[Job, Program], Answer]]:
    """Register a check that is asked of jobs that fan out, or that do a share for each tenant, and of no other."""

    def register(function: Callable[[Loop, Job, Program], Answer]) -> Callable[[Job, Program], Answer]:
        @check(line)
        def ask(job: Job, program: Program) -> Answer:
            if not job.source.known:
                return unknown(unread(job), "Read the code: does it do a share for each of many tenants?")
            found = loops(job)
            return (
                function(found[0], job, program)
                if found
                else not_applicable("it does nothing for each of many tenants")
            )

        return ask

    return register


def _sends(loop: Loop, job: Job) -> Call | None:
    """Return the call by which a loop sends a task for each; None where it does the work itself."""
    return next((each for each in job.source.inside(loop) if each.last in FANNING), None)


def _where(loop: Loop) -> str:
    return f"for … in {loop.over[:60]} ({loop.place})"


@_asked("8.1", loops=of_tenants)
def eligible(loop: Loop, job: Job, program: Program) -> Answer:
    """Eligibility decided by policy, outside the job's query."""
    asked = [each for each in job.source.calls if POLICY.search(each.name)]
    if asked:
        return passed(f"{asked[0].written}() at {asked[0].place}")
    query = next((each for each in job.source.statements if not each.changes and each.where), None)
    said = f"{query.text[:100]} ({query.place})" if query else _where(loop)
    return failed(
        f"{said}: who has a turn is decided by the job itself",
        "Ask one policy for all jobs, such as eligible(tenant, job), which says why not.",
    )


@_asked("8.2", loops=of_tenants)
def skipped(loop: Loop, job: Job, program: Program) -> Answer:
    """Skipped tenants logged with the reason."""
    guards = [each for each in job.source.guards if loop.place in each.around.loops and each.way == "continue"]
    for guard in guards:
        logged = [
            each for each in job.source.inside(loop) if each.last in LOGGED and guard.test in each.around.conditions
        ]
        if logged:
            return passed(f"if {guard.test[:60]}: {logged[0].written}() at {logged[0].place}")
    if guards:
        return failed(
            f"if {guards[0].test[:60]} ({guards[0].place}): left out, and nobody learns why",
            "Write a line with tenant and reason.",
        )
    return failed(
        f"{_where(loop)}: whom the query leaves out is written nowhere",
        "Go through all tenants, and log each that is left out, with the reason.",
    )


@_asked("8.3")
def shuffled(loop: Loop, job: Job, program: Program) -> Answer:
    """Order shuffled."""
    calls = job.source.called("random.shuffle", "random.sample", "shuffle")
    texts = [each for each in job.source.texts if SHUFFLED.search(each.text)]
    found = [
        *(f"{each.written}() at {each.place}" for each in calls),
        *(f"{each.text[-60:]} ({each.place})" for each in texts),
    ]
    if found:
        return passed(found[0])
    return failed(
        f"{_where(loop)}: always in the same order, so an end in the middle always hits the same",
        "random.shuffle(…), or ORDER BY random().",
    )


@_asked("8.4")
def concurrency(loop: Loop, job: Job, program: Program) -> Answer:
    """Concurrency bounded by configuration."""
    call = _sends(loop, job)
    if call is None:
        return partly(f"{_where(loop)}: one after the other, which nothing can change", EACH)
    bound = program.conf.worker_concurrency
    if bound:
        return passed(f"worker_concurrency={bound}; {call.written}() at {call.place}")
    limit = [each for each in program.jobs if each.task.rate_limit and each.name.rpartition(".")[2] in call.written]
    if limit:
        return passed(f"rate_limit={limit[0].task.rate_limit!r} of {limit[0].name}")
    return failed(
        f"{call.written}() at {call.place}: as many at once as there are cores of workers",
        "Set worker_concurrency for its queue.",
    )


@_asked("8.5")
def alone(loop: Loop, job: Job, program: Program) -> Answer:
    """One tenant's failure leaves the others alone."""
    call = _sends(loop, job)
    if call is not None:
        return passed(f"each is a task of its own: {call.written}() at {call.place}")
    caught = [each for each in job.source.inside(loop) if each.around.caught and loop.place in each.around.loops]
    handlers = [each for each in job.source.handlers if loop.place in each.around.loops and not each.raises]
    if caught and handlers:
        return passed(f"except {', '.join(handlers[0].errors)} within the loop ({handlers[0].place})")
    return failed(f"{_where(loop)}: the first error ends it for all that come after", EACH)


@_asked("8.6")
def stopped(loop: Loop, job: Job, program: Program) -> Answer:
    """Shutdown starts no new tenants, and lists the ones not done."""
    if job.source.asks_to_stop(loop):
        lists = [each for each in job.source.calls if each.last in LOGGED and REST.search(ast.unparse(each.node))]
        if lists:
            return passed(f"asks whether to go on, and lists the rest ({lists[0].place})")
        return partly(f"{_where(loop)} asks whether to go on, and lists nobody", "Log the tenants that were not done.")
    return failed(
        f"{_where(loop)}: goes on until it is killed, and nobody knows how far it came",
        "Ask is_aborted() in each round, and log who was not done.",
    )


@_asked("8.7")
def retried(loop: Loop, job: Job, program: Program) -> Answer:
    """Only failed tenants are retried."""
    call = _sends(loop, job)
    if call is None:
        return failed(f"{_where(loop)}: a second try begins with the first tenant again", EACH)
    sent = [
        each
        for each in program.jobs
        if call.names.dotted(call.node.func).startswith(f"{each.task.__module__}.{getattr(each.task, '__name__', '')}.")
    ]
    if sent and (autoretry(sent[0]) or retries(sent[0])):
        return passed(f"{sent[0].name} is tried again by itself")
    if sent:
        return failed(
            f"{sent[0].name}, which does a tenant's share, is not tried again",
            "Give it autoretry_for and retry_backoff.",
        )
    return unknown(f"{call.written}() at {call.place}: which task does the share is not seen", "Is it tried again?")


@check("8.8")
def spread(job: Job, program: Program) -> Answer:
    """Fires spread over a window instead of the round second."""
    found = fan_outs(job) if job.source.known else []
    sends = _sends(found[0], job) if found else None
    if sends is not None:
        given = " ".join(
            ast.unparse(sends.names.standing_for(each))
            for name, each in sends.keywords.items()
            if name in {"countdown", "eta"}
        )
        if re.search(r"random|uniform|jitter|hash|%", given):
            return passed(f"countdown={given} ({sends.place})")
    if (answer := unscheduled(job, program)) is not None:
        if sends is not None and answer.verdict == "N/A":
            return failed(
                f"{sends.written}() at {sends.place}: all at once", "apply_async(countdown=random.uniform(0, 600))."
            )
        return answer
    jittered = [each for each in job.source.sleeps if "random" in ast.unparse(each.node)]
    if jittered:
        return passed(f"{ast.unparse(jittered[0].node)} at {jittered[0].place}")
    if all(isinstance(each.rule, Every) for each in job.entries):
        return passed("an interval, which counts from the start of Beat and not from the round second")
    entry = job.entries[0]
    said = entry.rule.explain() if entry.rule is not None else str(entry.written)
    return failed(
        f"{entry.name}: {said}, on second 0, as everybody's",
        "Begin with a random wait, or send with countdown=random.uniform(0, 300).",
    )


@_asked("8.9", loops=of_tenants)
def identity(loop: Loop, job: Job, program: Program) -> Answer:
    """Tenant and job identity in every log line and error report."""
    bound = [each for each in job.source.calls if each.last in BIND]
    if bound:
        return passed(f"{bound[0].written}() at {bound[0].place}")
    call = _sends(loop, job)
    if call is not None:
        return failed(
            f"{call.written}() at {call.place}: the log of that task has its id, and not its tenant",
            "structlog.contextvars.bind_contextvars(tenant=…), sentry_sdk.set_tag('tenant', …).",
        )
    return failed(
        f"{_where(loop)}: a line from within does not say of whom",
        "structlog.contextvars.bind_contextvars(tenant=…), sentry_sdk.set_tag('tenant', …).",
    )
