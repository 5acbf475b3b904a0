"""Watched: section 3, monitoring and alerting, of a plain application."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable

from steadybeat.audit.answer import Answer, failed, partly, passed, unknown
from steadybeat.audit.plain.checking import check
from steadybeat.audit.plain.defined import unscheduled
from steadybeat.audit.plain.program import Job, Program
from steadybeat.audit.plain.telling import (
    ESCALATING,
    alert_stub,
    captured,
    counted,
    monitor_of,
    sends_events,
    signal_of,
    tells_of_failures,
    told,
)
from steadybeat.audit.source import Source

RATE = re.compile(r"(fail\w*|error|success)_?(rate|ratio|share|percent)", re.IGNORECASE)
SLOW = re.compile(r"slow|too_long|overrun|duration", re.IGNORECASE)
USUAL = re.compile(r"percentile|quantile|p9[059]|median|average|avg\(|usual|history", re.IGNORECASE)
LONG = 7 * 86400  # seconds for which a history must be kept to be one
EVENTS = (
    "Set worker_send_task_events=True and task_send_sent_event=True, and run an exporter or Flower that keeps them."
)
PING = "Ping a monitor elsewhere (healthchecks.io, Cronitor, Sentry's crons) at the start and at each end of a run."


def _signal(job: Job, program: Program, which: str) -> Answer:
    """Return whether somebody is told that a run starts, succeeds or fails."""
    monitor = monitor_of(job, program)
    if monitor is not None and which in monitor.told:
        return passed(f"{monitor.name} is told ({monitor.place})")
    for source in signal_of(job, program, which):
        said = told(source) or counted(source)
        if said:
            return passed(said)
    if which == "failure" and (said := captured(program)):
        return passed(said)
    if which == "start" and job.task.track_started and program.conf.result_backend:
        return partly("track_started=True: the result backend says STARTED, and nobody is told", PING)
    if sends_events(program):
        return unknown(
            "worker_send_task_events=True: events are sent, and nothing here keeps them",
            f"Is there an exporter? celery -A {program.app.main} events --dump",
        )
    stub = alert_stub(signal_of(job, program, which))
    return failed(stub or f"no ping, no receiver of a signal and no hook tells of the {which} of a run", PING)


@check("3.1")
def starts(job: Job, program: Program) -> Answer:
    """Start signal."""
    return _signal(job, program, "start")


@check("3.2")
def succeeds(job: Job, program: Program) -> Answer:
    """Success signal."""
    return _signal(job, program, "success")


@check("3.3")
def fails(job: Job, program: Program) -> Answer:
    """Failure signal."""
    return _signal(job, program, "failure")


@check("3.4")
def grace(job: Job, program: Program) -> Answer:
    """Grace period set."""
    if (answer := unscheduled(job, program)) is not None:
        return answer
    monitor = monitor_of(job, program)
    if monitor is None:
        return failed("no monitor expects it, so nothing is late", PING)
    if monitor.grace:
        return passed(f"{monitor.grace} ({monitor.name})")
    return unknown(
        f"{monitor.name} is pinged ({monitor.place}); its grace time is set there",
        f"Look at the check of {job.name} at {monitor.name}.",
    )


@check("3.5")
def external(job: Job, program: Program) -> Answer:
    """The monitor is external to Redis, Postgres and the workers."""
    monitor = monitor_of(job, program)
    if monitor is not None:
        return passed(f"{monitor.name} ({monitor.place})")
    return failed("no monitor elsewhere is told of it: with the workers, who would tell goes too", PING)


@check("3.6")
def missed(job: Job, program: Program) -> Answer:
    """Missed fires alerted."""
    if (answer := unscheduled(job, program)) is not None:
        return answer
    monitor = monitor_of(job, program)
    if monitor is not None and "success" in monitor.told:
        return passed(f"{monitor.name} misses the ping of a fire that did not run ({monitor.place})")
    return failed("where Beat stands still, nothing is sent, and nobody learns of it", PING)


@check("3.7")
def failures(job: Job, program: Program) -> Answer:
    """Failures alerted."""
    said = tells_of_failures(job, program)
    if said:
        return passed(said)
    sentry = captured(program)
    if sentry:
        return unknown(
            f"{sentry}; whom it tells is set there",
            "Look at the alert rules of that project: does one go to the owner?",
        )
    stub = alert_stub([*signal_of(job, program, "failure"), job.source])
    remedy = "Connect a receiver to celery.signals.task_failure that posts to Slack, PagerDuty or by mail."
    return failed(stub or "no receiver of task_failure and no on_failure tells anybody", remedy)


@check("3.8")
def slow(job: Job, program: Program) -> Answer:
    """Slow runs alerted (against the task's own history)."""
    for source in program.functions_like(SLOW):
        where = f"{source.own.name}() at {source.place}" if source.own else ""
        if source.is_stub:
            return failed(f"{where} does nothing", "Compare the run's duration with those before, and tell somebody.")
        said = [*(each.text for each in source.texts), *(each.name for each in source.calls)]
        tells = told(source) or any(each.name in program.tellers for each in source.calls)
        if tells and any(map(USUAL.search, said)):
            return passed(f"{where} compares with what is usual")
    if metric := _durations(program):
        return unknown(
            f"durations are exported ({metric})",
            "Look at the rules of the metrics server: is one about this task's p95?",
        )
    return failed(
        "nothing compares a run's duration with those before",
        "Export durations, and alert on more than twice the task's p95.",
    )


@check("3.9")
def owners(job: Job, program: Program) -> Answer:
    """Alerts go to the owner."""
    owner = getattr(job.task, "owner", None)
    said = tells_of_failures(job, program)
    if not said:
        return failed(
            "there are no alerts" + (f" (owner={owner!r})" if owner else ", and no owner"),
            "Name an owner, and send alerts to him.",
        )
    if not owner:
        return failed(
            f"nobody owns it; every alert goes the same way ({said})",
            "Write owner='payments-team' on the task; route by it.",
        )
    uses = [each for source in signal_of(job, program, "failure") for each in source.texts if each.text == "owner"]
    reads = [
        each
        for source in signal_of(job, program, "failure")
        for each in source.functions
        if "owner" in ast.unparse(each.definition.tree)
    ]
    if uses or reads:
        return passed(f"owner={owner!r}; alerts are routed by it ({said})")
    return failed(f"owner={owner!r}, and alerts do not go by it ({said})", "Choose the channel by the task's owner.")


@check("3.10")
def escalated(job: Job, program: Program) -> Answer:
    """Unacknowledged alerts escalate."""
    said = tells_of_failures(job, program)
    found = program.text_like(ESCALATING)
    match = ESCALATING.search(found.text) if found is not None else None
    if said and found is not None and match is not None:
        return unknown(
            f"{match.group(0)} is told ({found.place})", "Look at the escalation policy of that service there."
        )
    return failed(
        "an alert that nobody takes is told once, or never",
        "Send alerts through PagerDuty or Opsgenie with an escalation policy.",
    )


@check("3.11")
def history(job: Job, program: Program) -> Answer:
    """Run history visible."""
    conf, own = program.conf, _recorded(job, program)
    if own:
        return passed(own)
    backend = str(conf.result_backend or "disabled")
    kind = backend.partition("://")[0]
    if backend.startswith("disabled") or job.task.ignore_result:
        return failed(
            f"result_backend={kind!r}, ignore_result={job.task.ignore_result}: nothing of a run is kept",
            "Keep results: result_backend='db+postgresql://…', result_extended=True, result_expires=None.",
        )
    expires = conf.result_expires
    kept = getattr(expires, "total_seconds", lambda: float(expires or 0))()
    if not conf.result_extended:
        return partly(
            f"result_backend={kind!r}, result_extended=False: results do not say of which task they are",
            "Set result_extended=True.",
        )
    if kept and kept < LONG:
        return partly(
            f"result_backend={kind!r} forgets after {kept / 86400:.0f} days", "Set result_expires to some months."
        )
    if kind in {"redis", "rediss", "sentinel", "cache", "rpc"}:
        return partly(
            f"result_backend={kind!r}: results are found by id only, not by task and time",
            "Use a database: result_backend='db+postgresql://…' or 'django-db'.",
        )
    return passed(f"result_backend={kind!r}, result_extended=True, result_expires={expires}")


def _recorded(job: Job, program: Program) -> str:
    """Return what writes a row for each run, where something does."""
    sources = [*_ends(job, program), job.source]
    for source in sources:
        for write in source.writes:
            if write.kind in {"INSERT", "UPSERT"} and re.search(
                r"\b(job|task)?_?(runs?|executions?|history)\b", write.text, re.IGNORECASE
            ):
                return f"{write.text[:80]} ({write.place})"
    return ""


def _ends(job: Job, program: Program) -> Iterable[Source]:
    return [*signal_of(job, program, "success"), *signal_of(job, program, "failure")]


@check("3.12")
def durations(job: Job, program: Program) -> Answer:
    """Duration trend kept."""
    backend = str(program.conf.result_backend or "").partition("://")[0]
    if backend.startswith("django-db") and not job.task.ignore_result:
        return passed("result_backend='django-db': date_started and date_done of each run")
    if metric := _durations(program):
        return passed(f"durations are exported ({metric})")
    if sends_events(program):
        return unknown("worker_send_task_events=True", EVENTS)
    return failed(
        "nobody notes how long a run took", "Export durations of task_prerun to task_postrun, as a histogram per task."
    )


def _durations(program: Program) -> str:
    found = program.called("prometheus_client.Histogram", "prometheus_client.Summary", "observe", "timing", "histogram")
    return f"{found[0].written}() at {found[0].place}" if found else ""


@check("3.13")
def rate(job: Job, program: Program) -> Answer:
    """Failure rate computed from runs."""
    for source in program.functions_like(RATE):
        where = f"{source.own.name}() at {source.place}" if source.own else ""
        values = source.constants()
        if values or source.is_stub:
            return failed(
                f"{where} returns {values[0] if values else 'nothing'}, whatever happens",
                "Count the runs that failed and those that ended.",
            )
        if source.statements or source.called("execute", "count", "filter", "AsyncResult"):
            return passed(f"{where} counts runs")
    good, bad = ([counted(each) for each in signal_of(job, program, which)] for which in ("success", "failure"))
    if any(good) and any(bad):
        return passed(f"counted: {next(filter(None, good))}; {next(filter(None, bad))}")
    if sends_events(program):
        return unknown("worker_send_task_events=True", EVENTS)
    return failed("runs that fail are not counted", "Count task_success and task_failure per task.")


@check("3.14")
def one_view(job: Job, program: Program) -> Answer:
    """All jobs in one view, joined by correlation id."""
    said = " ".join(map(str, (program.conf.worker_log_format, program.conf.worker_task_log_format)))
    joined = (
        "root_id" in said
        or "correlation_id" in said
        or program.text_like(re.compile(r"\broot_id\b|correlation_id")) is not None
    )
    flower = [each for each in program.commands if "flower" in each.words]
    if flower and sends_events(program) and joined:
        return passed(f"Flower ({flower[0].place}), and root_id in the log")
    if sends_events(program) or flower:
        return partly(
            "events show all jobs in Flower; the log has no root_id to join them",
            "Put root_id into worker_task_log_format.",
        )
    return failed("worker_send_task_events=False, and no log line has root_id", f"{EVENTS} Log root_id.")
