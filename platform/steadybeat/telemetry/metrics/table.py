"""Every metric: its name, what it says, its labels. The reference, the rules and the dashboard are held against this.

Names follow Prometheus' conventions (https://prometheus.io/docs/practices/naming/): base units at the end, ``_total``
for what only grows. A label holds one of few words, or a name that code or a person has given: of a task, a service,
a queue, a schedule. None holds a run, a tenant, a host or a process.
"""

from __future__ import annotations

from dataclasses import dataclass

PREFIX = "steadybeat_"
COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
ANY, WORKER, BEAT, WATCHDOG = "worker, beat, watchdog", "worker", "beat", "watchdog"
SENDER = "beat, watchdog"

_WORK = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
_WAIT = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
_LATE = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0)
_TICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric.

    Attributes:
        name: As it is served; a histogram's series end in ``_bucket``, ``_sum`` and ``_count``.
        kind: ``counter``, ``gauge`` or ``histogram``.
        says: One sentence.
        labels: Their names.
        said_by: Who serves it.
        buckets: Upper bounds of a histogram.
    """

    name: str
    kind: str
    says: str
    labels: tuple[str, ...] = ()
    said_by: str = WORKER
    buckets: tuple[float, ...] = ()


# Of every process

BUILD = Metric("steadybeat_build_info", GAUGE, "1; which release serves this, and as what.", ("release", "role"), ANY)
LEDGER_AWAY = Metric("steadybeat_ledger_away", GAUGE, "1 while Postgres does not answer this process, else 0.", (), ANY)
BROKER_AWAY = Metric("steadybeat_broker_away", GAUGE, "1 while Redis does not answer this Beat, else 0.", (), BEAT)

# Of attempts

ATTEMPTS = Metric(
    "steadybeat_attempts_total",
    COUNTER,
    "Attempts that have ended, by what became of them: succeeded, retried, dead, timed_out, lost, snoozed, interrupted,"
    " cancelled, fanned_out, stale.",
    ("task", "service", "outcome"),
)
ATTEMPT_SECONDS = Metric(
    "steadybeat_attempt_seconds",
    HISTOGRAM,
    "How long attempts worked, from their claim to their outcome; the wait on the queue is not in it.",
    ("task",),
    buckets=_WORK,
)
QUEUE_WAIT = Metric(
    "steadybeat_queue_wait_seconds",
    HISTOGRAM,
    "How long messages were on their queue, from when they were sent last until an attempt had claimed their run.",
    ("queue",),
    buckets=_WAIT,
)
PEAK_MEMORY = Metric(
    "steadybeat_attempt_peak_memory_bytes",
    GAUGE,
    "The most memory that an attempt's process took while it worked, of all attempts since the worker started.",
    ("task",),
)
MEMORY_EXCEEDED = Metric(
    "steadybeat_memory_limits_exceeded_total",
    COUNTER,
    "Attempts that took more memory than their task may, and whose process was replaced.",
    ("task",),
)
TURNED_AWAY = Metric(
    "steadybeat_deliveries_turned_away_total",
    COUNTER,
    "Deliveries of which no attempt was made, by the verdict of their claim: duplicate, ended, superseded, running,"
    " skipped, paused, overlap, too_late, late, cancelled, early, exhausted, poisonous.",
    ("task", "verdict"),
)
DUPLICATES = Metric(
    "steadybeat_duplicates_ignored_total",
    COUNTER,
    "Deliveries and runs that had no effect because another had it, by cause: visibility_timeout, second_scheduler,"
    " sent_twice, rescue, rerun, callers_key.",
    ("task", "cause"),
)
LOCK_WAITS = Metric(
    "steadybeat_lock_waits_total",
    COUNTER,
    "Runs that were put off, or skipped, because others hold their lock or every place of their task.",
    ("task",),
)
LOCK_FAILURES = Metric(
    "steadybeat_lock_failures_total",
    COUNTER,
    "What went wrong with locks, by kind (lock, concurrency, leader) and failure: unavailable (it could not be asked"
    " for), not_extended, lost, lapsed (and taken again), not_released.",
    ("kind", "failure"),
    "worker, beat",
)
FOREIGN = Metric(
    "steadybeat_foreign_messages_total", COUNTER, "Messages that no task can take, and that were kept aside."
)

# Of fires

FIRES = Metric(
    "steadybeat_fires_total",
    COUNTER,
    "What this process has made of fires, by the state that they came to (dispatched, waiting, skipped, missed,"
    " coalesced) and its cause, which is empty for a fire that was dispatched: a Beat when they are due, a worker where"
    " their run may not start by then.",
    ("schedule", "state", "cause"),
    "worker, beat",
)
FIRE_LATE = Metric(
    "steadybeat_fire_late_seconds",
    HISTOGRAM,
    "How long after they were due fires were sent; those that people ask for are not counted.",
    (),
    BEAT,
    _LATE,
)
SCHEDULE_LATE = Metric(
    "steadybeat_schedule_late_seconds_total",
    COUNTER,
    "The same for each schedule, added up; divided by its dispatched fires it is the mean.",
    ("schedule",),
    BEAT,
)
TICK_SECONDS = Metric(
    "steadybeat_beat_tick_seconds",
    HISTOGRAM,
    "How long a tick of this Beat works; the wait for the next one is not in it.",
    (),
    BEAT,
    _TICK,
)
LEADS = Metric("steadybeat_beat_leads", GAUGE, "1 while this Beat leads, else 0.", (), BEAT)
TERMS = Metric("steadybeat_beat_terms_total", COUNTER, "How often this Beat has begun to lead.", (), BEAT)

# Of deliveries

RESCUED = Metric(
    "steadybeat_runs_rescued_total",
    COUNTER,
    "Runs that this process has found lost, by cause (worker, message) and what they became: waiting (sent again),"
    " dead, cancelled.",
    ("task", "cause", "state"),
    SENDER,
)
RELAYED = Metric(
    "steadybeat_messages_relayed_total",
    COUNTER,
    "Messages that this process has sent out of the outbox, by why they were there: retry, rescue, delayed, rerun,"
    " transactional, callback, lock.",
    ("reason",),
    SENDER,
)

# Facts of the ledger. They outlive every process; each watchdog reads them by itself.

FACTS_AGE = Metric(
    "steadybeat_ledger_facts_age_seconds",
    GAUGE,
    "How old the facts of the ledger are that this watchdog serves.",
    (),
    WATCHDOG,
)
FACTS_FAILURES = Metric(
    "steadybeat_ledger_facts_failures_total",
    COUNTER,
    "How often one of them could not be read; it is then left out until it can.",
    ("fact",),
    WATCHDOG,
)
LEADER = Metric("steadybeat_leader", GAUGE, "1 while some Beat leads, as the ledger knows it, else 0.", (), WATCHDOG)
LEADER_SILENCE = Metric(
    "steadybeat_leader_silence_seconds", GAUGE, "How long ago a Beat last said that it leads.", (), WATCHDOG
)
LEADERLESS = Metric(
    "steadybeat_leaderless_seconds_total",
    COUNTER,
    "For how long no Beat has led, since this watchdog started; exact to the signs of life of Beats.",
    (),
    WATCHDOG,
)
LEADER_CHANGES = Metric(
    "steadybeat_leader_changes_total",
    COUNTER,
    "How often a Beat has begun to lead, since this watchdog started.",
    (),
    WATCHDOG,
)
INSTANCES = Metric(
    "steadybeat_instances", GAUGE, "Processes that are alive, by role: worker, beat, watchdog.", ("role",), WATCHDOG
)
CLOCK_OFFSET = Metric(
    "steadybeat_clock_offset_seconds",
    GAUGE,
    "How far the clock of a live process is off that of Postgres; the one that is furthest.",
    ("role",),
    WATCHDOG,
)
FIRES_OVERDUE = Metric(
    "steadybeat_fires_overdue", GAUGE, "Fires that are past due, and of which nothing was made yet.", (), WATCHDOG
)
OLDEST_OVERDUE = Metric(
    "steadybeat_fires_oldest_overdue_seconds", GAUGE, "How long the first of them is past due.", (), WATCHDOG
)
FIRES_MISSED = Metric(
    "steadybeat_fires_missed_last_day",
    GAUGE,
    "Fires that were due in the last 24 hours and were missed.",
    ("schedule",),
    WATCHDOG,
)
SCHEDULE_DUPLICATES = Metric(
    "steadybeat_schedule_duplicates_suppressed_total",
    COUNTER,
    "Duplicates of fires that had no effect, since this watchdog started.",
    ("schedule", "cause"),
    WATCHDOG,
)
SCHEDULE_FAILURES = Metric(
    "steadybeat_schedule_consecutive_failures",
    GAUGE,
    "Dead runs since the last that succeeded; schedules that have none are left out.",
    ("schedule",),
    WATCHDOG,
)
SCHEDULES_PAUSED = Metric("steadybeat_schedules_paused", GAUGE, "Schedules that are paused.", (), WATCHDOG)
DEAD_LETTERS = Metric(
    "steadybeat_dead_letters",
    GAUGE,
    "Runs that have given up and wait for a person; the latest 100,000 are counted.",
    ("task",),
    WATCHDOG,
)
RUNS_ENQUEUED = Metric(
    "steadybeat_runs_enqueued",
    GAUGE,
    "Runs that were sent and that no attempt has claimed; the oldest 100,000 of all queues are counted.",
    ("queue",),
    WATCHDOG,
)
QUEUE_HEAD = Metric(
    "steadybeat_queue_head_age_seconds", GAUGE, "How long ago the oldest of them was sent.", ("queue",), WATCHDOG
)
RUNS_RUNNING = Metric("steadybeat_runs_running", GAUGE, "Runs on which an attempt works.", ("service",), WATCHDOG)
OUTBOX_DUE = Metric(
    "steadybeat_outbox_due_messages", GAUGE, "Messages in the outbox whose time has come.", (), WATCHDOG
)
OUTBOX_AGE = Metric(
    "steadybeat_outbox_oldest_due_seconds",
    GAUGE,
    "How long the first of them is past its time; 0 where there is none.",
    (),
    WATCHDOG,
)
ALERTS_OPEN = Metric(
    "steadybeat_alerts_open",
    GAUGE,
    "Alerts that are not resolved, by rule, severity and state: open, acknowledged.",
    ("rule", "severity", "state"),
    WATCHDOG,
)
CANARY = Metric(
    "steadybeat_canary_unanswered_seconds",
    GAUGE,
    "How long ago the last canary of a queue was sent that nobody has answered; 0 where it was answered.",
    ("queue",),
    WATCHDOG,
)
HEARTBEATS_FAILING = Metric(
    "steadybeat_heartbeats_failing",
    GAUGE,
    "Monitors elsewhere that did not take their last heartbeat, by kind of monitor.",
    ("kind",),
    WATCHDOG,
)
QUEUE_MESSAGES = Metric(
    "steadybeat_queue_messages",
    GAUGE,
    "Messages on a queue in Redis, of all priorities; left out while Redis does not answer.",
    ("queue",),
    WATCHDOG,
)
UNACKNOWLEDGED = Metric(
    "steadybeat_unacknowledged_messages",
    GAUGE,
    "Messages that workers have taken from Redis and not acknowledged; left out while Redis does not answer.",
    (),
    WATCHDOG,
)

METRICS: dict[str, Metric] = {each.name: each for each in list(globals().values()) if isinstance(each, Metric)}
"""Every metric by its name."""

FACTS = frozenset(each for each in METRICS.values() if each.said_by == WATCHDOG)
"""Those that are read in the ledger and in Redis, and not counted."""


def counted_by(role: str) -> list[Metric]:
    """Return the metrics that a process counts: a ``worker``, a ``beat`` or a ``watchdog``."""
    return [each for each in METRICS.values() if role in each.said_by.split(", ") and each not in FACTS]
