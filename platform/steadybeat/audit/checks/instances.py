"""Section 7, many instances: what is so however many processes work on one queue, and when some of them die."""

from __future__ import annotations

from celery.utils.imports import symbol_by_name

from steadybeat.audit import by_hand, machines, record
from steadybeat.audit.answer import Answer, failed, not_applicable, partly, passed, unknown
from steadybeat.audit.checking import check
from steadybeat.audit.fanned import fan_of
from steadybeat.audit.guard import gap, lease
from steadybeat.audit.subject import Subject
from steadybeat.audit.surroundings import Surroundings
from steadybeat.audit.telling import is_told
from steadybeat.audit.timed import queue_of, timed
from steadybeat.beat import SteadyScheduler


@check("7.1")
def one_execution(subject: Subject, around: Surroundings) -> Answer:
    """One execution, however many instances there are."""
    why = gap(subject.task)
    if why:
        return by_hand.turn(subject.source, why)
    if not subject.schedules:
        return passed(f"{lease(subject.task)}; a second delivery finds the claim of the first")
    scheduler = _scheduler(around)
    if not issubclass(scheduler, SteadyScheduler):
        return failed(_foreign(scheduler), "leave beat_scheduler out")
    return passed(f"{lease(subject.task)}; {scheduler.__qualname__} gives each fire the run id that its time makes")


def _scheduler(around: Surroundings) -> type:
    found: type = symbol_by_name(around.conf.beat_scheduler)
    return found


def _foreign(scheduler: type) -> str:
    return f"beat_scheduler={scheduler.__module__}:{scheduler.__qualname__} fires past the ledger"


@check("7.2")
def any_worker(subject: Subject, around: Surroundings) -> Answer:
    """Any worker may run any job of its queue."""
    source, queue = subject.source, queue_of(around.app, subject.name)
    if around.conf.worker_direct:
        return partly(
            "worker_direct=True: what is sent to the queue of one worker waits for that one", "leave worker_direct out"
        )
    if not source.known:
        return by_hand.unread(source, f"queue={queue}")
    own = machines.local_state(source)
    if own:
        return failed(f"queue={queue}; its code keeps on its machine what the next run finds: {own}", machines.SHARE)
    return passed(f"queue={queue}; its code keeps nothing on its machine ({source.place})")


@check("7.3")
def instance_id(subject: Subject, around: Surroundings) -> Answer:
    """Each log line and each run says which instance it is of."""
    why = gap(subject.task)
    if why:
        return failed(f"{why}: no run says where it was worked on", "let its runs be recorded")
    if not around.conf.worker_hijack_root_logger:
        return partly(
            "each run has its instance; worker_hijack_root_logger=False lets lines be written by handlers of others",
            "leave worker_hijack_root_logger out, or let your formatter write the field `instance`",
        )
    runs = record.recent(around)
    if runs is None:
        return unknown(f"lines carry `instance`; whether runs do: {record.away(around)}", record.REACH)
    found = runs.get(subject.name)
    if found is not None and found.placeless_count:
        return failed(f"{found.placeless_count} runs are at work nobody knows where", "celery -A … ledger status")
    return passed("worker_hijack_root_logger=True: each line has `instance` (host:pid:role), each attempt its instance")


@check("7.4")
def failover(subject: Subject, around: Surroundings) -> Answer:
    """Another scheduler takes over when one dies."""
    if not subject.schedules:
        return not_applicable("it has no schedule")
    scheduler = _scheduler(around)
    if not issubclass(scheduler, SteadyScheduler):
        return failed(_foreign(scheduler), "leave beat_scheduler out")
    lasts = f"steadybeat_leader_lock_seconds={around.settings.leader_lock_seconds:g} s"
    beats = record.living(around, "beat")
    if beats is None:
        return unknown(f"{lasts}; how many Beats live: {record.away(around)}", record.REACH)
    if not beats:
        return failed(f"{lasts}; no Beat lives, by steadybeat.instances", "run two: celery -A … beat")
    named = ", ".join(f"{each.host}:{each.pid}" for each in beats)
    if len(beats) == 1:
        return partly(f"{lasts}; one Beat lives: {named}", "run a second one, on another host")
    return passed(f"{lasts}; {len(beats)} Beats live: {named}")


@check("7.5")
def dead_holder(subject: Subject, around: Surroundings) -> Answer:
    """A dead holder blocks nobody for longer than an attempt may take."""
    task, why = subject.task, gap(subject.task)
    if why:
        return by_hand.dead_holder(subject.source, why, by_hand.limit_of(task))
    lasts, limit = around.settings.lease_seconds, task.time_limit
    own = by_hand.lock_of(subject.source)
    if own is not None:
        answer = by_hand.dead_holder(subject.source, "", limit)
        if answer.verdict != "PASS":
            return answer
    said = f"what a dead instance holds is free after steadybeat_lease_seconds={lasts:g} s; time_limit={limit:g} s"
    if lasts > limit:
        return failed(said, f"let steadybeat_lease_seconds be at most {limit:g}")
    return passed(said)


@check("7.6")
def stuck_instance(subject: Subject, around: Surroundings) -> Answer:
    """A health check sees an instance that lives and does nothing."""
    settings = around.settings
    own = f"`celery -A … health worker` fails after steadybeat_health_seconds={settings.health_seconds:g} s"
    if not settings.canary_seconds:
        return partly(
            f"{own}; steadybeat_canary_seconds=0: no queue is asked whether its workers consume",
            "let steadybeat_canary_seconds be 60",
        )
    queue = queue_of(around.app, subject.name)
    asked = f"{own}; queue {queue} is asked each steadybeat_canary_seconds={settings.canary_seconds:g} s"
    return is_told(subject, around, "not_consuming", "worker_silent", also=asked)


@check("7.7")
def without_schedulers(subject: Subject, around: Surroundings) -> Answer:
    """Workers can be added without adding schedulers."""
    living = record.instances(around)
    if living is None:
        return unknown(f"which processes live: {record.away(around)}", record.REACH)
    of = {role: {(each.host, each.pid) for each in living if each.role == role} for role in ("worker", "beat")}
    both = of["worker"] & of["beat"]
    if both:
        shown = ", ".join(f"{host}:{pid}" for host, pid in sorted(both))
        return failed(f"worker and Beat are one process: {shown}", "start workers without -B, and Beats by themselves")
    if not of["worker"]:
        return unknown("no worker lives, by steadybeat.instances", "start the workers, and run the audit again")
    return passed(f"{len(of['worker'])} workers and {len(of['beat'])} Beats live, none in one process")


@check("7.8")
def contention(subject: Subject, around: Surroundings) -> Answer:
    """So many of its runs are worked on at a time, and no more."""
    bounds = [*_own_bounds(subject), *_pool_bounds(around)]
    if bounds:
        return passed("; ".join(bounds))
    queue, prefetch = queue_of(around.app, subject.name), around.conf.worker_prefetch_multiplier
    return partly(
        f"worker_concurrency={around.conf.worker_concurrency}, worker_prefetch_multiplier={prefetch}: as many runs of"
        f" queue {queue} as its machines have processors, and what they take ahead",
        "set worker_concurrency, and worker_prefetch_multiplier=1; or concurrency= of the task",
    )


def _own_bounds(subject: Subject) -> list[str]:
    task, found = subject.task, list[str]()
    if gap(task):
        return found
    if task.lock:
        found.append(f"lock={task.lock!r}")
    if task.concurrency is not None:
        key = f" for each {task.concurrency_key!r}" if task.concurrency_key else ""
        found.append(f"concurrency={task.concurrency}{key}")
    if subject.schedules and all(each.policies.overlap != "allow" for each in timed(subject)):
        found.append("overlap= lets one run of its schedule go on at a time")
    fan = fan_of(task, subject.source)
    if fan is not None and fan.concurrency is not None:
        found.append(f"{fan.said}: concurrency={fan.concurrency} tenants")
    return found


def _pool_bounds(around: Surroundings) -> list[str]:
    processes, prefetch = around.conf.worker_concurrency, around.conf.worker_prefetch_multiplier
    if not processes:
        return []
    workers = f"worker_concurrency={processes} for each worker of its queue"
    return [f"{workers}, worker_prefetch_multiplier={prefetch}"] if prefetch == 1 else []


@check("7.9")
def pools(subject: Subject, around: Surroundings) -> Answer:
    """Pools of connections are bounded."""
    said, unbounded = list[str](), list[str]()
    limit = around.conf.broker_pool_limit
    (said if limit else unbounded).append(f"broker_pool_limit={limit}")
    said.append(f"steadybeat_ledger_pool_count={around.settings.ledger_pool_count}")
    backend = str(around.conf.result_backend or "")
    if backend.startswith(("redis", "rediss")):
        most = around.conf.redis_max_connections
        (said if most else unbounded).append(f"redis_max_connections={most} of the result backend")
    for call in subject.source.called("create_engine", "create_async_engine"):
        own = machines.engine_bounds(call)
        (unbounded if own.unbounded else said).append(own.said)
    if unbounded:
        return failed(f"without a bound: {', '.join(unbounded)}; with one: {', '.join(said) or 'none'}", machines.BOUND)
    if not subject.source.known:
        return by_hand.unread(subject.source, "; ".join(said))
    return passed("; ".join(said))
