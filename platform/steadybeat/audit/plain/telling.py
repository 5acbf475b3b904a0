"""Telling: whom a plain application tells of its runs: monitors elsewhere, people, counters."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass

from steadybeat.audit.plain.program import Job, Program
from steadybeat.audit.source import Call, Source, Text

MONITORS = re.compile(
    r"hc-ping\.com|healthchecks\.io|cronitor|nosnch\.in|deadmanssnitch|betterstack|betteruptime|uptimerobot|checklyhq|"
    r"dead.?man|api\.opsgenie\.com/v2/heartbeats",
    re.IGNORECASE,
)
"""Addresses of monitors that miss a ping which does not come."""

ESCALATING = re.compile(
    r"pagerduty|opsgenie|incident\.io|rootly|squadcast|splunk.?on.?call|victorops|grafana.?oncall", re.IGNORECASE
)
"""Services that go on to the next person where one does not answer."""

ALERTING = re.compile(r"alert|pager|page_|on_?call|escalat|slack|incident", re.IGNORECASE)
COUNTING = frozenset({"inc", "incr", "increment", "observe", "timing", "histogram", "count", "gauge"})
METRICS = ("prometheus", "statsd", "datadog", "metric", "counter", "histogram", "otel", "meter")
SIGNALS = {
    "start": ("task_prerun",),
    "success": ("task_success", "task_postrun"),
    "failure": ("task_failure", "task_postrun"),
}
HOOKS = {
    "start": ("before_start", "__call__"),
    "success": ("on_success", "after_return"),
    "failure": ("on_failure", "after_return"),
}
CRONS = ("sentry_sdk.crons.", "sentry_sdk.monitor")
ALL = frozenset({"start", "success", "failure"})


@dataclass(frozen=True, slots=True)
class Monitor:
    """A monitor elsewhere that is told of a job.

    Attributes:
        name: Whose.
        place: Where the code tells it.
        told: Of what: ``start``, ``success``, ``failure``.
        grace: What the code says of how late a ping may come; empty where that is set there.
    """

    name: str
    place: str
    told: frozenset[str]
    grace: str = ""


def monitor_of(job: Job, program: Program) -> Monitor | None:
    """Return the monitor that is told of a job, or None."""
    return _sentry(job, program) or _pinged(job) or _by_signals(job, program)


def _sentry(job: Job, program: Program) -> Monitor | None:
    """Return Sentry's crons, where its integration tells them of every schedule, or the job does so itself."""
    own = [ast.unparse(each.node) for each in job.source.calls if each.name.startswith(CRONS)]
    pairs = zip(job.source.decorators, job.source.decorations, strict=True)
    own += [text for name, text in pairs if name.startswith(CRONS)]
    if own:
        margin = next((each for each in own if "checkin_margin" in each), "")
        return Monitor("Sentry", job.source.place, ALL, margin)
    for call in program.calls:
        if call.keyword("monitor_beat_tasks") is True and job.entries:
            return Monitor("Sentry", call.place, ALL)
    return None


def _pinged(job: Job) -> Monitor | None:
    """Return the monitor whose address the job's own code asks for."""
    if not job.source.outside:
        return None
    texts = [each for each in job.source.texts if MONITORS.search(each.text)]
    return _monitor(texts, _of_texts(texts)) if texts else None


def _by_signals(job: Job, program: Program) -> Monitor | None:
    found: list[Text] = []
    of = set()
    for which in SIGNALS:
        for source in signal_of(job, program, which):
            texts = [each for each in source.texts if MONITORS.search(each.text)]
            if texts and source.outside:
                found += texts
                of.add(which)
    return _monitor(found, frozenset(of)) if found else None


def _of_texts(texts: Iterable[Text]) -> frozenset[str]:
    said = {
        "start" if each.text.endswith("/start") else "failure" if each.text.endswith("/fail") else "success"
        for each in texts
    }
    return frozenset(said)


def _monitor(texts: list[Text], of: frozenset[str]) -> Monitor:
    match = MONITORS.search(texts[0].text)
    return Monitor(match.group(0) if match else "a monitor", texts[0].place, of)


def signal_of(job: Job, program: Program, which: str) -> list[Source]:
    """Return what is called when a run starts, succeeds or fails: receivers of signals, and the task's own hooks."""
    own = [source for name, source in job.hooks.items() if name in HOOKS[which]]
    return [*own, *(source for signal in SIGNALS[which] for source in program.receivers(signal))]


def told(source: Source) -> str:
    """Return by which call something tells somebody outside of the workers; empty where it tells nobody."""
    calls: list[Call] = [
        *(each.call for each in source.outside),
        *source.mails,
        *source.called(
            "sentry_sdk.capture_exception", "sentry_sdk.capture_message", "notify_opsgenie", "apprise.Apprise"
        ),
    ]
    return f"{calls[0].written}() at {calls[0].place}" if calls else ""


def counted(source: Source) -> str:
    """Return by which call something counts, in a metric; empty where it does not."""
    for call in source.calls:
        said = f"{call.name} {call.written}".lower()
        if call.last in COUNTING and any(word in said for word in METRICS):
            return f"{call.written}() at {call.place}"
    return ""


def tells_of_failures(job: Job, program: Program) -> str:
    """Return by which call people are told of a failure of a job; empty where nobody is."""
    for source in signal_of(job, program, "failure"):
        if said := told(source):
            return said
    return ""


def captured(program: Program) -> str:
    """Return where errors are sent to a crash reporter; empty where they are not."""
    found = program.called("sentry_sdk.init", "rollbar.init", "bugsnag.configure", "honeybadger.configure")
    return f"{found[0].written}() at {found[0].place}" if found else ""


def sends_events(program: Program) -> bool:
    """Say whether workers send events of tasks."""
    by_option = any(each.is_worker and each.words & {"-E", "--task-events"} for each in program.commands)
    return bool(program.conf.worker_send_task_events) or by_option


def alert_stub(sources: Iterable[Source]) -> str:
    """Return a function that is called like an alert and does nothing; empty where there is none."""
    for source in sources:
        for function in source.functions:
            name = function.definition.name
            if ALERTING.search(name.rpartition(".")[2]) and Source([function]).is_stub:
                return f"{name}() at {function.definition.place} tells nobody: it does nothing, or writes a line"
    return ""
