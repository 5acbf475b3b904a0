"""Defined: section 1, job definition, of a plain application."""

from __future__ import annotations

import re

from steadybeat.audit.answer import Answer, failed, not_applicable, partly, passed, unknown
from steadybeat.audit.plain.asking import autoretry, hard_limit, not_prefork, retries
from steadybeat.audit.plain.checking import check
from steadybeat.audit.plain.program import Entry, Job, Program

IN_WORDS = re.compile(
    r"\b(every|each)\s+(\w+\s+)?(second|minute|hour|day|night|week|month|quarter|year|morning|evening)s?\b"
    r"|\b(every|on|each)\s+(mon|tues|wednes|thurs|fri|satur|sun)days?\b"
    r"|\b(hourly|daily|nightly|weekly|monthly|quarterly|yearly|at night|at midnight|at noon|once an? \w+)\b"
    r"|\bat \d{1,2}(:\d\d|\s*[ap]m)",
    re.IGNORECASE,
)
DECLARED = ("depends_on", "dependencies", "requires")


def unscheduled(job: Job, program: Program) -> Answer | None:
    """Return the answer to a line about schedules where a job has none that can be seen."""
    if job.entries:
        return None
    if program.keeps_schedules_elsewhere:
        return unknown(
            f"beat_scheduler={program.conf.beat_scheduler!r}: schedules are rows of a database",
            f"Look there: PeriodicTask.objects.filter(task={job.name!r}, enabled=True), in manage.py shell.",
        )
    return not_applicable("beat_schedule has no entry for it")


def _rules(job: Job) -> list[Entry]:
    return [each for each in job.entries if each.rule is not None]


@check("1.1")
def named(job: Job, program: Program) -> Answer:
    """Unique, stable name."""
    where = job.source.place or str(job.task.__module__)
    module = str(job.task.__module__)
    if job.name.startswith("__main__.") or module == "__main__":
        return failed(
            f"name={job.name!r}: follows the script that is run", "Name it: @app.task(name='shop.orders.expire')."
        )
    twins = _named_alike(job, program)
    if len(twins) > 1:
        return failed(
            f"name={job.name!r}: is given by {' and '.join(twins)}; only one of them is run",
            "Give each task a name of its own.",
        )
    if job.name.startswith(f"{module}."):
        return passed(f"name={job.name!r}: its module and its function ({where})")
    return passed(f"name={job.name!r}: given by name= ({where})")


def _named_alike(job: Job, program: Program) -> list[str]:
    return [
        each.place
        for each in program.calls
        if each.keyword("name") == job.name and (each.last in {"task", "shared_task", "periodic_task"})
    ]


@check("1.2")
def in_words(job: Job, program: Program) -> Answer:
    """Schedule explained in words."""
    if (answer := unscheduled(job, program)) is not None:
        return answer
    said = job.source.own
    text = " ".join(
        filter(
            None,
            (
                str(job.task.__doc__ or ""),
                said.documented if said else "",
                *(each.name.replace("-", " ") for each in job.entries),
            ),
        )
    )
    found = IN_WORDS.search(text)
    words = "; ".join(each.rule.explain() for each in _rules(job) if each.rule is not None)
    if found is not None:
        return passed(
            f"{found.group(0)!r} stands in its docstring or in the entry's name; the rule says: {words or '?'}"
        )
    names = ", ".join(each.name for each in job.entries)
    return failed(
        f"neither the docstring nor {names!r} says when it is due", f"Say it in the docstring: {words or 'in words'}."
    )


@check("1.3")
def zone(job: Job, program: Program) -> Answer:
    """Time zone explicit."""
    if (answer := unscheduled(job, program)) is not None:
        return answer
    conf = program.conf
    if conf.timezone:
        return passed(f"timezone={str(conf.timezone)!r} (configuration)")
    if not conf.enable_utc:
        return failed("timezone=None, enable_utc=False: crontabs follow the machine", "Set timezone='UTC'.")
    return partly(
        "timezone=None: Celery takes UTC, and nobody has said so", "Set timezone='UTC', or the zone that is meant."
    )


@check("1.4")
def clocks(job: Job, program: Program) -> Answer:
    """Not in the hours that daylight saving skips or repeats."""
    if (answer := unscheduled(job, program)) is not None:
        return answer
    for entry in job.entries:
        if entry.rule is None:
            return unknown(f"{entry.name}: {entry.why_not}", "Write it as a crontab or an interval.")
        cautions = entry.rule.cautions()
        if cautions:
            return failed(
                f"{entry.name}: {entry.rule.explain()}: when the clocks of {program.zone} change, that is skipped or"
                " comes twice, and Celery states no policy",
                "Set timezone='UTC', or take an hour outside of 00:00-03:00.",
            )
        if _keeps_rhythm(entry) and program.zone != "UTC" and _changes(program.zone):
            return failed(
                f"{entry.name}: {entry.rule.explain()}: Celery's crontab leaves out fires of the hour that is repeated"
                f" in {program.zone} (celery#10107)",
                "Set timezone='UTC', or write the interval as a timedelta.",
            )
    return passed("; ".join(f"{each.name}: {each.rule.explain()}" for each in _rules(job) if each.rule is not None))


def _keeps_rhythm(entry: Entry) -> bool:
    """Say whether a crontab is due in every hour, or in the early ones."""
    hours = getattr(entry.written, "hour", None)
    return isinstance(hours, set | frozenset) and len(hours) > 1 and bool(hours & {0, 1, 2, 3})


def _changes(name: str) -> bool:
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    try:
        zone = ZoneInfo(name)
    except (KeyError, ValueError):
        return False
    return len({datetime(2026, month, 1, tzinfo=UTC).astimezone(zone).utcoffset() for month in range(1, 13)}) > 1


@check("1.5")
def documented(job: Job, program: Program) -> Answer:
    """Purpose documented."""
    own = job.source.own
    written = str(vars(type(job.task)).get("__doc__") or "").strip().partition("\n")[0]
    text = written or (own.documented if own is not None else "")
    if len(text.split()) >= 3:
        return passed(f"docstring: {text}")
    remedy = "Say in a docstring what it is for, and what makes it safe to run twice."
    return failed(f"docstring: {text!r} ({job.source.place or job.name})", remedy)


@check("1.6")
def limited(job: Job, program: Program) -> Answer:
    """Time limit set."""
    limit, where = hard_limit(job, program)
    pool = not_prefork(program)
    if limit is None:
        return failed(where, "Set time_limit= on the task, or task_time_limit; soft_time_limit a little below.")
    if pool:
        return failed(f"{where}, but a pool of {pool} cannot enforce it", "Use worker_pool='prefork'.")
    return passed(where)


@check("1.7")
def memory(job: Job, program: Program) -> Answer:
    """Memory limit set."""
    limit, pool = program.conf.worker_max_memory_per_child, not_prefork(program)
    for command in program.commands:
        limit = limit or command.option("--max-memory-per-child")
    if not limit:
        return failed(
            "worker_max_memory_per_child=None", "Set worker_max_memory_per_child, in KiB, below what the host gives."
        )
    if pool:
        return failed(
            f"worker_max_memory_per_child={limit}, but a pool of {pool} cannot enforce it", "Use worker_pool='prefork'."
        )
    return passed(f"worker_max_memory_per_child={limit} KiB")


@check("1.8")
def retried(job: Job, program: Program) -> Answer:
    """Retry policy set (count and back-off)."""
    asked, errors, count = retries(job), autoretry(job), job.task.max_retries
    if not asked and not errors:
        return failed(
            "no autoretry_for, no self.retry(): the first error is the end of it",
            "Set autoretry_for=(ConnectionError, TimeoutError, …), retry_backoff=True, max_retries=5.",
        )
    if count is None:
        return failed("max_retries=None: it is tried for ever", "Set max_retries=5.")
    backoff = (
        bool(getattr(job.task, "retry_backoff", False))
        if errors
        else all("countdown" in each.keywords or "eta" in each.keywords for each in asked)
    )
    if not backoff:
        fixed = f"default_retry_delay={job.task.default_retry_delay} s each time"
        return partly(
            f"max_retries={count}, {fixed}: no back-off", "Set retry_backoff=True, or a countdown that grows."
        )
    how = (
        f"autoretry_for, retry_backoff={job.task.retry_backoff}"
        if errors
        else f"self.retry(countdown=…) at {asked[0].place}"
    )
    return passed(f"max_retries={count}, {how}")


@check("1.9")
def depends(job: Job, program: Program) -> Answer:
    """Dependencies declared."""
    for name in DECLARED:
        declared = getattr(job.task, name, None)
        if declared:
            return passed(f"{name}={list(declared)!r}")
    asked = sorted(
        {each.call.written for each in job.source.outside} | ({"a database"} if job.source.statements else set())
    )
    seen = f"it uses {', '.join(asked)}, and says so nowhere" if asked else "nothing is declared"
    return failed(seen, "Write depends_on=['postgres', 'stripe'] on the task, and check each before workers start.")
