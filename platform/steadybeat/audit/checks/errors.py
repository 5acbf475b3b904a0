"""Section 5, errors and shutdown: what becomes of an error, of work that is not done, of a worker that ends."""

from __future__ import annotations

import ast
from typing import Any

import sqlalchemy as sa
from celery.utils.imports import symbol_by_name

from steadybeat.audit import by_hand, doing, record
from steadybeat.audit.answer import Answer, failed, not_applicable, partly, passed, unknown
from steadybeat.audit.checking import check
from steadybeat.audit.fanned import fan_of
from steadybeat.audit.guard import gap, lease
from steadybeat.audit.source import Source
from steadybeat.audit.source.definition import place
from steadybeat.audit.source.names import MISSING
from steadybeat.audit.subject import Subject
from steadybeat.audit.surroundings import Surroundings
from steadybeat.audit.telling import is_told
from steadybeat.beat import SteadyScheduler
from steadybeat.errors import Permanent
from steadybeat.task.retrying import decision_on, max_retries, no_retry_left

_RECORD = "let its runs be recorded"
_RAISE = "let it be raised: the run is tried again, and its end is on record"
_ITERATE = (
    "go through it with self.iterate(…, checkpoint=…), or let each have a run or an exactly_once(step=…) of its own"
)


@check("5.1")
def contained(subject: Subject, around: Surroundings) -> Answer:
    """No error escapes what is there to take it, around the scheduler and around the task."""
    why = gap(subject.task)
    if why:
        return failed(why, _RECORD)
    beside = subject.source.parallel
    if beside:
        return partly(
            f"`{beside[0].written}(…)` at {beside[0].place}: an error there is nobody's",
            "let each part be a run of its own: self.fan_out(…), or a group",
        )
    scheduler = symbol_by_name(around.conf.beat_scheduler)
    if subject.schedules and not issubclass(scheduler, SteadyScheduler):
        return failed(
            f"beat_scheduler={scheduler.__module__}:{scheduler.__qualname__}: a fire whose publish fails is lost",
            "leave beat_scheduler out",
        )
    count = around.settings.crash_count
    beat = f"{scheduler.__qualname__} tries a publish again; " if subject.schedules else ""
    return passed(
        f"{beat}{lease(subject.task)} and writes down how an attempt ends; SteadyRequest, when its process dies:"
        f" after steadybeat_crash_count={count} it is a dead letter"
    )


@check("5.2")
def logged(subject: Subject, around: Surroundings) -> Answer:
    """Each error is logged with its run, its task and its stack."""
    task, source, why = subject.task, subject.source, gap(subject.task)
    if why:
        return failed(f"{why}: no line says of which run an error is", _RECORD)
    if not around.conf.worker_hijack_root_logger:
        return partly(
            "worker_hijack_root_logger=False: lines are written by handlers of others",
            "leave worker_hijack_root_logger out, or let your formatter write run, task and stack",
        )
    if task.throws:
        named = ", ".join(each.__name__ for each in task.throws)
        return partly(f"throws=({named}): these are logged without their stack", "leave throws= out")
    if not source.known:
        return by_hand.unread(source, "whether its code hides errors")
    hidden = _hidden(source)
    if hidden:
        return failed(f"{hidden[0]}: no line has its stack", _RAISE)
    return passed(
        "worker_hijack_root_logger=True: each line of a run has run, task and, of an error, its stack;"
        f" nothing in its code catches every error without one ({source.place})"
    )


def _hidden(source: Source, *, unlogged: bool = True) -> list[str]:
    """Return where every error is caught and not raised again, as it stands in the code.

    Args:
        source: The code.
        unlogged: Only where no line has its stack, either.
    """
    handlers = [each for each in source.handlers if each.broad and not each.raises and not (unlogged and each.stack)]
    suppressed = [
        each
        for each in source.called("contextlib.suppress")
        if {each.names.dotted(error) for error in each.arguments} & {"Exception", "BaseException"}
    ]
    return [
        *(f"{each} in `finally`" for each in _left_by_finally(source)),
        *(f"except {', '.join(each.errors)} at {each.place}" for each in handlers),
        *(f"suppress({', '.join(map(ast.unparse, each.arguments))}) at {each.place}" for each in suppressed),
    ]


def _left_by_finally(source: Source) -> list[str]:
    """Return where a ``finally`` returns, which drops the error that is on its way."""
    blocks = [
        (each.definition.file, node.finalbody)
        for each in source.functions
        for node in ast.walk(each.definition.tree)
        if isinstance(node, ast.Try)
    ]
    return [
        f"return at {place(file, each.lineno)}"
        for file, body in blocks
        for each in body
        if isinstance(each, ast.Return)
    ]


@check("5.3")
def alerted(subject: Subject, around: Surroundings) -> Answer:
    """An error that ends its run is told to somebody."""
    swallowed = _hidden(subject.source, unlogged=False)
    if swallowed:
        return failed(f"{swallowed[0]}: the run goes on, or succeeds; nobody is told", _RAISE)
    return is_told(subject, around, "failed" if subject.schedules else "dead_letter")


@check("5.4")
def progress(subject: Subject, around: Surroundings) -> Answer:
    """How far it came is on record."""
    source, why = subject.source, gap(subject.task)
    if not source.known:
        return by_hand.unread(source, "its loops")
    fan = fan_of(subject.task, source)
    if fan is not None and not why:
        return passed(f"{fan.said}: each tenant has a run of its own")
    loops = doing.working_loops(source)
    if not loops:
        return not_applicable(f"it has no loop in which anything is done ({source.place})")
    if why:
        return failed(f"{doing.said_of(loops[0])}: {why}", _RECORD)
    unkept = [each for each in loops if not _keeps(source, each.place, each.around.within)]
    lost = [each for each in unkept if not doing.goes_on(source, each)]
    if lost:
        return failed(f"{doing.said_of(lost[0])}: nothing says how far it came", _ITERATE)
    return passed("; ".join(dict.fromkeys(f"{doing.said_of(each)} {_kept(source, each.place)}" for each in loops)))


def _keeps(source: Source, place: str, within: tuple[str, ...]) -> bool:
    """Return whether each round of a loop is on record by itself, or the whole loop is one transaction."""
    steps = [each for each in (*doing.fences(source), *source.sent) if place in each.around.loops]
    return bool(steps) or any(each.rpartition(".")[2] == "exactly_once" for each in within)


def _kept(source: Source, place: str) -> str:
    steps = [each for each in (*doing.fences(source), *source.sent) if place in each.around.loops]
    return f"keeps each round: `{steps[0].written}(…)`" if steps else "shows how far it is"


@check("5.5")
def bounded(subject: Subject, around: Surroundings) -> Answer:
    """It is not tried again for ever."""
    task, count = subject.task, max_retries(subject.task)
    endless = [each for each in subject.source.called("retry") if each.keyword("max_retries") is None]
    if endless:
        return failed(f"`{endless[0].written}(max_retries=None)` at {endless[0].place}", "give it a count")
    retry_for = getattr(task, "retry_for", None)
    bounds = {"max_retries": count, "retry_for": retry_for, "expires": task.expires}
    said = ", ".join(f"{name}={value}" for name, value in bounds.items() if value is not None)
    if not said:
        return failed("max_retries=None: it is tried again for ever", "set max_retries=, or retry_for=")
    snoozes = subject.source.called("Snooze")
    rest = f"; a Snooze ({snoozes[0].place}) counts as no retry" if snoozes else ""
    return passed(f"{said}{rest}; steadybeat_crash_count={around.settings.crash_count} bounds deaths of its worker")


@check("5.6")
def backed_off(subject: Subject, around: Surroundings) -> Answer:
    """Each pause is longer than the one before, and no two runs come back in one second."""
    task, why = subject.task, gap(subject.task)
    if max_retries(task) == 0:
        return not_applicable("max_retries=0: it is not tried again")
    backoff, jitter = getattr(task, "retry_backoff", None), getattr(task, "retry_jitter", True)
    countdown = (getattr(task, "retry_kwargs", None) or {}).get("countdown")
    fixed = [each for each in subject.source.called("self.retry") if each.keyword("countdown") is not MISSING]
    remedy = "leave countdown out, and set retry_backoff= (seconds) and retry_backoff_max="
    if fixed:
        return failed(f"`{fixed[0].written}(countdown={fixed[0].keyword('countdown')})` at {fixed[0].place}", remedy)
    if not backoff and (why or countdown is not None):
        told = (
            f"retry_kwargs={{'countdown': {countdown}}}" if countdown is not None else f"{why}; retry_backoff={backoff}"
        )
        return failed(f"{told}: pauses do not grow", remedy)
    base = float(backoff or 0) or around.settings.retry_backoff_seconds
    if base <= 0:
        return failed("steadybeat_retry_backoff_seconds=0: it is tried again at once", "set retry_backoff=")
    longest = float(getattr(task, "retry_backoff_max", None) or around.settings.retry_backoff_max_seconds)
    if longest <= base:
        return failed(
            f"{base:g} s, and retry_backoff_max={longest:g} s: pauses do not grow", "let the longest be longer"
        )
    if not jitter:
        return partly(f"retry_backoff={base:g} s, retry_jitter=False: all come back in one second", "leave it out")
    whose = "retry_backoff" if backoff else "steadybeat_retry_backoff_seconds"
    return passed(f"{whose}={base:g} s, doubled each time, less a random share (retry_jitter={jitter})")


_PASSING, _LASTING = "ConnectionError", "IntegrityError"


@check("5.7")
def told_apart(subject: Subject, around: Surroundings) -> Answer:
    """An error that passes is tried again, one that stays is not."""
    task, why = subject.task, gap(subject.task)
    if why:
        return failed(f"{why}: nobody tells its errors apart", _RECORD)
    known = {
        _PASSING: ConnectionError("refused"),
        _LASTING: sa.exc.IntegrityError("INSERT …", {}, Exception("duplicate key")),
        "Permanent": Permanent("no such sale"),
        "ZeroDivisionError": ZeroDivisionError("division by zero"),
    }
    found = {name: decision_on(task, error, 0) for name, error in known.items()}
    spent = no_retry_left(task, 0)
    said = ", ".join(f"{name}: {each.verdict}" for name, each in found.items())
    if spent:
        return not_applicable(f"max_retries=0: no error is tried again ({said})")
    if found[_PASSING].verdict != "retry" or found[_LASTING].verdict == "retry":
        wrong = _PASSING if found[_PASSING].verdict != "retry" else _LASTING
        return failed(
            f"asked what becomes of errors: {said}; {wrong}: {found[wrong].because}",
            "leave autoretry_for= and dont_autoretry_for= out, or say it in classify=",
        )
    return passed(f"asked what becomes of errors: {said}")


@check("5.8")
def dead_letters(subject: Subject, around: Surroundings) -> Answer:
    """A run that has given up waits for a person, who can send it again."""
    why = gap(subject.task)
    if why:
        return failed(f"{why}: a run that gives up is gone", _RECORD)
    found = record.schema(around)
    if found is None:
        return unknown(f"its runs are recorded; whether the ledger keeps them: {record.away(around)}", record.REACH)
    if found.applied is None or found.pending:
        return failed(f"schema {found.applied}, {len(found.pending)} migrations behind", "celery -A … ledger upgrade")
    runs = (record.recent(around) or {}).get(subject.name)
    counted = f"; {runs.dead_count} of its last {runs.run_count} runs are dead" if runs is not None else ""
    return passed(
        f"steadybeat.runs (schema {found.applied}) keeps the whole message of a dead run, without end;"
        f" `dead requeue` sends it again{counted}"
    )


@check("5.9")
def shutdown(subject: Subject, around: Surroundings) -> Answer:
    """A worker that ends lets work finish or hand over, and begins none."""
    source, conf, settings = subject.source, around.conf, around.settings
    why, soft = gap(subject.task), float(conf.worker_soft_shutdown_timeout or 0)
    if why:
        return failed(f"{why}: what does not end in time is cut off, and nobody knows how far it came", _RECORD)
    said = f"worker_soft_shutdown_timeout={soft:g} s"
    if soft <= 0:
        return failed(f"{said}: each attempt is cut off at once", "leave worker_soft_shutdown_timeout out")
    needed = soft + 2 * settings.ledger_timeout_seconds
    if 0 < settings.stop_grace_seconds <= needed:
        return failed(
            f"{said}; steadybeat_stop_grace_seconds={settings.stop_grace_seconds:g} s: killed before it hands over",
            f"let whoever ends workers wait for more than {needed:g} s, and set steadybeat_stop_grace_seconds to that",
        )
    if not source.known:
        return by_hand.unread(source, said)
    deaf = [each for each in doing.working_loops(source) if not doing.goes_on(source, each)]
    if deaf:
        return partly(f"{said}; {doing.said_of(deaf[0])} does not ask whether its worker ends", _ITERATE)
    return passed(
        f"{said}; what has not ended then is handed back, and the next attempt goes on ({lease(subject.task)})"
    )


@check("5.10")
def resumes(subject: Subject, around: Surroundings) -> Answer:
    """What was not done is on record, and is gone on with."""
    task, why = subject.task, gap(subject.task)
    if why:
        return failed(f"{why}: what dies with its worker is not known to anybody", _RECORD)
    wrong = [name for name in ("acks_late", "reject_on_worker_lost") if not getattr(task, name)]
    if wrong:
        return failed(
            f"{', '.join(f'{each}=False' for each in wrong)}: its message is gone before its end is on record",
            f"leave {' and '.join(wrong)} out",
        )
    lasts = around.settings.lease_seconds
    said = f"acks_late=True; sent again after steadybeat_lease_seconds={lasts:g} s without a sign of life"
    living = record.instances(around)
    if living is None:
        return unknown(f"{said}; whether somebody looks: {record.away(around)}", record.REACH)
    lookers = [each for each in living if each.role in ("beat", "watchdog")]
    if not lookers:
        return failed(f"{said}; but no Beat and no watchdog lives to see it", "run celery -A … beat")
    return passed(f"{said}; looked for by {', '.join(_named(each) for each in lookers)}")


def _named(instance: Any) -> str:
    return f"{instance.role} {instance.host}:{instance.pid}"


@check("5.11")
def freed(subject: Subject, around: Surroundings) -> Answer:
    """Nothing stays locked when its worker has ended."""
    why = gap(subject.task)
    own = by_hand.lock_of(subject.source)
    if why:
        return by_hand.released(subject.source, why)
    if own is not None:
        answer = by_hand.released(subject.source, "")
        if answer.verdict != "PASS":
            return answer
    lasts = around.settings.lease_seconds
    held = "lock and lease are" if subject.task.lock or subject.task.concurrency else "its lease is"
    return passed(
        f"{held} given back on every way out (SteadyTask.__call__, finally); what a killed worker held lapses after"
        f" steadybeat_lease_seconds={lasts:g} s"
    )
