"""Section 1, job definition: what a task says of itself, and what its schedules mean."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from celery.schedules import crontab

from steadybeat.audit import by_hand, naming, pooled, record
from steadybeat.audit.answer import Answer, failed, not_applicable, partly, passed, unknown
from steadybeat.audit.checking import check
from steadybeat.audit.guard import gap
from steadybeat.audit.subject import Subject
from steadybeat.audit.surroundings import Surroundings
from steadybeat.audit.timed import Timed, timed
from steadybeat.schedule.surprises import Surprise, surprises
from steadybeat.task.retrying import max_retries

_NO_SCHEDULE = not_applicable("it has no schedule")
_RULE_PART = re.compile(r"\b(BY[A-Z]+|WKST|COUNT|UNTIL)=")
_OF_LEDGER = frozenset({"postgres", "postgresql", "database"})
_OF_BROKER = frozenset({"redis", "broker"})
_LOOKED_AHEAD = timedelta(days=2 * 366)


@check("1.1")
def name(subject: Subject, around: Surroundings) -> Answer:
    """Its name is its own, and stays the same wherever it is imported."""
    given, function = subject.name, getattr(subject.task.run, "__qualname__", "")
    if given.startswith("__main__.") or "<" in given:
        return failed(
            f"name={given!r}: says how its program was started, not what it is",
            "give it name=, or define it at the top of a module that workers import",
        )
    places = naming.places_of(around.app, given)
    if len(places) > 1:
        return failed(
            f"name={given!r} is defined {len(places)} times, of which one counts: {', '.join(places)}",
            "give each a name of its own",
        )
    known = (record.tasks(around) or {}).get(given)
    if known is not None and known.service != subject.service:
        return failed(
            f"name={given!r}: the ledger has it as a task of service {known.service}, here it is of {subject.service}",
            "give one of them another name; or, where it has moved, run celery -A … schedules apply",
        )
    automatic = given == f"{getattr(subject.task.run, '__module__', '')}.{function}"
    how = "of its module and function" if automatic else "name="
    return passed(f"{given} ({how}){f', defined once: {places[0]}' if places else ''}")


@check("1.2")
def in_words(subject: Subject, around: Surroundings) -> Answer:
    """What its schedules mean stands in words that anybody reads."""
    if not subject.schedules:
        return _NO_SCHEDULE
    said = [(each.name, each.rule.explain()) for each in timed(subject)]
    raw = [words for _, words in said if _RULE_PART.search(words)]
    if raw:
        return partly(
            f"not all of it is words: {raw[0]}", "write it as cron(…) or every(…), or as any_of(…) of several of these"
        )
    return passed("; ".join(f"{schedule}: {words}" for schedule, words in said))


@check("1.3")
def time_zone(subject: Subject, around: Surroundings) -> Answer:
    """By whose clock it goes is said; where nobody says it, UTC's."""
    if not subject.schedules:
        return _NO_SCHEDULE
    said = []
    for each in timed(subject):
        written = each.written.get("schedule")
        if getattr(written, "nowfun", None) is not None:
            return failed(
                f"{each.name}: its crontab has nowfun=, a clock that no other process has",
                "write cron('…', tz='Europe/Riga')",
            )
        vague = sorted(zone for zone in each.rule.zones if _is_vague(zone))
        if vague:
            return partly(
                f"{each.name}: {', '.join(vague)} names no place: whether its clocks change is anybody's guess",
                "name the zone by its place, such as Europe/Riga, or UTC",
            )
        said.append(f"{each.name}: {_zones(each, written, around.conf)}")
    return passed("; ".join(said))


def _is_vague(zone: str) -> bool:
    return "/" not in zone and zone not in {"UTC", "GMT"} and zone[0] not in "+-"


def _zones(schedule: Timed, written: Any, conf: Any) -> str:
    zones = ", ".join(sorted(schedule.rule.zones))
    if not zones:
        return "counted in UTC"
    if not isinstance(written, crontab):
        return f"tz={zones}"
    return f"{zones} ({'timezone= of the configuration' if conf.timezone else 'timezone is unset'})"


@check("1.4")
def clock_changes(subject: Subject, around: Surroundings) -> Answer:
    """It is not due in hours that are skipped or repeated, or says what is meant then."""
    if not subject.schedules:
        return _NO_SCHEDULE
    said = []
    for each in timed(subject):
        cautions = each.rule.cautions()
        if cautions:
            return failed(f"{each.name}: {cautions[0]}", "say dst='once', 'skip' or 'twice'; or take another hour")
        stated = '"dst"' in json.dumps(each.spec)
        found = surprises(each.rule, around.now, around.now + _LOOKED_AHEAD)
        if found and not stated:
            return failed(
                f"{each.name}: {_surprise(found[0])}", "take another hour, or tz='UTC'; or write cron(…, dst='once')"
            )
        zones = ", ".join(sorted(each.rule.zones)) or "no zone"
        meant = each.rule.explain() if stated else f"{zones}: no change of clocks does anything to it for two years"
        said.append(f"{each.name}: {meant}")
    return passed("; ".join(said))


def _surprise(found: Surprise) -> str:
    walls = ", ".join(f"{wall:%Y-%m-%d %H:%M}" for wall in found.walls[:3])
    return f"{walls} {found.zone} is {found.kind}"


@check("1.5")
def purpose(subject: Subject, around: Surroundings) -> Answer:
    """What it is for stands in its docstring."""
    text = str(vars(type(subject.task)).get("__doc__") or getattr(subject.task.run, "__doc__", None) or "").strip()
    first = text.partition("\n")[0].strip()
    remedy = "say in the first line of its docstring what it is for; people read it when it fails"
    if not first:
        return failed(f"no docstring ({subject.source.place or subject.name})", remedy)
    if len(first.split()) < 3:
        return partly(f"docstring: {first!r}", remedy)
    return passed(f"docstring: {first}")


@check("1.6")
def time_limit(subject: Subject, around: Surroundings) -> Answer:
    """No attempt of it goes on for ever."""
    limit, threads = by_hand.limit_of(subject.task), pooled.shared(around)
    if not limit:
        return failed(pooled.limits(subject), "set time_limit= and soft_time_limit= of the task")
    if threads:
        return failed(f"{pooled.limits(subject)}; {threads} keeps no time limit", pooled.USE_PREFORK)
    return passed(f"{pooled.limits(subject)}; worker_pool={around.conf.worker_pool!r} keeps them")


@check("1.7")
def memory_limit(subject: Subject, around: Surroundings) -> Answer:
    """No attempt of it takes all the memory there is."""
    bounds, threads = pooled.memory_bounds(subject, around), pooled.shared(around)
    remedy = "set memory_limit= of the task, in bytes, such as 256 * 2**20"
    if not bounds:
        own = getattr(subject.task, "memory_limit", None)
        return failed(f"memory_limit={own}, worker_max_memory_per_child=None; {gap(subject.task) or 'none'}", remedy)
    if threads:
        return failed(f"{', '.join(bounds)}; {threads} keeps no memory limit", pooled.USE_PREFORK)
    return passed(f"{', '.join(bounds)}; worker_pool={around.conf.worker_pool!r}: who took more is replaced")


@check("1.8")
def retry_policy(subject: Subject, around: Surroundings) -> Answer:
    """How often it is tried again, and after how long, is said."""
    task, why = subject.task, gap(subject.task)
    count = max_retries(task)
    if why:
        return _retried_by_celery(subject, count, why)
    stated = {each: getattr(task, each) for each in ("max_retries", "retry_for", "expires") if _states(task, each)}
    if (getattr(task, "retry_kwargs", None) or {}).get("max_retries") is not None:
        stated["max_retries"] = count
    said = ", ".join(f"{option}={value}" for option, value in stated.items())
    if count == 0:
        return passed("max_retries=0: it is not tried again")
    pauses = _pauses(task, around.settings)
    unsaid = [*([] if stated else ["max_retries="]), *([] if _states_pause(task) else ["retry_backoff="])]
    if unsaid:
        return partly(
            f"{said or f'max_retries={count}'}, {pauses}; by default: {', '.join(unsaid)}",
            f"state {' and '.join(unsaid)} of the task",
        )
    return passed(f"{said}, {pauses}")


def _retried_by_celery(subject: Subject, count: int | None, why: str) -> Answer:
    task = subject.task
    own = subject.source.called("self.retry", "retry") if subject.source.known else ()
    listed = getattr(task, "autoretry_for", None)
    if not listed and not own:
        return failed(f"{why}; no autoretry_for, no retry(): an error ends it", "let its runs be recorded")
    said = f"max_retries={count}, retry_backoff={getattr(task, 'retry_backoff', None)}"
    if count is None or not getattr(task, "retry_backoff", None):
        return partly(said, "set max_retries= and retry_backoff=")
    return passed(said)


def _states(task: Any, option: str) -> bool:
    """Return whether the code of a task, or a base class of the app's own, states one of its options."""
    own = [kind for kind in type(task).__mro__ if not kind.__module__.startswith(("celery.", "steadybeat."))]
    return any(vars(kind).get(option) is not None for kind in own)


def _states_pause(task: Any) -> bool:
    return _states(task, "retry_backoff") or (getattr(task, "retry_kwargs", None) or {}).get("countdown") is not None


def _pauses(task: Any, settings: Any) -> str:
    countdown = (getattr(task, "retry_kwargs", None) or {}).get("countdown")
    backoff = getattr(task, "retry_backoff", None)
    if not backoff and countdown is not None:
        return f"a pause of {countdown:g} s before each retry"
    base = float(backoff or 0) or settings.retry_backoff_seconds
    longest = float(getattr(task, "retry_backoff_max", 0) or settings.retry_backoff_max_seconds)
    return f"pauses from {base:g} s on, each twice the one before, up to {longest:g} s"


@check("1.9")
def dependencies(subject: Subject, around: Surroundings) -> Answer:
    """What it needs is declared, and answers."""
    declared, source = list(getattr(subject.task, "depends_on", None) or ()), subject.source
    needed = _needed(subject)
    remedy = "name what it needs: depends_on=['postgres', …]"
    if not declared:
        if not source.known:
            return by_hand.unread(source, "depends_on is empty")
        if not needed and not source.statements:
            return not_applicable(f"depends_on is empty, and its code needs nothing ({source.place})")
        what = needed[0] if needed else f"a database ({source.statements[0].place})"
        return failed(f"depends_on is empty; its code needs {what}", remedy)
    said = f"depends_on={declared}"
    if needed and set(declared) <= _OF_LEDGER | _OF_BROKER:
        return partly(f"{said} names nothing of what its code needs: {needed[0]}", remedy)
    return _reachable(subject, around, said, declared)


def _needed(subject: Subject) -> list[str]:
    """Return what a task's code needs beside databases, each with its place."""
    source = subject.source
    return [f"`{each.written}(…)` at {each.place}" for each in (*source.mails, *(out.call for out in source.outside))]


def _reachable(subject: Subject, around: Surroundings, said: str, declared: Sequence[str]) -> Answer:
    silent = {}
    if _OF_LEDGER & set(declared) and around.why_no_ledger:
        silent["postgres"] = record.away(around)
    if _OF_BROKER & set(declared) and around.why_no_broker:
        silent["redis"] = around.why_no_broker
    if silent:
        return unknown(
            f"{said}; not reached from here: {'; '.join(silent.values())}",
            "run the audit where its workers run, with their STEADYBEAT_DATABASE_URL and STEADYBEAT_REDIS_URL",
        )
    asked = ", ".join(sorted(set(declared) & (_OF_LEDGER | _OF_BROKER)))
    found = (record.recent(around) or {}).get(subject.name)
    runs = f"; {found.succeeded_count} of its last {found.run_count} runs succeeded" if found is not None else ""
    return passed(f"{said}{f'; from here answers: {asked}' if asked else ''}{runs}")
