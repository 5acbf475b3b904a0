"""Section 3, monitoring and alerting: who learns of a run that is missing, failed or slow, and what is kept of it."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from typing import Any

from steadybeat.audit import record
from steadybeat.audit.answer import Answer, failed, not_applicable, partly, passed, unknown
from steadybeat.audit.checking import check
from steadybeat.audit.guard import gap
from steadybeat.audit.monitored import external, grace, signal, worst
from steadybeat.audit.subject import Subject
from steadybeat.audit.surroundings import Surroundings
from steadybeat.audit.telling import APPLY, CHANNELS, is_told, told, watched
from steadybeat.audit.timed import timed
from steadybeat.delivery import SteadyAMQP
from steadybeat.ledger.recent import RecentRuns
from steadybeat.watchdog.usual import LEAST_COUNT

_TREND = 3
"""So many runs at least show where durations go."""


@check("3.1")
def start(subject: Subject, around: Surroundings) -> Answer:
    """A monitor elsewhere is told when a run begins."""
    return signal(subject, around, "start")


@check("3.2")
def success(subject: Subject, around: Surroundings) -> Answer:
    """A monitor elsewhere is told that a run has succeeded."""
    return signal(subject, around, "success")


@check("3.3")
def failure(subject: Subject, around: Surroundings) -> Answer:
    """A monitor elsewhere is told that a run has failed."""
    return signal(subject, around, "fail")


@check("3.4")
def grace_period(subject: Subject, around: Surroundings) -> Answer:
    """The monitor knows how late a run may be."""
    if not subject.schedules:
        return not_applicable("it has no schedule: nothing is late")
    return worst([grace(each, around) for each in timed(subject)])


@check("3.5")
def elsewhere(subject: Subject, around: Surroundings) -> Answer:
    """The monitor stands outside of Redis, Postgres and the workers."""
    return external(subject, around)


@check("3.6")
def missed(subject: Subject, around: Surroundings) -> Answer:
    """People are told of fires that are missed."""
    if not subject.schedules:
        return not_applicable("it has no schedule: no fire can be missed")
    return is_told(subject, around, "missed", also=f"steadybeat_missed_seconds={around.settings.missed_seconds:g} s")


@check("3.7")
def failures(subject: Subject, around: Surroundings) -> Answer:
    """People are told of runs that fail."""
    rules = ["failed"] if subject.schedules else ["dead_letter"]
    counts = [each.policies.failures_before_alert or 1 for each in timed(subject)]
    return is_told(subject, around, *rules, also=f"after {max(counts)} dead runs in a row" if counts else "")


@check("3.8")
def slow(subject: Subject, around: Surroundings) -> Answer:
    """People are told of runs that take far longer than those before them."""
    task, settings = subject.task, around.settings
    floor = settings.slower_seconds
    if floor >= task.time_limit:
        return failed(
            f"steadybeat_slower_seconds={floor:g} s, time_limit={task.time_limit:g} s: no run can be slower",
            f"let steadybeat_slower_seconds be less than {task.time_limit:g}",
        )
    rules = ["slower", "running_too_long"] if subject.schedules else ["running_too_long"]
    also = f"steadybeat_slower_factor={settings.slower_factor:g} times p95 of four weeks"
    runs = (record.recent(around) or {}).get(subject.name)
    known = runs.succeeded_count if runs else 0
    enough = "" if known >= LEAST_COUNT else f", of which there have to be {LEAST_COUNT}; until then its time limit"
    also += f", {known} runs known{enough}"
    return is_told(subject, around, *rules, also=also)


@check("3.9")
def owner(subject: Subject, around: Surroundings) -> Answer:
    """Alerts go to whoever owns the task."""
    task = subject.task
    if not task.owner:
        return failed("owner=None", "name who answers for it: owner='payments-team'")
    way = told(subject, around, "failed")
    fitting = [route for route in around.routes.routes if route.number in way.way.routes]
    if not way.way.to:
        return failed(f"owner={task.owner!r}; {way}", CHANNELS)
    patterns = [pattern for route in fitting for pattern in route.matches.get("owner", ()) if pattern != "*"]
    if not patterns:
        return partly(
            f"owner={task.owner!r}; {way}: the route is everybody's",
            f'give its owner a route: {{"owner": "{task.owner}", "to": […]}} in steadybeat_alert_routes',
        )
    return _as_applied(subject, around, f"owner={task.owner!r}; {way}, owner {', '.join(patterns)}")


def _as_applied(subject: Subject, around: Surroundings, said: str) -> Answer:
    """Return a good answer if the ledger, which alerts are made from, knows the owner as the code says it."""
    rows = record.tasks(around)
    if rows is None:
        return unknown(f"{said}; what the deploy has written down: {record.away(around)}", record.REACH)
    row = rows.get(subject.name)
    known = None if row is None else row.owner
    if known != subject.task.owner:
        return failed(f"{said}; but steadybeat.tasks has owner={known!r}", APPLY)
    return passed(f"{said}; steadybeat.tasks has it")


@check("3.10")
def escalation(subject: Subject, around: Surroundings) -> Answer:
    """An alert that nobody acknowledges goes to somebody else."""
    way = told(subject, around, "failed" if subject.schedules else "dead_letter")
    if not way.way.to:
        return failed(str(way), CHANNELS)
    steps = way.way.escalate
    remedy = 'give its route a step: "escalate": [{"after": "30m", "to": ["oncall"]}]'
    if not steps:
        return failed(f"{way}: the route has no escalate", remedy)
    shown = ", ".join(f"after {step.after} {'+'.join(step.to)}" for step in steps)
    if not {name for step in steps for name in step.to} - {*way.way.to}:
        return partly(f"{way}; {shown}: nobody who was not told before", remedy)
    return watched(around, f"{way}; {shown}")


@check("3.11")
def history(subject: Subject, around: Surroundings) -> Answer:
    """What became of its runs can be seen."""
    days = around.settings.retention_seconds / 86400
    kept = f"steadybeat_retention_seconds: {days:g} days; `celery -A … runs list --task {subject.name}`"
    return _of_runs(subject, around, lambda runs: f"{_counted(runs)}, {kept}")


def _of_runs(subject: Subject, around: Surroundings, said: Any) -> Answer:
    why = gap(subject.task)
    if why:
        return failed(why, "let its runs be recorded")
    recent = record.recent(around)
    if recent is None:
        return unknown(f"its runs are recorded; what there are: {record.away(around)}", record.REACH)
    return passed(said(recent.get(subject.name)))


def _counted(runs: RecentRuns | None) -> str:
    if runs is None:
        return "no run of it has begun yet"
    return f"its last {runs.run_count} runs since {runs.since:%Y-%m-%d %H:%MZ}: {runs.dead_count} dead"


@check("3.12")
def trend(subject: Subject, around: Surroundings) -> Answer:
    """Durations of its runs are kept for long enough to see where they go."""
    keeps = around.settings.retention_seconds
    for schedule in timed(subject):
        fires = list(islice(schedule.rule.between(around.now, around.now + timedelta(seconds=keeps)), _TREND))
        if len(fires) < _TREND:
            return partly(
                f"{schedule.name}: steadybeat_retention_seconds={keeps:g} s holds {len(fires)} of its runs",
                f"keep {_TREND} at least: let steadybeat_retention_seconds be longer",
            )
    return _of_runs(subject, around, _durations)


def _durations(runs: RecentRuns | None) -> str:
    kept = "started_at and finished_at of each attempt are kept"
    if runs is None or runs.p50_seconds is None or runs.p95_seconds is None:
        return f"{kept}; none has succeeded yet"
    return f"{kept}: p50 {runs.p50_seconds:.3g} s, p95 {runs.p95_seconds:.3g} s of {runs.succeeded_count}"


@check("3.13")
def failure_rate(subject: Subject, around: Surroundings) -> Answer:
    """Its failure rate is computed from its runs."""

    def said(runs: RecentRuns | None) -> str:
        if runs is None:
            return "none of its runs has ended; counted from steadybeat.runs"
        share = f"{runs.failure_share:.1%} ({runs.dead_count} dead, {runs.succeeded_count} succeeded)"
        return f"failure rate {share}, counted from steadybeat.runs"

    return _of_runs(subject, around, said)


@check("3.14")
def one_view(subject: Subject, around: Surroundings) -> Answer:
    """All jobs are in one view, joined by correlation id."""
    amqp = type(around.app.amqp)
    if not issubclass(amqp, SteadyAMQP):
        return failed(
            f"app.amqp is a {amqp.__module__}.{amqp.__qualname__}: what is sent is not recorded first",
            "leave app.amqp_cls as steadybeat.install() has set it",
        )
    runs = (record.recent(around) or {}).get(subject.name)
    if runs is not None and runs.correlated_count < runs.run_count:
        lacking = runs.run_count - runs.correlated_count
        return partly(
            f"{lacking} of its last {runs.run_count} runs have no correlation id",
            "send it through an app on which steadybeat is installed",
        )
    joined = "`celery -A … runs list` and Flower's pages have the runs of all services in one ledger"
    return _of_runs(subject, around, lambda found: f"{joined}; {_correlated(found)}")


def _correlated(runs: RecentRuns | None) -> str:
    return f"{runs.correlated_count} of {runs.run_count} with a correlation id" if runs else "no run of it yet"
