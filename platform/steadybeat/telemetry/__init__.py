"""What machines are told: the lines of every process, the ids that join them, crash reports, and the pulse.

Every line is one JSON object (on a terminal, a readable line) on standard error, or in ``--logfile``:

    always          timestamp (UTC, ISO 8601, Z) · level · event · logger · instance (host:pid:role)
    inside a run    task · service · schedule · run_id · scheduled_for · started_at · attempt ·
                    correlation_id · trace_id · tenant
    at its end      status · duration_seconds · items_count
    on an error     error (one line) · stack

What a run has no value for is left out: a run that is no fire has no `schedule`. `started_at` is the actual
start of the attempt, `scheduled_for` the nominal time of its fire. Secrets read ``***``; the arguments of tasks
are never written.

facts        who is speaking, and of which run
logs         every line in one form, whoever wrote it
chatter      what Celery says of a task in a sentence, as facts
events       what is logged: each event, when, with which fields
outcomes     how an attempt ended: its line, its span, its crash report
lines        the lines of runs, kept for `runs show`
correlation  the ids that go from a caller to its task and on to each sub-task
traces       spans of OpenTelemetry
collector    where they go
crashes      reports to Sentry
metrics      what is counted for Prometheus
heartbeats   what monitors elsewhere are told
redaction    what may never be read outside
forms        the forms in which secrets stand in texts
signals      where Celery lets telemetry in
pulse        how a process shows that it goes on
"""

from __future__ import annotations

from collections.abc import Callable

from celery import Celery

from steadybeat.settings import Settings
from steadybeat.telemetry import correlation, crashes, heartbeats, lines, metrics, redaction, signals, traces
from steadybeat.telemetry.chatter import received
from steadybeat.telemetry.crashes import told
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
from steadybeat.telemetry.redaction import hide_arguments, redact, redact_text, shown_arguments

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
    "hide_arguments",
    "install",
    "instance",
    "instance_id",
    "log_outcome",
    "metrics",
    "received",
    "redact",
    "redact_text",
    "run_facts",
    "shown_arguments",
    "told",
    "traces",
    "vitals",
]


def install(app: Celery, settings: Settings, *, keep: Callable[..., None] | None = None) -> None:
    """Connect lines, correlation ids, traces and crash reports to the app; a second call changes nothing.

    Args:
        app: The app whose processes and tasks are to tell what they do.
        settings: `sentry_dsn`, `otlp_url`, `traces_share`, `redact` and `log_lines_count` are used.
        keep: Writes the lines of runs down, as `lines.Sink`; they are kept nowhere without it.

    Raises:
        ConfigurationError: `settings.sentry_dsn` is no DSN, or there can be no traces to `settings.otlp_url`.
    """
    redaction.also(settings.redact)
    traces.start(app.main or "steadybeat", settings.otlp_url, settings.traces_share)
    if keep is not None:
        lines.keep(keep, settings.log_lines_count)
    crashes.start(settings.sentry_dsn)
    signals.connect(app)
    signals.adopt_command()
