"""Times: limits, leases, locks and polls, each against those that it must outlive."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from steadybeat.audit.live.inequality import PLATFORM, Answer, cannot_be_asked, holds, inequality, unknown, violated
from steadybeat.audit.live.readings import Readings, TaskRead

KILL_SECONDS = 1.0
"""What it takes from a hard time limit to the end of its process: Celery's timer, SIGTERM, 0.1 s, SIGKILL."""

EXTENSIONS = 5
"""So often in its life a lock is extended: `locks.places`."""

MISSED_EXTENSIONS = 2
"""So many of them may fail."""

ANSWER_SECONDS = 1.0
"""How long Redis may take at the most to answer the Beat that leads: `SteadyScheduler`."""

_VISIBILITY = "broker_transport_options['visibility_timeout']"


def seconds(value: float) -> str:
    """Return a duration as these formulas say it: ``2592000 s``, ``4.5 s``."""
    return f"{value:.10g} s"


def _of_tasks(tasks: Sequence[TaskRead], found: Iterable[Answer], evidence: str) -> Sequence[Answer]:
    """Return the tasks for which it is violated, or that it holds for all."""
    if not tasks:
        return [cannot_be_asked(PLATFORM, "this program has no task of which it could be asked")]
    wrong = list(found)
    return wrong or [holds(f"{len(tasks)} tasks" if len(tasks) > 1 else tasks[0].name, evidence)]


def _longest(tasks: Sequence[TaskRead]) -> str:
    if not tasks:
        return ""
    longest = max(tasks, key=lambda task: task.hard_seconds)
    return f"longest time_limit={seconds(longest.hard_seconds)} ({longest.name})"


@inequality(
    "visibility timeout > (hard time limit + lease margin) × prefetch multiplier, of each task",
    change=f"{_VISIBILITY}, worker_prefetch_multiplier",
    risk="doubled",
)
def visibility_outlives_attempts(seen: Readings) -> Iterable[Answer]:
    """A message comes back while it is worked on: a duplicate to turn away, and of a task with recorded=False a second
    execution.
    """
    visibility, prefetch = seen.configured.visibility_seconds, seen.configured.prefetch_count
    margin = seen.settings.lease_margin_seconds
    read = f"visibility_timeout={seconds(visibility)}, worker_prefetch_multiplier={prefetch}"

    def wrong() -> Iterable[Answer]:
        for task in seen.tasks:
            needed = (task.hard_seconds + margin) * prefetch
            if prefetch > 0 and visibility > needed:
                continue
            way_out = (
                f"set {_VISIBILITY} to more than {needed:g}" if prefetch else "set worker_prefetch_multiplier to 1"
            )
            yield violated(
                task.name,
                f"{read}; time_limit={seconds(task.hard_seconds)}, margin {seconds(margin)}"
                + (", recorded=False" if not task.recorded else ""),
                way_out,
                risks=not task.recorded,
                service=task.service,
                queues=_queue_of(task),
            )

    return _of_tasks(seen.tasks, wrong(), f"{read}; {_longest(seen.tasks)}, margin {seconds(margin)}")


def _queue_of(task: TaskRead) -> list[str]:
    return [task.queue] if task.queue else []


@inequality("soft time limit < hard time limit, of each task", change="soft_time_limit and time_limit of the task")
def soft_limits_leave_time(seen: Readings) -> Iterable[Answer]:
    """Its process is killed before it is told to clean up: nothing is handed back, and the attempt counts in full."""
    wrong = (
        violated(
            task.name,
            f"soft_time_limit={seconds(task.soft_seconds)}, time_limit={seconds(task.hard_seconds)}",
            f"set its soft_time_limit to less than {task.hard_seconds:g}",
            service=task.service,
            queues=_queue_of(task),
        )
        for task in seen.tasks
        if task.soft_seconds >= task.hard_seconds
    )
    least = min(seen.tasks, key=lambda task: task.hard_seconds - task.soft_seconds, default=None)
    shown = least and f"least between them: {seconds(least.hard_seconds - least.soft_seconds)} ({least.name})"
    return _of_tasks(seen.tasks, wrong, shown or "")


@inequality(
    f"lease margin ≥ {KILL_SECONDS:g} s, which it takes to kill a process",
    change="steadybeat_lease_margin_seconds",
    risk="doubled",
)
def lease_margin_outlives_kills(seen: Readings) -> Iterable[Answer]:
    """The lease of an attempt that is too slow ends before its process does: the next attempt begins beside it."""
    margin = seen.settings.lease_margin_seconds
    evidence = f"steadybeat_lease_margin_seconds={margin:g}"
    if margin >= KILL_SECONDS:
        return [holds(PLATFORM, evidence)]
    way_out = f"set steadybeat_lease_margin_seconds to at least {KILL_SECONDS:g}"
    return [violated(PLATFORM, evidence, way_out, risks=True)]


@inequality(
    "lease > 2 × keeper pause + time-out of the ledger",
    change="steadybeat_lease_seconds",
    risk="doubled",
)
def leases_outlive_signs_of_life(seen: Readings) -> Iterable[Answer]:
    """One sign of life that is not answered in time ends the lease of a worker that is well: its runs are rescued, and
    begin elsewhere while it works on them.
    """
    told = seen.settings
    needed = 2 * told.keeper_seconds + told.ledger_timeout_seconds
    evidence = (
        f"steadybeat_lease_seconds={told.lease_seconds:g}, steadybeat_keeper_seconds={told.keeper_seconds:g},"
        f" steadybeat_ledger_timeout_seconds={told.ledger_timeout_seconds:g}"
    )
    if told.lease_seconds > needed:
        return [holds(PLATFORM, evidence)]
    return [violated(PLATFORM, evidence, f"set steadybeat_lease_seconds to more than {needed:g}", risks=True)]


@inequality(
    f"lock time (the lease) > {MISSED_EXTENSIONS} of its {EXTENSIONS} extensions"
    f" + {MISSED_EXTENSIONS} × time-out × lock servers + drift",
    change="steadybeat_lock_timeout_seconds, steadybeat_lease_seconds",
    risk="doubled",
)
def locks_outlive_extensions(seen: Readings) -> Iterable[Answer]:
    """A lock lapses under an attempt that holds it: another run takes it, and the first may commit nothing more."""
    told = seen.settings
    holders = [task for task in seen.tasks if task.has_turns]
    servers = max(1, len(told.lock_urls))
    drift = told.lease_seconds * 0.01 + 0.002
    left = told.lease_seconds * (1 - MISSED_EXTENSIONS / EXTENSIONS) - drift
    needed = MISSED_EXTENSIONS * told.lock_timeout_seconds * servers
    evidence = (
        f"steadybeat_lease_seconds={told.lease_seconds:g}, steadybeat_lock_timeout_seconds="
        f"{told.lock_timeout_seconds:g}, {servers} lock server{'s' if servers > 1 else ''}"
    )
    if not holders:
        return [cannot_be_asked(PLATFORM, "no task takes a lock, or a place of concurrency=")]
    if left > needed:
        return [holds(f"{len(holders)} tasks with locks", evidence)]
    way_out = f"set steadybeat_lock_timeout_seconds to less than {left / MISSED_EXTENSIONS / servers:.3g}"
    queues = {task.queue for task in holders if task.queue}
    return [violated(f"{len(holders)} tasks with locks", evidence, way_out, risks=True, queues=queues)]


@inequality(
    f"lock of the Beat that leads > 2 × its poll + Redis' time to answer (a third of the lock, {ANSWER_SECONDS:g} s at"
    " the most)",
    change="steadybeat_leader_lock_seconds, steadybeat_leader_poll_seconds",
)
def leader_lock_outlives_polls(seen: Readings) -> Iterable[Answer]:
    """Leading changes hands whenever Redis is slow once, and fires are late by as much each time."""
    told = seen.settings
    needed = 2 * told.leader_poll_seconds + min(ANSWER_SECONDS, told.leader_lock_seconds / 3)
    evidence = (
        f"steadybeat_leader_lock_seconds={told.leader_lock_seconds:g},"
        f" steadybeat_leader_poll_seconds={told.leader_poll_seconds:g}"
    )
    if told.leader_lock_seconds > needed:
        return [holds(PLATFORM, evidence)]
    return [violated(PLATFORM, evidence, f"set steadybeat_leader_lock_seconds to more than {needed:.3g}")]


@inequality(
    "times until people are told that nobody leads, or that a fire was missed > lock of the Beat that leads + poll +"
    " keeper pause",
    change="steadybeat_leaderless_seconds, steadybeat_missed_seconds",
)
def alarms_outlast_failovers(seen: Readings) -> Iterable[Answer]:
    """Every failover, which is nothing to worry about, wakes somebody."""
    told = seen.settings
    needed = told.leader_lock_seconds + told.leader_poll_seconds + told.keeper_seconds
    names = ("leaderless_seconds", "missed_seconds")
    evidence = ", ".join(f"steadybeat_{name}={getattr(told, name):g}" for name in names) + f"; a failover {needed:g} s"
    wrong = [
        violated(f"steadybeat_{name}", evidence, f"set steadybeat_{name} to more than {needed:g}")
        for name in names
        if getattr(told, name) <= needed
    ]
    return wrong or [holds(PLATFORM, evidence)]


@inequality("soft shutdown > 0", change="worker_soft_shutdown_timeout")
def shutdowns_let_work_finish(seen: Readings) -> Iterable[Answer]:
    """Each deploy cuts every attempt off at once: what does not checkpoint begins anew."""
    soft = seen.configured.soft_shutdown_seconds
    evidence = f"worker_soft_shutdown_timeout={soft:g}"
    if soft > 0:
        return [holds(PLATFORM, evidence)]
    return [violated(PLATFORM, evidence, "set worker_soft_shutdown_timeout to some seconds, such as 8")]


@inequality(
    "grace before a worker is killed > soft shutdown + 2 × time-out of the ledger",
    change="stop_grace_period or terminationGracePeriodSeconds, and steadybeat_stop_grace_seconds",
)
def shutdowns_fit_their_grace(seen: Readings) -> Iterable[Answer]:
    """A worker is killed before it has handed its runs back: they wait for its lease, and it counts as their crash."""
    soft, told = seen.configured.soft_shutdown_seconds, seen.settings
    needed = soft + 2 * told.ledger_timeout_seconds
    evidence = (
        f"worker_soft_shutdown_timeout={soft:g},"
        f" steadybeat_ledger_timeout_seconds={told.ledger_timeout_seconds:g}, steadybeat_stop_grace_seconds="
    )
    if not told.stop_grace_seconds:
        way_out = (
            "set STEADYBEAT_STOP_GRACE_SECONDS to stop_grace_period of Compose (10 unless given) or"
            " terminationGracePeriodSeconds of Kubernetes (30)"
        )
        return [unknown(PLATFORM, f"{evidence}0: not known; {seconds(needed)} are needed", way_out)]
    evidence = f"{evidence}{told.stop_grace_seconds:g}"
    if told.stop_grace_seconds > needed:
        return [holds(PLATFORM, evidence)]
    way_out = f"let whoever ends workers wait for more than {needed:g} s, and set steadybeat_stop_grace_seconds to that"
    return [violated(PLATFORM, evidence, way_out)]


def longest_way(seen: Readings, task: TaskRead) -> float:
    """Return after how many seconds a message of a task can come back at the latest.

    Each delivery may be lost with its worker and comes back after the visibility timeout, as often as a run may take
    workers along; then it is rescued with the longest back-off; its retries and its last attempt come on top.
    """
    told = seen.settings
    deliveries = seen.configured.visibility_seconds * (1 + told.crash_count)
    attempt = task.hard_seconds + told.lease_margin_seconds
    return deliveries + told.rescue_backoff_max_seconds + task.retry_seconds + attempt


_WAY = "visibility timeout × (1 + crashes) + longest back-off of a rescue + retries + hard time limit + lease margin"


@inequality(f"retention > {_WAY}, of each task", change="steadybeat_retention_seconds", risk="doubled")
def keys_outlive_messages(seen: Readings) -> Iterable[Answer]:
    """A message comes back after its run and its processed key were pruned: nobody knows that its effect happened, and
    it happens again.
    """
    kept = seen.settings.retention_seconds
    ways = {task.name: longest_way(seen, task) for task in seen.tasks}
    wrong = (
        violated(
            task.name,
            f"steadybeat_retention_seconds={kept:.10g}; a message may come back after {seconds(ways[task.name])}",
            f"set steadybeat_retention_seconds to more than {ways[task.name]:.10g}",
            risks=True,
            service=task.service,
            queues=_queue_of(task),
        )
        for task in seen.tasks
        if kept <= ways[task.name]
    )
    last = max(ways, key=lambda name: ways[name], default="")
    shown = last and f"longest way back {seconds(ways[last])} ({last})"
    return _of_tasks(seen.tasks, wrong, f"steadybeat_retention_seconds={kept:.10g}; {shown}")


@inequality(f"key_ttl > {_WAY}, of each task that has one", change="key_ttl of the task", risk="doubled")
def key_ttls_outlive_messages(seen: Readings) -> Iterable[Answer]:
    """A run that was delivered late finds the key of its effect expired, and makes the effect again."""
    given = [(task, task.key_ttl_seconds) for task in seen.tasks if task.key_ttl_seconds is not None]
    if not given:
        return [cannot_be_asked(PLATFORM, "no task has a key_ttl: processed keys are kept for the whole retention")]
    wrong = (
        violated(
            task.name,
            f"key_ttl={seconds(kept)}; a message may come back after {seconds(longest_way(seen, task))}",
            f"set its key_ttl to more than {longest_way(seen, task):.10g} s, or leave it out",
            risks=True,
            service=task.service,
            queues=_queue_of(task),
        )
        for task, kept in given
        if kept <= longest_way(seen, task)
    )
    least = min(kept for _, kept in given)
    return _of_tasks([task for task, _ in given], wrong, f"shortest key_ttl={seconds(least)}")
