"""Section 8, tenants and fan-out: who has a turn, in which order, and what one tenant's failure does to others.

Lines 8.1 to 8.7 are asked of a task that works for many tenants: by a fan-out, or by a loop of its own over them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from steadybeat.audit import by_hand, loops
from steadybeat.audit.answer import Answer, failed, not_applicable, partly, passed
from steadybeat.audit.checking import check
from steadybeat.audit.fanned import Fan, fan_of, loop_of
from steadybeat.audit.guard import gap
from steadybeat.audit.monitored import worst
from steadybeat.audit.source import Loop, Source
from steadybeat.audit.subject import Subject
from steadybeat.audit.surroundings import Surroundings
from steadybeat.audit.timed import Timed, timed
from steadybeat.schedule.hashing import has_hash
from steadybeat.telemetry import crashes

OfFan = Callable[[Any, Any, Fan], Answer]


def _of_tenants(by_loop: Callable[[Source, Loop], Answer]) -> Callable[[OfFan], Callable[[Any, Any], Answer]]:
    """Ask a question about a fan-out; of a loop over tenants, another; of anything else, none.

    Args:
        by_loop: What is said of a loop.
    """

    def decorate(ask: OfFan) -> Callable[[Any, Any], Answer]:
        @functools.wraps(ask)
        def asked(subject: Subject, around: Surroundings) -> Answer:
            source, why = subject.source, gap(subject.task)
            fan = None if why else fan_of(subject.task, source)
            if fan is not None:
                return ask(subject, around, fan)
            if not source.known:
                return by_hand.unread(source, why or "it has no for_each=")
            loop = loop_of(source)
            if loop is None:
                return not_applicable("it works for no list of tenants: no for_each=, no fan_out(), no loop over them")
            return by_loop(source, loop)

        return asked

    return decorate


@check("8.1")
@_of_tenants(loops.eligibility)
def eligibility(subject: Subject, around: Surroundings, fan: Fan) -> Answer:
    """Who has a turn is decided by a policy, outside of the job's query."""
    if fan.policy is None:
        return failed(f"{fan.said}: no policy is asked who is in", "pass tenants=eligible('…')")
    return passed(f"{fan.said}: eligible({fan.policy!r}), `celery -A … tenants list`")


@check("8.2")
@_of_tenants(loops.skipped)
def skipped(subject: Subject, around: Surroundings, fan: Fan) -> Answer:
    """Who is left out is on record, with the reason."""
    if fan.policy is None:
        return failed(f"{fan.said}: whoever its own query leaves out is not written down", "pass tenants=eligible('…')")
    return passed(f"{fan.said}: who {fan.policy!r} leaves out is in steadybeat.skipped_tenants, run by run, and why")


@check("8.3")
@_of_tenants(loops.order)
def order(subject: Subject, around: Surroundings, fan: Fan) -> Answer:
    """The order is another one each time."""
    if fan.seed is not None:
        return failed(f"{fan.said}: seed={fan.seed!r}: the same tenants come last each time", "leave seed= out")
    return passed(f"{fan.said}: no seed=, so that each fan-out has an order of its own, by a hash")


@check("8.4")
@_of_tenants(loops.concurrency)
def concurrency(subject: Subject, around: Surroundings, fan: Fan) -> Answer:
    """So many tenants are worked for at a time, as configured."""
    if fan.concurrency is not None:
        return passed(f"{fan.said}: concurrency={fan.concurrency}")
    most = around.settings.fan_out_count
    if most > 1_000:
        return partly(f"{fan.said}: steadybeat_fan_out_count={most}", "pass concurrency=")
    return passed(f"{fan.said}: steadybeat_fan_out_count={most}")


@check("8.5")
@_of_tenants(loops.isolation)
def isolation(subject: Subject, around: Surroundings, fan: Fan) -> Answer:
    """One tenant's failure leaves the others alone."""
    if fan.abort_when is not None and fan.abort_when == 1 and isinstance(fan.abort_when, int):
        return failed(f"{fan.said}: abort_when=1: the first dead run ends all others", "let abort_when be a share")
    given_up = f", given up after abort_when={fan.abort_when:g}" if fan.abort_when is not None else ""
    return passed(f"{fan.said}: a run for each tenant, with attempts, time limit and dead letter of its own{given_up}")


@check("8.6")
@_of_tenants(loops.shutdown)
def shutdown(subject: Subject, around: Surroundings, fan: Fan) -> Answer:
    """A worker that ends starts nobody new, and says who is not done."""
    why = _target_gap(subject, fan)
    if why:
        return failed(why, "let the runs of tenants be recorded")
    return passed(f"{fan.said}: Keeper.sign_off logs `tenants left`; who has not begun stays in line in the ledger")


def _target_gap(subject: Subject, fan: Fan) -> str:
    """Return why the runs of tenants are not guarded, or an empty text."""
    target = subject.task.app.tasks.get(fan.target) if fan.target else None
    why = gap(target) if target is not None else ""
    return f"{fan.said}: {fan.target}: {why}" if why else ""


@check("8.7")
@_of_tenants(loops.retries)
def retries(subject: Subject, around: Surroundings, fan: Fan) -> Answer:
    """Only tenants that failed are tried again."""
    why = _target_gap(subject, fan)
    if why:
        return failed(why, "let the runs of tenants be recorded")
    target = subject.task.app.tasks.get(fan.target) if fan.target else None
    tries = f"{fan.target}: max_retries={target.max_retries}; " if target is not None else ""
    return passed(f"{fan.said}: {tries}`celery -A … runs rerun RUN --only failed`")


@check("8.8")
def spread(subject: Subject, around: Surroundings) -> Answer:
    """Fires are spread over a window instead of the round second."""
    if not subject.schedules:
        return not_applicable("it has no schedule")
    fan = None if gap(subject.task) else fan_of(subject.task, subject.source)
    return worst([_spread(each, fan) for each in timed(subject)])


def _spread(schedule: Timed, fan: Fan | None) -> Answer:
    width = schedule.policies.jitter
    if width:
        return passed(f"{schedule.name}: jitter={width.total_seconds():g} s")
    if fan is not None and fan.spread:
        return passed(f"{schedule.name}: {fan.said}: spread={fan.spread}")
    written = str(getattr(schedule.written.get("schedule"), "expression", ""))
    if has_hash(written):
        return passed(f"{schedule.name}: {written!r}: its name chooses when it is due")
    return failed(
        f"{schedule.name}: no jitter=, no H in its expression, no spread=: it is due in the round second with others",
        "give it jitter=timedelta(…)",
    )


@check("8.9")
def identity(subject: Subject, around: Surroundings) -> Answer:
    """Each log line and each error report says of which job, run and tenant it is."""
    why = gap(subject.task)
    if why:
        return failed(f"{why}: its lines have no run", "let its runs be recorded")
    if not around.conf.worker_hijack_root_logger:
        return partly(
            "worker_hijack_root_logger=False: lines are written by handlers of others, which need not say so",
            "leave worker_hijack_root_logger out",
        )
    reports = f"reports to Sentry are tagged with {', '.join(crashes.TAGS)}"
    dsn = "" if around.settings.sentry_dsn else " (steadybeat_sentry_dsn is empty: none are sent)"
    return passed(f"each line of a run has task, schedule, run_id and tenant; {reports}{dsn}")
