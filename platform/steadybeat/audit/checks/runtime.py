"""Section 6, runtime: in what a task runs, and what it does to that."""

from __future__ import annotations

import functools
from importlib import metadata
from typing import Any

from celery.utils.imports import symbol_by_name

from steadybeat.audit import by_hand, doing, pooled, record
from steadybeat.audit.answer import Answer, failed, not_applicable, partly, passed, unknown
from steadybeat.audit.checking import check
from steadybeat.audit.guard import gap
from steadybeat.audit.source import Call, Source
from steadybeat.audit.source.effects import TIMEOUTS
from steadybeat.audit.subject import Subject
from steadybeat.audit.surroundings import Surroundings
from steadybeat.audit.timed import queue_of
from steadybeat.beat import SteadyScheduler
from steadybeat.wording import count

_MAINTAINED = ("steadybeat", "redbeat", "celery", "django_celery_beat")
_OWN_SCHEDULERS = ("schedule.", "apscheduler.", "sched.", "threading.Timer")
_BEHIND = "celery -A … schedules apply"


@check("6.1")
def scheduler(subject: Subject, around: Surroundings) -> Answer:
    """What says when it is due is a library that somebody maintains."""
    own = subject.source.called(*_OWN_SCHEDULERS)
    if own:
        return failed(
            f"`{own[0].written}(…)` at {own[0].place}: its code schedules by itself", "give it a schedule= instead"
        )
    if not subject.schedules:
        return not_applicable("it has no schedule")
    kind = symbol_by_name(around.conf.beat_scheduler)
    said = f"beat_scheduler={kind.__module__}:{kind.__qualname__}"
    if kind.__module__.partition(".")[0] not in _MAINTAINED:
        return failed(f"{said}: nobody but its authors maintains it", "leave beat_scheduler out")
    return passed(f"{said}, on {_versions()}")


@functools.lru_cache(maxsize=1)
def _versions() -> str:
    return ", ".join(f"{name} {metadata.version(name)}" for name in ("celery", "celery-redbeat"))


@check("6.2")
def survives(subject: Subject, around: Surroundings) -> Answer:
    """Schedules and queue are there again after a restart of everything."""
    why = gap(subject.task)
    if why:
        return failed(f"{why}: its messages are in the broker alone", "let its runs be recorded")
    if subject.schedules and not issubclass(symbol_by_name(around.conf.beat_scheduler), SteadyScheduler):
        return failed(
            f"beat_scheduler={around.conf.beat_scheduler} keeps its schedules elsewhere", "leave beat_scheduler out"
        )
    kept = _in_ledger(around)
    if kept is None:
        return unknown(
            f"each run is a row before it is sent; whether its schedules are: {record.away(around)}", record.REACH
        )
    missing = [each.name for each in subject.schedules if each.name not in kept]
    if missing:
        return failed(f"the ledger does not have the schedule {', '.join(missing)}", _BEHIND)
    named = ", ".join(each.name for each in subject.schedules)
    return passed(f"{f'steadybeat.schedules has {named}; ' if named else ''}each run is a row before it is sent")


def _in_ledger(around: Surroundings) -> set[str] | None:
    return around.ledger("schedules", lambda ledger: {row.name for row in ledger.schedules.all()})


@check("6.3")
def streamed(subject: Subject, around: Surroundings) -> Answer:
    """What it reads is never in memory as a whole, however much it is."""
    source = subject.source
    if not source.known:
        return by_hand.unread(source, "what it reads")
    whole = [each for each in source.loaded if not _is_bounded(source, each)]
    if whole:
        return failed(
            f"`{whole[0].written[-80:]}(…)` at {whole[0].place}: all of it at once",
            "go through it in pieces: .limit(…) behind the last id, yield_per, fetchmany, chunksize=",
        )
    reads = [each for each in source.statements if not each.changes]
    if not reads and not source.outside:
        return not_applicable(f"its code reads no rows and no answers ({source.place})")
    bounded = ", ".join(dict.fromkeys(f"{each.last}() at {each.place}" for each in source.batched[:3]))
    return passed(f"{count(len(reads), 'read')} of rows, none takes all there is{f': {bounded}' if bounded else ''}")


def _is_bounded(source: Source, call: Call) -> bool:
    """Return whether the function that takes all there is asks for so many rows, or gets what a write returns."""
    near = [each for each in source.batched if each.function == call.function]
    return bool(near) or ".returning(" in call.written or "returning(" in call.written


@check("6.4")
def memory(subject: Subject, around: Surroundings) -> Answer:
    """How much memory it takes is measured, and too much has an end."""
    bounds, threads, why = pooled.memory_bounds(subject, around), pooled.shared(around), gap(subject.task)
    if not bounds:
        measured = "" if why else "the peak of each attempt is written down; "
        remedy = "set memory_limit= of the task, or worker_max_memory_per_child"
        said = f"{measured}memory_limit and worker_max_memory_per_child are not set"
        return failed(f"{said}; {why}", remedy) if why else partly(said, remedy)
    if threads:
        return failed(f"{', '.join(bounds)}; {threads}: a process cannot be replaced there", pooled.USE_PREFORK)
    if why:
        return partly(f"{', '.join(bounds)}; {why}", "let its runs be recorded: each attempt's peak is on record then")
    return passed(f"{', '.join(bounds)}; the peak of each attempt is written down (steadybeat.attempts)")


@check("6.5")
def yields(subject: Subject, around: Surroundings) -> Answer:
    """Its long loops hear of a cancellation, and of a worker that ends."""
    source = subject.source
    if not source.known:
        return by_hand.unread(source, "its loops")
    loops = doing.working_loops(source)
    if not loops:
        return not_applicable(f"it has no loop in which anything is done ({source.place})")
    deaf = [each for each in loops if not doing.goes_on(source, each)]
    remedy = "go through it with self.iterate(…), or ask self.should_stop in each round"
    if deaf:
        return failed(f"{doing.said_of(deaf[0])}: never asks whether to go on", remedy)
    if gap(subject.task):
        return partly(f"{doing.said_of(loops[0])} asks, and {gap(subject.task)}", "let its runs be recorded")
    return passed("; ".join(dict.fromkeys(f"{doing.said_of(each)} asks whether to go on" for each in loops)))


@check("6.6")
def outside_web(subject: Subject, around: Surroundings) -> Answer:
    """It works in a worker, and in no process that answers the web."""
    if around.conf.task_always_eager:
        return failed("task_always_eager=True: whoever sends it does its work", "leave task_always_eager out")
    queue = queue_of(around.app, subject.name)
    workers = record.living(around, "worker")
    if workers is None:
        return unknown(f"task_always_eager=False; who works on queue {queue}: {record.away(around)}", record.REACH)
    if not workers:
        return unknown(
            "task_always_eager=False; no worker lives, by steadybeat.instances",
            "start its workers, celery -A … worker, and run the audit again",
        )
    takers = record.consumers(around, queue)
    if takers is not None and not takers.alive_count and not takers.may_be_more:
        return unknown(
            f"task_always_eager=False; {count(len(workers), 'worker')} alive, none of queue {queue}",
            f"start a worker of it, celery -A … worker -Q {queue}, and run the audit again",
        )
    named = ", ".join(f"{each.host}:{each.pid}" for each in workers[:3])
    of_queue = f", {takers.alive_count} of queue {queue}" if takers is not None and takers.alive_count else ""
    alive = f"{count(len(workers), 'worker')} alive{of_queue}, outside of any web process"
    return passed(f"task_always_eager=False; {alive}: {named}")


@check("6.7")
def scheduler_apart(subject: Subject, around: Surroundings) -> Answer:
    """However much it computes, the scheduler goes on."""
    threads = pooled.shared(around)
    if threads:
        return failed(
            f"{threads}: what computes keeps the signs of life of its worker from going on", pooled.USE_PREFORK
        )
    living = record.instances(around)
    if living is None:
        return unknown(f"whether Beat is a process of its own: {record.away(around)}", record.REACH)
    beats, workers = ({_place(each) for each in living if each.role == role} for role in ("beat", "worker"))
    if beats & workers:
        host, pid = sorted(beats & workers)[0]
        return failed(f"{host}:{pid} is worker and Beat in one", "start Beat by itself: celery -A … beat, without -B")
    if not beats:
        return unknown("no Beat lives, by steadybeat.instances", "start celery -A … beat, and run the audit again")
    shown = ", ".join(f"{host}:{pid}" for host, pid in sorted(beats))
    return passed(f"worker_pool={around.conf.worker_pool!r}; Beat is a process of its own: {shown}")


def _place(instance: Any) -> tuple[str, int]:
    return instance.host, instance.pid


@check("6.8")
def killed(subject: Subject, around: Surroundings) -> Answer:
    """A process that hangs is killed, and so is what it has started."""
    source, limit, threads = subject.source, by_hand.limit_of(subject.task), pooled.shared(around)
    if not limit:
        return failed(pooled.limits(subject), "set time_limit=")
    if threads:
        return failed(f"{pooled.limits(subject)}; {threads}: nothing can be killed there", pooled.USE_PREFORK)
    started = [each for each in source.children if not TIMEOUTS & set(each.keywords)]
    if started:
        return failed(
            f"`{started[0].written}(…)` at {started[0].place} has no timeout=, and outlives the process that is killed",
            "give it a timeout= below time_limit",
        )
    if not source.known:
        return by_hand.unread(source, pooled.limits(subject))
    return passed(f"{pooled.limits(subject)}; worker_pool={around.conf.worker_pool!r}: its process is killed then")
