"""Every event that steadybeat logs at INFO or above: what it is called, when, and what it says. Pure data.

`make docs` writes the page from it, and a test compares it with the code, both ways. An event of another name is the
message of whoever wrote it: of a task, Celery, kombu, RedBeat, Flower or Tornado.
"""

from __future__ import annotations

from typing import NamedTuple


class Event(NamedTuple):
    """One kind of line.

    Attributes:
        name: What stands in its field `event`.
        when: When it is written.
        fields: What it says, beside what every line says, and every line of a run. `error` goes with a `stack` where
            an error was raised.
    """

    name: str
    when: str
    fields: tuple[str, ...] = ()


_ENDS = ("status", "duration_seconds", "items_count", "reason")
_FAILS = (*_ENDS, "error")

OUTCOMES = (
    Event("run succeeded", "an attempt did its work", ("status", "duration_seconds", "items_count")),
    Event("run retried", "an attempt failed or asked for another, which follows", _FAILS),
    Event("run died", "nothing more is tried: a dead letter", _FAILS),
    Event("run failed", "an attempt failed, and what follows is not known", _FAILS),
    Event(
        "run timed out", "the hard time limit ended the attempt; `state` is what the run is then", (*_FAILS, "state")
    ),
    Event("run lost", "the attempt's process is gone; `state` is what the run is then", (*_FAILS, "state")),
    Event("run rescued", "a run whose worker or message was lost is sent again", _ENDS),
    Event("run interrupted", "a shutdown, or a server that is away, ended the attempt", _FAILS),
    Event("run snoozed", "the attempt asked to be begun again later", _ENDS),
    Event("run waits", "its lock is held, or its task has no place: it asks again later", _ENDS),
    Event("run fanned out", "it waits for the runs of its tenants", _ENDS),
    Event("run cancelled", "a person, a policy or the task itself ended the run", _ENDS),
    Event("run skipped", "the claim ended with a reason not to work", _ENDS),
    Event("duplicate ignored", "the effect has happened, or somebody is making it", (*_ENDS, "cause")),
    Event("stale attempt refused", "another attempt holds the run by now", _FAILS),
)
"""How an attempt ended; `log_outcome` writes these."""

TOLD_BY_CELERY = (
    Event("task received", "Celery's worker took a message", ("eta",)),
    Event("task succeeded", "Celery's tracing ended without an error", ("duration_seconds", "result")),
    Event("task retried", "Celery's tracing saw a retry", ("error",)),
    Event("task failed", "Celery's tracing saw an error", ("error",)),
    Event("task failed as it may", "the error stands in the task's `throws`", ("error",)),
    Event("task ignored", "the task left Celery's success path", ("error",)),
    Event("task rejected", "the task rejected its message", ("error",)),
    Event("task broke the worker's tracing", "an error in Celery's own code around a task", ("error",)),
)
"""What Celery says of a task in sentences; the arguments in them are left out."""

PROCESSES = (
    Event("worker ready", "a worker begins to consume", ("queues", "concurrency", "pool", "broker")),
    Event("worker stopping", "a worker got a signal to stop", ("signal", "how", "exit_code")),
    Event("worker stopped", "a worker's main process ends"),
    Event("work may finish", "a worker ends, and its attempts may go on for so long", ("within_seconds",)),
    Event("work handed back", "a worker ends, and hands runs back that had no more time", ("run_ids",)),
    Event("messages not given back", "a worker ends, and Redis does not take back what had not begun", ("error",)),
    Event("worker paused: the ledger is away", "a worker takes no message until Postgres answers", ("error",)),
    Event("worker paused: no sign of life can be given", "the same, for any other error", ("error",)),
    Event("worker resumed: the ledger answers", "it takes messages again"),
    Event("instance not signed off", "a process ends, and its lease has to pass", ("error",)),
    Event("health not shown", "the file of a process' pulse cannot be written", ("file", "error")),
    Event("beat started", "a Beat begins, leading or standing by", ("scheduler",)),
    Event("beat leads", "a Beat has the lock, for a new term", ("term",)),
    Event("beat stands by", "a Beat that led does not any more", ("term", "error")),
    Event("end of leadership not recorded", "a Beat leads no more, and Postgres does not answer", ("term", "error")),
    Event("beat waits", "Postgres or Redis does not answer a Beat", ("error",)),
    Event("beat goes on", "they answer again"),
    Event("clock is off: this beat does not lead", "its clock differs from Postgres'", ("clock_offset_seconds",)),
    Event("tick failed", "an error that nobody expected ended a Beat's or watchdog's tick; the next one comes"),
    Event("watchdog started", "a watchdog begins"),
    Event("watchdog waits", "Postgres or Redis does not answer a watchdog", ("error",)),
    Event("watchdog goes on", "they answer again"),
    Event("no time limit, memory limit or termination works in this pool", "a worker without processes", ("pool",)),
    Event("crash points armed: processes will kill themselves", "a test has armed them", ("crash_at",)),
    Event(
        "redis not checked: it refuses INFO", "nobody can say whether Redis keeps what it is given", ("url", "error")
    ),
    Event("crash reports pending", "a process waits for its reports to leave", ("pending_count", "timeout_seconds")),
    Event("crash reports are off", "Sentry's SDK could not be set up"),
    Event("traces are off", "OpenTelemetry's SDK could not be set up"),
    Event("lines not kept", "lines of runs came too fast for the log table, or it was away", ("dropped_count",)),
)
"""What becomes of processes."""

SCHEDULES = (
    Event(
        "fire dispatched",
        "a fire was sent",
        ("schedule", "scheduled_for", "task", "service", "term", "run_id", "correlation_id"),
    ),
    *(
        Event(f"fire {state}", when, ("schedule", "scheduled_for", "task", "service", "term", "reason"))
        for state, when in (
            ("waiting", "a fire waits for the run before it"),
            ("skipped", "a policy, or a person, did not let a fire have an effect"),
            ("missed", "a fire was not dispatched in its time, or could not be"),
            ("coalesced", "a later fire stands for it, as `catch_up` says"),
        )
    ),
    Event("fire not sent", "the message of a fire cannot be made", ("schedule", "error")),
    Event("fire not decided", "whether a fire is to be sent could not be worked out", ("schedule", "error")),
    Event(
        "code differs from the ledger: `schedules apply` would change it",
        "a Beat starts with other schedules in its code",
        ("schedule", "change", "fields"),
    ),
    Event("a schedule of a newer release", "a Beat cannot read a schedule, and leaves it alone", ("schedule", "error")),
    Event("redis has lost schedules: they are written again", "RedBeat's keys were gone"),
    Event("schedules not projected", "RedBeat's keys cannot be written", ("error",)),
    Event(
        "an entry of redbeat is not executed: `schedules import --from redbeat` takes it over",
        "somebody saved a schedule with RedBeat's tools that the ledger does not know",
        ("schedule",),
    ),
    Event(
        "an edit of a redbeat tool was taken in",
        "somebody edited a schedule in Redis",
        ("schedule", "revision", "change"),
    ),
    Event("an edit of a redbeat tool came too late", "another edit was first", ("schedule", "revision", "error")),
    Event("an edit of a redbeat tool cannot be taken in", "it is none", ("schedule", "revision", "error")),
)
"""What becomes of schedules and fires."""

RUNS = (
    Event(
        "message left to the relay", "Redis did not take a message; the outbox sends it", ("run_id", "task", "error")
    ),
    Event("messages left to the relay", "the same, for the runs of tenants", ("count", "error")),
    Event("queue cannot be written to", "Redis has something else under a queue's name", ("queue", "error")),
    Event("queue not bound", "tools may not see a queue until a worker is there", ("queue", "error")),
    Event("foreign message kept", "a message that no task can take went to the dead letters", ("queue", "reason")),
    Event("foreign message put back", "it could not be kept yet", ("queue", "reason", "error")),
    Event("foreign message left unacknowledged", "it could not be kept, and comes again", ("queue", "error")),
    Event(
        "acknowledgements lost: what is done comes again",
        "the connection to Redis broke first; its claims end as duplicates",
        ("message_count", "error"),
    ),
    Event("ledger away", "an attempt waits for Postgres", ("run_id", "error", "again_in")),
    Event("claim timed out", "Postgres did not answer within the soft time limit", ("run_id", "task")),
    Event("run not handed back", "Postgres did not answer; its lease has to pass", ("run_id", "error")),
    Event("outcome not recorded", "Postgres did not answer; it is recorded later", ("run_id", "error")),
    Event("cancellation not recorded", "Postgres did not answer", ("run_id", "error")),
    Event("progress not recorded", "Postgres did not answer in time; the work goes on", ("run_id", "error")),
    Event("cannot be terminated in this pool", "a cancelled run goes on until it stops by itself", ("run_id",)),
    Event(
        "memory limit exceeded",
        "an attempt took more than its task's `memory_limit`",
        ("run_id", "task", "peak_bytes", "limit_bytes"),
    ),
    Event(
        "external effect unknown",
        "an attempt ended within a step, and nobody knows how far it came",
        ("run_id", "step"),
    ),
    Event("stale attempt", "a step was done, and another attempt holds the run by now", ("run_id", "step", "error")),
    Event("result not kept", "a result of Celery's cannot be written", ("task_id", "error")),
    Event("classifier failed", "a task's or app's `classify` raised an error", ("classifier_of", "error")),
    Event(
        "classifier ignored: it answered none of ours",
        "`classify` returned something else than it may",
        ("classifier_of", "error", "answer"),
    ),
    Event("lock not extended", "a Redis that keeps a lock does not answer", ("lock", "run_id", "error")),
    Event("lock lost", "another run may hold it by now", ("lock", "run_id")),
    Event("lock had lapsed and was taken again", "nobody had taken it meanwhile", ("lock", "run_id")),
    Event(
        "lock not released: it lapses by itself",
        "a Redis that keeps a lock does not answer",
        ("run_id", "error", "not_released_count"),
    ),
)
"""What happens around runs and their messages."""

CANVASES = (
    Event("chord failed", "a part of a chord is dead, so its body is not sent", ("group_id", "reason")),
    Event("the body of a chord cannot be sent", "its message cannot be made", ("group_id", "error")),
    Event("what follows is left for later", "Postgres did not answer", ("of", "error")),
    Event("what follows could not be written", "the next steps of a canvas cannot be made", ("of", "error")),
    Event("error callback not sent", "its message cannot be made", ("run_id", "errback", "error")),
    Event(
        "fan-out ended",
        "the last tenant of a run has ended",
        ("fan_out", "task", "state", "reason", "succeeded", "failed", "cancelled", "given_up", "skipped"),
    ),
    Event("fan-out aborted", "so many tenants failed that it is given up", ("fan_out", "reason")),
    Event("fan-out left for later", "Postgres or Redis did not answer", ("fan_out", "error")),
    Event("fan-out cannot be moved on", "an error that nobody expected", ("fan_out", "error")),
    Event("what follows cannot be sent", "the callbacks of a fan-out cannot be made", ("fan_out", "error")),
    Event("on_complete cannot be sent", "its message cannot be made", ("fan_out", "error")),
    Event(
        "tenants left", "a worker ends, and these have not begun", ("fan_out", "task", "count", "tenants", "more_count")
    ),
)
"""What becomes of canvases and fan-outs."""

_ALERT = ("alert", "rule", "subject", "severity", "owner", "summary", "who", "reason")

TELLING = (
    *(
        Event(f"alert {became}", when, _ALERT)
        for became, when in (
            ("opened", "something is wrong that was not before"),
            ("reopened", "it came back soon after it was over"),
            ("acknowledged", "somebody sees to it"),
            ("resolved", "it is over, or a person says so"),
        )
    ),
    Event(
        "notice not sent",
        "a channel did not take what people are to be told",
        ("channel", "alert", "try_count", "error"),
    ),
    Event("notice not marked", "a notice went out, and Postgres did not answer: it may go twice", ("channel", "error")),
    Event("sending notices failed", "an error that nobody expected", ("channel", "error")),
    Event("emergency not told", "that Postgres is away could not be told to anybody", ("error",)),
    Event("reports left out", "after an outage, reports of days that are too long ago", ("days",)),
    Event("reports not written", "an error that nobody expected; they are tried again later", ("error",)),
    Event("watchdog watches", "of several watchdogs this one looks for what is wrong from now on"),
    Event("watch failed", "an error that nobody expected ended a look; the next one comes", ("error",)),
    Event("rule not judged", "an error that nobody expected; the other rules are judged", ("rule", "error")),
    Event("a look at the ledger takes long", "rules that had no time come first in the next look", ("rules",)),
    Event("fires not written ahead", "nobody leads, and the watchdog cannot write fires either", ("error",)),
    Event("canaries not sent", "queues are not asked whether somebody consumes from them", ("error",)),
    Event("queues not looked at", "an error that nobody expected; it is tried again in the next look", ("error",)),
    Event("ended runs not judged", "the same: how long they took, and what they did", ("error",)),
    Event("duty not left", "a watchdog ends, and another takes over when its time has passed", ("error",)),
    Event("changed on a page", "somebody sent a form in Flower", ("what", "who", "target", "reason")),
    Event(
        "operation not on record",
        "somebody used a control of Flower's own, and Postgres did not answer",
        ("who", "target", "error"),
    ),
    Event("next herd not counted", "the overview cannot say in which second most schedules are due", ("error",)),
    Event(
        "heartbeat not taken", "a monitor elsewhere fails to take what it is told", ("schedule", "monitor", "reason")
    ),
    Event("heartbeat taken again", "it takes it", ("schedule", "monitor", "reason")),
    Event("heartbeats left out", "too many waited for monitors", ("count",)),
    Event("heartbeats not sent", "an error that nobody expected", ("error",)),
    Event("metrics served", "a process has its endpoint for Prometheus", ("address",)),
    Event("metrics not served", "its endpoint cannot answer", ("error",)),
    Event("metrics not counted", "a process of a pool cannot count", ("reason",)),
    Event("fact not read", "one figure for metrics cannot be had", ("fact", "error")),
    Event("facts not read", "Postgres does not answer who reads figures for metrics", ("error",)),
)
"""What people, monitors and Prometheus are told."""

GROUPS: tuple[tuple[str, tuple[Event, ...]], ...] = (
    ("How an attempt ended", OUTCOMES),
    ("What Celery says of tasks", TOLD_BY_CELERY),
    ("Processes", PROCESSES),
    ("Schedules and fires", SCHEDULES),
    ("Runs and messages", RUNS),
    ("Canvases and fan-outs", CANVASES),
    ("What people and machines are told", TELLING),
)
"""Every event, under the titles of the page."""


def named() -> dict[str, Event]:
    """Return every event by its name."""
    return {event.name: event for _, group in GROUPS for event in group}
