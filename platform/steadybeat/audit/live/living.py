"""Living: who is there, who leads, who consumes what, and whether they agree with the code and with each other."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from steadybeat.audit.live.inequality import PLATFORM, Answer, cannot_be_asked, holds, inequality, violated
from steadybeat.audit.live.readings import Difference, Readings, read
from steadybeat.errors import did_you_mean
from steadybeat.wording import count, length

BEATS = 2
WATCHDOGS = 1


def _named(names: Iterable[str], most: int = 5) -> str:
    listed = sorted(names)
    others = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {others} more" if others > 0 else "") if listed else "none"


@inequality(
    "clock is off Postgres' by no more than steadybeat_clock_skew_seconds, of each instance",
    change="NTP on the machine",
)
def clocks_agree(seen: Readings) -> Iterable[Answer]:
    """A Beat whose clock is off does not lead; a worker's lines and deadlines are off by as much."""
    allowed = seen.settings.clock_skew_seconds
    measured = [each for each in read(seen.ledger).instances if each.clock_offset_seconds is not None]
    if not measured:
        return [cannot_be_asked(PLATFORM, "no instance lives that has measured its clock against Postgres'")]
    wrong = [
        violated(
            each.called,
            f"clock_offset_seconds={each.clock_offset_seconds:+.3g} (instances),"
            f" steadybeat_clock_skew_seconds={allowed:g}",
            "set its machine's clock by NTP (chronyc tracking)",
            queues=each.queues or None,
        )
        for each in measured
        if abs(each.clock_offset_seconds or 0.0) > allowed
    ]
    most = max(measured, key=lambda each: abs(each.clock_offset_seconds or 0.0))
    evidence = f"most is {most.clock_offset_seconds:+.3g} s ({most.called}), steadybeat_clock_skew_seconds={allowed:g}"
    return wrong or [holds(f"{len(measured)} instances", evidence)]


def _enough(seen: Readings, role: str, least: int) -> Iterable[Answer]:
    alive = read(seen.ledger).alive(role)
    evidence = f"{len(alive)} alive (instances): {_named(each.called for each in alive)}"
    if len(alive) >= least:
        return [holds(PLATFORM, evidence)]
    where = f"are {least}, on machines that do not depend on each other" if least > 1 else "is one"
    return [violated(PLATFORM, evidence, f"start `celery -A … {role}` until there {where}")]


@inequality(f"Beats alive ≥ {BEATS}", change="replicas of `celery -A … beat`")
def beats_are_two(seen: Readings) -> Iterable[Answer]:
    """When the one Beat dies, or its machine, no fire is dispatched until somebody starts it again."""
    return _enough(seen, "beat", BEATS)


@inequality(f"watchdogs alive ≥ {WATCHDOGS}", change="replicas of `celery -A … watchdog`")
def a_watchdog_watches(seen: Readings) -> Iterable[Answer]:
    """Nobody is told of what is wrong."""
    return _enough(seen, "watchdog", WATCHDOGS)


@inequality(
    "Beats that lead = 1, heard of within steadybeat_leaderless_seconds, where there are schedules",
    change="`celery -A … beat`; `celery -A … health beat` on its machine",
)
def one_beat_leads(seen: Readings) -> Iterable[Answer]:
    """With none no fire is dispatched; two that believe to lead send each fire twice, which the claim turns away."""
    ledger, within = read(seen.ledger), timedelta(seconds=seen.settings.leaderless_seconds)
    if not ledger.has_schedules:
        return [cannot_be_asked(PLATFORM, "the ledger has no schedule that is not paused")]
    fresh = [each for each in ledger.terms if not each.has_ended and ledger.now - each.heard_at <= within]
    alive = {each.id for each in ledger.instances}
    leading = [each for each in fresh if each.instance in alive]
    shown = "; ".join(
        f"term {each.term} of {each.host} heard of {length(ledger.now - each.heard_at)} ago" for each in leading
    )
    evidence = shown or (
        f"last: term {ledger.terms[0].term} of {ledger.terms[0].host}, heard of"
        f" {length(ledger.now - ledger.terms[0].heard_at)} ago"
        if ledger.terms
        else "leaderships has no row: no Beat has ever led"
    )
    evidence += f" (leaderships), steadybeat_leaderless_seconds={seen.settings.leaderless_seconds:g}"
    if len(leading) == 1:
        return [holds(PLATFORM, evidence)]
    way_out = "start `celery -A … beat`, and see the log of those that live for why they stand by"
    if leading:
        way_out = "see the logs of both: one of them must say `beat stands by` within a poll, or its Redis is another"
    return [violated(PLATFORM, evidence, way_out)]


@inequality(
    "each queue has answered its canary within 2 × steadybeat_canary_seconds, where somebody consumes from it",
    change="`celery -A … inspect active` of its workers, and their pools",
)
def canaries_are_answered(seen: Readings) -> Iterable[Answer]:
    """A worker lives and takes no message: its runs wait, and nobody takes them over."""
    ledger, pause = read(seen.ledger), seen.settings.canary_seconds
    if not pause:
        return [cannot_be_asked(PLATFORM, "steadybeat_canary_seconds=0: no queue is asked")]
    consumed = {queue for each in ledger.alive("worker") for queue in each.queues}
    asked = [each for each in ledger.canaries if each.queue in consumed]
    if not asked:
        return [cannot_be_asked(PLATFORM, "no watchdog has asked a queue yet from which somebody consumes")]
    wrong = [
        violated(
            each.queue,
            f"unanswered for {length(ledger.now - each.unanswered_since)} (canaries),"
            f" steadybeat_canary_seconds={pause:g}",
            "look at its workers: `celery -A … inspect active`; restart one whose pool hangs",
            service=each.queue,
            queues=[each.queue],
        )
        for each in asked
        if each.unanswered_since and (ledger.now - each.unanswered_since).total_seconds() > 2 * pause
    ]
    return wrong or [holds(f"{len(asked)} queues", f"{_named(each.queue for each in asked)} (canaries)")]


@inequality(
    "workers that answer by remote control = workers alive in the ledger",
    change="`celery -A … health worker` on its machine; steadybeat_database_url of the worker",
)
def workers_answer(seen: Readings) -> Iterable[Answer]:
    """One that lives and does not answer has an event loop that stands still; one that answers and is in no row works
    with another ledger, and its runs are not protected by this one.
    """
    alive = {each.called: each for each in read(seen.ledger).alive("worker")}
    answered = {each.called: each for each in read(seen.workers)}
    wrong = [
        violated(
            name,
            "alive (instances), and no answer (inspect)",
            "run `celery -A … health worker` on its machine, and restart it",
            queues=alive[name].queues,
        )
        for name in sorted(alive.keys() - answered.keys())
    ] + [
        violated(
            name,
            "answers (inspect), and is not alive (instances)",
            "compare its STEADYBEAT_DATABASE_URL with this one: it is no instance of this ledger",
            queues=answered[name].queues,
        )
        for name in sorted(answered.keys() - alive.keys())
    ]
    if not alive and not answered:
        return [cannot_be_asked(PLATFORM, "no worker lives, and none answers")]
    return wrong or [holds(f"{len(alive)} workers", _named(alive))]


@inequality(
    "consumers ≥ 1, of each queue that a task is sent to", change="-Q of the workers; task_routes, queue or service"
)
def queues_have_consumers(seen: Readings) -> Iterable[Answer]:
    """What is sent there waits for ever."""
    wanted = seen.queues_wanted()
    workers = read(seen.ledger).alive("worker")
    consumed = {queue for each in workers for queue in each.queues}
    if not wanted:
        return [cannot_be_asked(PLATFORM, "this program has no task that is sent anywhere")]
    wrong = [
        violated(
            queue,
            f"{count(len(tasks), 'task')} ({_named(task.name for task in tasks)}); consumed are {_named(consumed)}"
            " (instances)",
            f"start `celery -A … worker -Q {queue}`",
            service=tasks[0].service,
            queues=[queue],
        )
        for queue, tasks in sorted(wanted.items())
        if queue not in consumed
    ]
    counts = ", ".join(f"{queue} {sum(queue in each.queues for each in workers)}" for queue in sorted(wanted))
    return wrong or [holds(f"{len(wanted)} queues", f"consumers: {counts} (instances)")]


@inequality("workers ≥ 1, of each service", change="replicas of `celery -A … worker`")
def services_have_workers(seen: Readings) -> Iterable[Answer]:
    """No task of the service runs."""
    queues: dict[str, set[str]] = {}
    for task in seen.tasks:
        queues.setdefault(task.service, set()).update([task.queue] if task.queue else [])
    if not queues:
        return [cannot_be_asked(PLATFORM, "this program has no task, and so no service")]
    workers = read(seen.ledger).alive("worker")
    serving = {service: [each for each in workers if each.queues & wanted] for service, wanted in queues.items()}
    wrong = [
        violated(
            service,
            f"no worker that lives consumes {_named(queues[service])} (instances)",
            f"start `celery -A … worker -Q {','.join(sorted(queues[service])) or service}`",
            service=service,
            queues=queues[service],
        )
        for service in sorted(serving)
        if not serving[service]
    ]
    counts = ", ".join(f"{service} {len(found)}" for service, found in sorted(serving.items()))
    return wrong or [holds(f"{len(serving)} services", f"workers: {counts} (instances)")]


@inequality("each task is sent to a queue that is declared", change="task_routes, queue= or steadybeat_services")
def routes_are_declared(seen: Readings) -> Iterable[Answer]:
    """To call it is an error: no run is made, and its fires are skipped."""
    if not seen.tasks:
        return [cannot_be_asked(PLATFORM, "this program has no task")]
    wrong = [
        violated(
            task.name,
            task.unroutable,
            "name a queue in task_routes or queue= that a service has, or its service in steadybeat_services",
            service=task.service,
            queues=[],
        )
        for task in seen.tasks
        if task.queue is None
    ]
    return wrong or [holds(f"{len(seen.tasks)} tasks", f"queues: {_named(seen.queues_wanted(), 12)} (router)")]


@inequality(
    "each worker has the code of every task that is sent to a queue of its own",
    change="imports of the worker's app; its release",
    risk="lost",
)
def consumers_know_their_tasks(seen: Readings) -> Iterable[Answer]:
    """It takes messages that it cannot work on: their runs become dead letters, others are set aside."""
    wanted, workers = seen.queues_wanted(), read(seen.workers)
    if not workers:
        return [cannot_be_asked(PLATFORM, "no worker answers")]
    wrong = []
    for worker in workers:
        missing = {
            queue: [task.name for task in wanted.get(queue, ()) if task.name not in worker.tasks]
            for queue in worker.queues
        }
        lacking = {queue: names for queue, names in missing.items() if names}
        if lacking:
            names = {name for each in lacking.values() for name in each}
            wrong.append(
                violated(
                    worker.called,
                    f"consumes {_named(lacking)}, has no {_named(names)} (inspect registered)",
                    "start it with this release and this app, or let it consume other queues",
                    risks=True,
                    queues=lacking,
                )
            )
    return wrong or [
        holds(f"{len(workers)} workers", f"{_named(each.called for each in workers)} (inspect registered)")
    ]


@inequality(
    "visibility timeout of each worker = that of this program",
    change="broker_transport_options['visibility_timeout'] of the worker",
    risk="doubled",
)
def workers_agree_on_visibility(seen: Readings) -> Iterable[Answer]:
    """Any one worker with a shorter one delivers again what others still work on; what is said here of visibility holds
    only where all have this one.
    """
    here = seen.configured.visibility_seconds
    told = {each: each.visibility_seconds for each in read(seen.workers) if each.visibility_seconds is not None}
    if not told:
        return [cannot_be_asked(PLATFORM, "no worker answers that says its own")]
    unrecorded = {task.queue for task in seen.tasks if task.queue and not task.recorded}
    wrong = [
        violated(
            worker.called,
            f"visibility_timeout={theirs:.10g} s (inspect stats), here {here:.10g} s",
            f"start it with broker_transport_options['visibility_timeout']={here:.10g}, or run this with its settings",
            risks=theirs < here and bool(unrecorded),
            queues=unrecorded or worker.queues,
        )
        for worker, theirs in told.items()
        if theirs != here
    ]
    return wrong or [holds(f"{len(told)} workers", f"visibility_timeout={here:.10g} s (inspect stats, and here)")]


@inequality("pool of each worker = prefork", change="-P of the worker", risk="doubled")
def pools_enforce_limits(seen: Readings) -> Iterable[Answer]:
    """No time limit ends an attempt there: when its lease has passed it goes on, and the next one begins beside it."""
    workers = read(seen.workers)
    if not workers:
        return [cannot_be_asked(PLATFORM, "no worker answers")]
    wrong = [
        violated(
            worker.called,
            f"pool {worker.pool} (inspect stats)",
            "start it with -P prefork, or let its tasks end by themselves before their time limit",
            risks=True,
            queues=worker.queues,
        )
        for worker in workers
        if not worker.forks
    ]
    return wrong or [holds(f"{len(workers)} workers", "pool prefork (inspect stats)")]


@inequality("schedules in the ledger = schedules in the code", change="`celery -A … schedules apply` in the deploy")
def schedules_are_applied(seen: Readings) -> Iterable[Answer]:
    """What fires is another release's: Beats execute the ledger."""
    of_services: dict[str, list[Difference]] = {}
    for each in read(seen.differences):
        of_services.setdefault(each.service, []).append(each)
    wrong = [
        violated(
            f"schedules of {service}",
            f"`schedules apply` would change {count(len(changes), 'schedule')}: "
            + _named(" ".join([f"{each.schedule} {each.verb}", *each.fields]) for each in changes),
            "run `celery -A … schedules apply`",
            service=service,
        )
        for service, changes in sorted(of_services.items())
    ]
    return wrong or [holds(PLATFORM, "`schedules apply` would change nothing")]


@inequality("each queue of steadybeat_guarded_queues is declared", change="steadybeat_guarded_queues")
def guarded_queues_are_declared(seen: Readings) -> Iterable[Answer]:
    """A name that is misspelt guards nothing; no worker starts with it."""
    guarded, known = seen.settings.guarded_queues, seen.configured.queues
    if not guarded:
        return [cannot_be_asked(PLATFORM, "steadybeat_guarded_queues is empty: no start is guarded")]
    wrong = [
        violated(
            f"steadybeat_guarded_queues={name!r}",
            f"declared are {_named(known, 12)}",
            f"name a queue that is declared.{did_you_mean(name, known)}",
        )
        for name in guarded
        if name not in known
    ]
    return wrong or [holds(PLATFORM, f"steadybeat_guarded_queues={', '.join(guarded)}")]
