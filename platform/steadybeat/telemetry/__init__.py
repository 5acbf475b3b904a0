"""What machines are told: the lines of every process, the ids that join them, crash reports, and the pulse.

Every line is one JSON object (on a terminal, a readable line) on standard error, or in ``--logfile``:

    always          timestamp (UTC, ISO 8601, Z) · level · event · logger · instance (host:pid:role)
    inside a run    task · service · schedule · run_id · scheduled_for · started_at · attempt ·
                    correlation_id · tenant
    on an error     error (one line) · stack

What a run has no value for is left out: a run that is no fire has no `schedule`. `started_at` is the actual
start of the attempt, `scheduled_for` the nominal time of its fire. Secrets read ``***``; the arguments of tasks
are never written.

    event                   when                                            fields beside those above
    ----------------------  ----------------------------------------------  -----------------------------------------
    run succeeded           an attempt did its work                         status duration_seconds items_count
    run retried             an attempt failed and another will follow       status duration_seconds items_count
    run died                the last attempt failed: a dead letter          status duration_seconds items_count
    run failed              an attempt failed, what follows is not known    status duration_seconds items_count
    run timed out           the hard time limit ended the attempt           status duration_seconds
    run lost                the attempt's process is gone                   status duration_seconds
    run interrupted         shutdown ended the attempt                      status duration_seconds items_count
    run waits               its lock is held: it is asked for again later   status reason
    run cancelled           a person ended the run                          status duration_seconds items_count
    run skipped             the claim ended with a reason not to work       status reason
    duplicate ignored       the effect has happened, or somebody makes it   status reason
    stale attempt refused   another attempt holds the run by now            status reason
    task received           Celery's worker took a message                  task run_id eta
    task succeeded          Celery's tracing ended without an error         task run_id duration_seconds result
    task retried            Celery's tracing saw a retry                    task run_id error
    task failed             Celery's tracing saw an error                   task run_id error stack
    task failed as it may   the error stands in the task's `throws`         task run_id error stack
    task ignored            the task left Celery's success path             task run_id error
    task rejected           the task rejected its message                   task run_id error stack
    worker ready            a worker starts to consume                      queues concurrency pool broker
    worker stopping         a worker got a signal to stop                   signal how exit_code
    worker stopped          a worker's parent process ends
    beat started            a Beat begins, leading or standing by           scheduler
    watchdog started        a watchdog begins
    metrics served          a process has its endpoint for Prometheus       address
    metrics not counted     a process of a pool cannot count                reason
    crash reports pending   a process waits for its reports to leave        pending_count timeout_seconds
    heartbeat not taken     a monitor has failed to take what it is told    schedule monitor error
    heartbeat taken again   it takes it                                     schedule monitor
    heartbeats left out     too many waited for monitors                    count

Any other event is the message of whoever wrote it: of a task, Celery, kombu, RedBeat, Flower or Tornado.
"""

from __future__ import annotations

from celery import Celery

from steadybeat.settings import Settings
from steadybeat.telemetry import correlation, crashes, heartbeats, metrics, signals
from steadybeat.telemetry.facts import (
    bind_instance,
    bind_run,
    bound,
    clear_run,
    instance,
    instance_id,
    run_facts,
)
from steadybeat.telemetry.logs import configure, get_logger
from steadybeat.telemetry.outcomes import log_outcome
from steadybeat.telemetry.pulse import EVENT_LOOP, KEEPER, TICK, WATCH, Pulse, Vital, vitals
from steadybeat.telemetry.redaction import redact, redact_text

__all__ = [
    "EVENT_LOOP",
    "KEEPER",
    "TICK",
    "WATCH",
    "Pulse",
    "Vital",
    "bind_instance",
    "bind_run",
    "bound",
    "clear_run",
    "configure",
    "correlation",
    "get_logger",
    "heartbeats",
    "install",
    "instance",
    "instance_id",
    "log_outcome",
    "metrics",
    "redact",
    "redact_text",
    "run_facts",
    "vitals",
]


def install(app: Celery, settings: Settings) -> None:
    """Connect lines, correlation ids and crash reports to the app; a second call changes nothing.

    Args:
        app: The app whose processes and tasks are to tell what they do.
        settings: `sentry_dsn` is used.

    Raises:
        ConfigurationError: `settings.sentry_dsn` is no DSN.
    """
    crashes.start(settings.sentry_dsn)
    signals.connect(app)
    signals.adopt_command()
