"""Section 2, locking and single execution: what a run holds while it works, and what becomes of that."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from steadybeat.address import Address
from steadybeat.audit import by_hand, record
from steadybeat.audit.answer import Answer, failed, not_applicable, partly, passed, unknown
from steadybeat.audit.checking import check
from steadybeat.audit.guard import gap, lease
from steadybeat.audit.source import Lock, read
from steadybeat.audit.subject import Subject
from steadybeat.audit.surroundings import Surroundings
from steadybeat.audit.telling import is_told
from steadybeat.audit.timed import timed
from steadybeat.locks import Quorum
from steadybeat.task.pools import PREFORK

_FENCED = ("exactly_once", "external")
_WAYS = {"skip": "is cancelled, with that as its reason", "wait": "waits, and asks again a moment later"}
_OVERLAPS = {
    "skip": "is skipped",
    "queue_one": "waits, unless another waits already",
    "queue_all": "waits for its turn",
    "cancel_running": "takes its place",
    "allow": "runs beside it",
}


def _has_turns(task: Any) -> bool:
    return bool(task.lock) or task.concurrency is not None


def _turns(task: Any) -> str:
    held = {"lock": task.lock or None, "concurrency": task.concurrency, "concurrency_key": task.concurrency_key}
    return ", ".join(f"{name}={value!r}" for name, value in held.items() if value is not None)


@check("2.1")
def turn(subject: Subject, around: Surroundings) -> Answer:
    """No run works without its turn: the lease of its run, and its lock where it has one."""
    why = gap(subject.task)
    if why:
        return by_hand.turn(subject.source, why)
    held = f"; besides, {_turns(subject.task)}" if _has_turns(subject.task) else ""
    return passed(f"{lease(subject.task)}{held}")


@check("2.2")
def key(subject: Subject, around: Surroundings) -> Answer:
    """What is held is the task's own, or that of its key."""
    task, why = subject.task, gap(subject.task)
    if why:
        return by_hand.key(subject.source, why, _locks_of_others(subject, around))
    of = f"key_template={task.key_template!r}" if task.key_template else "the fire, or the run's own id"
    said = f"processed key (task {task.name}, {of})"
    if task.key_template and "{" not in task.key_template:
        return failed(
            f"{said}: all runs of the task have one key, so that the first that succeeds keeps all others from working",
            "put what tells them apart into key_template, such as 'sale:{sale_id}'",
        )
    if not isinstance(task.lock, str):
        return passed(f"{said}{f', lock {task.name}' if task.lock else ''}")
    sharing = sorted(name for name, other in around.app.tasks.items() if getattr(other, "lock", None) == task.lock)
    foreign = [name for name in sharing if around.app.steadybeat.service(name) != subject.service]
    if foreign:
        return partly(
            f"{said}; lock={task.lock!r} is also that of {', '.join(foreign)}, of another service",
            "put the service's name into the lock, or let one service own both",
        )
    mates = [name for name in sharing if name != task.name]
    return passed(f"{said}; lock={task.lock!r}{', shared with ' + ', '.join(mates) if mates else ''}")


def _locks_of_others(subject: Subject, around: Surroundings) -> list[tuple[str, Lock]]:
    """Return the locks that other tasks of the service take by themselves, each with the task's name."""
    others = [
        (name, read(task))
        for name, task in around.app.tasks.items()
        if name != subject.name and around.app.steadybeat.service(name) == subject.service
    ]
    return [(name, lock) for name, source in others if (lock := by_hand.lock_of(source))]


@check("2.3")
def outlives(subject: Subject, around: Surroundings) -> Answer:
    """Lock and lease outlive the longest attempt."""
    task, why, settings = subject.task, gap(subject.task), around.settings
    if why:
        return by_hand.outlives(subject.source, why, by_hand.limit_of(task))
    margin = settings.lease_margin_seconds
    said = f"lease: start + time_limit={task.time_limit:g} s + steadybeat_lease_margin_seconds={margin:g} s"
    pool = str(around.conf.worker_pool)
    if pool not in ("prefork", "processes") and not pool.startswith(PREFORK):
        return failed(
            f"{said}; but worker_pool={pool!r} enforces no time limit, so that an attempt can outlive its lease",
            "use worker_pool='prefork'",
        )
    if margin <= 0:
        return failed(f"{said}: no margin", "let steadybeat_lease_margin_seconds be some seconds")
    if not _has_turns(task):
        return passed(said)
    return passed(f"{said}; {_turns(task)}: {_lock_life(settings)}")


def _lock_life(settings: Any) -> str:
    lasts = settings.lease_seconds
    return f"a lock lasts steadybeat_lease_seconds={lasts:g} s and is extended for as long as the attempt works"


@check("2.4")
def released(subject: Subject, around: Surroundings) -> Answer:
    """What is held is given back on every way out."""
    why = gap(subject.task)
    if why:
        return by_hand.released(subject.source, why)
    own = by_hand.lock_of(subject.source)
    if own is not None and own.released in {"straight", "never"} and own.kind != "row":
        return by_hand.released(subject.source, "it takes a lock of its own")
    ways = "SteadyTask.__call__ ends the lease with the outcome and gives locks back in its `finally`"
    parent = "SteadyRequest.on_failure and on_timeout do so for a lost process and a time-out"
    return passed(f"{ways}; {parent}; where the worker dies as well, after {around.settings.lease_seconds:g} s")


@check("2.5")
def extended(subject: Subject, around: Surroundings) -> Answer:
    """What is held is extended while long work runs."""
    task, why, settings = subject.task, gap(subject.task), around.settings
    if why:
        return by_hand.extended(subject.source, why, by_hand.limit_of(task))
    pace, lasts = settings.keeper_seconds, settings.lease_seconds
    said = f"Keeper renews each steadybeat_keeper_seconds={pace:g} s what lasts steadybeat_lease_seconds={lasts:g} s"
    if lasts < 3 * pace:
        return partly(
            f"{said}: one renewal that is late loses it",
            f"let steadybeat_lease_seconds be at least {3 * pace:g}",
        )
    waits = settings.lock_timeout_seconds * max(1, len(settings.lock_urls))
    if _has_turns(task) and waits > lasts / 5:
        return partly(
            f"{said}; an extension of its lock may take {waits:g} s (steadybeat_lock_timeout_seconds of each server)",
            f"let steadybeat_lock_timeout_seconds be at most {lasts / 5 / max(1, len(settings.lock_urls)):g}",
        )
    return passed(f"{said}{f'; {_turns(task)}: each {lasts / 5:g} s' if _has_turns(task) else ''}")


@check("2.6")
def held(subject: Subject, around: Surroundings) -> Answer:
    """Where something is held, the run skips or waits, by a policy that somebody has stated."""
    task, why = subject.task, gap(subject.task)
    if why:
        return by_hand.held(subject.source, why)
    said, unsaid, options = [f"a run whose key another has: on_conflict={task.on_conflict!r}"], list[str](), set[str]()
    if _has_turns(task):
        chosen = task.on_locked or "wait"
        said.append(f"a run whose lock is held {_WAYS[chosen]}: on_locked={task.on_locked!r}")
        if task.on_locked is None:
            unsaid.append("on_locked=")
            options.add("on_locked= of the task")
    for schedule in timed(subject):
        overlap = schedule.policies.overlap
        said.append(f"a fire of {schedule.name} while a run goes on {_OVERLAPS[overlap]}: overlap={overlap!r}")
        if not schedule.states("overlap"):
            unsaid.append(f"overlap= of {schedule.name}")
            options.add("overlap= of its schedule")
    if unsaid:
        return partly(
            f"{'; '.join(said)}; by default: {', '.join(unsaid)}", f"state {', '.join(sorted(options))} in the code"
        )
    return passed("; ".join(said))


@check("2.7")
def release_failed(subject: Subject, around: Surroundings) -> Answer:
    """A release that fails is logged, and somebody is told."""
    task, why = subject.task, gap(subject.task)
    if why:
        return by_hand.release_failed(subject.source, why)
    ends = "an outcome that cannot be written is tried until it lands, and logged as `ledger away`"
    answer = is_told(subject, around, "ledger_away", also=ends)
    if not _has_turns(task) or answer.verdict != "PASS":
        return answer
    address = around.settings.metrics_address
    lock = f"{_turns(task)}: logged as `lock not released`, counted as steadybeat_lock_failures_total"
    if not address:
        return partly(
            f"{answer.evidence}; {lock}, which nobody reads: steadybeat_metrics_address is empty",
            "serve metrics, and let Prometheus have SteadybeatLocksFail of ops/prometheus/rules.yml",
        )
    return passed(f"{answer.evidence}; {lock} at steadybeat_metrics_address={address}")


@check("2.8")
def without_redis(subject: Subject, around: Surroundings) -> Answer:
    """While Redis is away nothing runs twice."""
    task, why = subject.task, gap(subject.task)
    if why:
        return by_hand.without_store(subject.source, why)
    said = "the lease is in Postgres, and a claim asks no Redis; while Postgres is away nothing starts"
    own = by_hand.lock_of(subject.source)
    if own is not None and own.without == "goes on":
        return by_hand.without_store(subject.source, "it takes a lock of its own")
    if not _has_turns(task):
        return passed(said)
    chosen = task.on_locked or "wait"
    return passed(f"{said}; {_turns(task)}: a run that cannot ask for its lock {_WAYS[chosen]} (on_locked={chosen!r})")


@check("2.9")
def owned(subject: Subject, around: Surroundings) -> Answer:
    """Each acquisition has a token of its own, so that nobody gives back another's."""
    task, why = subject.task, gap(subject.task)
    if why:
        return by_hand.owned(subject.source, why)
    found = record.schema(around)
    if found is None:
        return unknown(f"{lease(task)}; whether the ledger has fences: {record.away(around)}", record.REACH)
    said = f"each claim takes the next of steadybeat.fences (schema {found.applied})"
    if not _has_turns(task):
        return passed(f"{said}; an outcome is written where run and fence are still its own")
    return passed(f"{said}; {_turns(task)}: its token is <run>/<fence>/<random>, compared before it is given back")


@check("2.10")
def quorum(subject: Subject, around: Surroundings) -> Answer:
    """Where several Redis servers keep the locks, most of them have to agree, and they are independent."""
    task, why = subject.task, gap(subject.task)
    if why:
        lock = by_hand.lock_of(subject.source)
        if lock is not None and lock.kind == "quorum":
            return passed(f"{by_hand.said_of(lock)}: most servers have to agree")
        return not_applicable("no quorum is configured")
    urls = around.settings.lock_urls
    if not urls or not _has_turns(task):
        where = "steadybeat_lock_urls is empty" if not urls else "it has no lock= and no concurrency="
        return not_applicable(f"{where}: no quorum is asked")
    return _of_servers(around, [Address.read(url, "steadybeat_lock_urls") for url in urls])


def _of_servers(around: Surroundings, addresses: list[Address]) -> Answer:
    settings = around.settings
    shown = ", ".join(each.shown for each in addresses)
    hosts = [urlsplit(each.url).hostname or each.server for each in addresses]
    twice = sorted({host for host in hosts if hosts.count(host) > 1})
    if twice:
        return failed(
            f"steadybeat_lock_urls: {shown}: several on host {', '.join(twice)}, whose end takes them along",
            "put each of the servers on a machine of its own",
        )
    drift = Quorum([], settings.lease_seconds).drift_seconds
    needed = len(addresses) // 2 + 1
    return passed(f"steadybeat_lock_urls: {shown}; {needed} have to agree, less {drift:g} s for the drift of clocks")


@check("2.11")
def fenced(subject: Subject, around: Surroundings) -> Answer:
    """Who has lost the run cannot commit."""
    task, source, why = subject.task, subject.source, gap(subject.task)
    if why:
        return by_hand.fenced(source, why)
    if not source.known:
        return by_hand.unread(source, lease(task))
    effects = source.called(*_FENCED)
    if effects:
        places = ", ".join(sorted({f"{each.last}() at {each.place}" for each in effects}))
        return passed(f"{places}: the fence is asked in the transaction of the effect, or before it is sent")
    if source.writes:
        write = source.writes[0]
        return partly(
            f"its outcome has a fence, its own writes have none: {write.place}",
            "let it write in `with self.exactly_once(step=…) as db:`, which asks the fence before COMMIT",
        )
    return passed("it writes nothing by itself; its outcome and what follows are written where its fence still holds")
