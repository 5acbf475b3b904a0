"""Section 4, idempotency: what becomes of an effect when its run is tried again. What is proven is in `proven`."""

from __future__ import annotations

from steadybeat.audit import by_hand, doing
from steadybeat.audit.answer import Answer, failed, not_applicable, partly, passed, unknown
from steadybeat.audit.checking import check
from steadybeat.audit.guard import gap, lease
from steadybeat.audit.source import Call, Source, Write
from steadybeat.audit.subject import Subject
from steadybeat.audit.surroundings import Surroundings
from steadybeat.audit.timed import timed
from steadybeat.schedule import run_id

_ONCE = "let it happen in `with self.exactly_once(step=…) as db:`, which commits it together with the processed key"
_OUTSIDE = "let it happen in self.external(step, send, resolve=…), which asks what became of it before it is sent again"


@check("4.1")
def unique_run_id(subject: Subject, around: Surroundings) -> Answer:
    """No two runs have one id."""
    fixed = [each for each in subject.schedules if "task_id" in (each.options or {})]
    if fixed:
        value = fixed[0].options["task_id"]
        return failed(f"{fixed[0].name}: options={{'task_id': {value!r}}}: each fire has this id", "leave task_id out")
    sent = [each for each in subject.source.sent if isinstance(each.keyword("task_id"), str)]
    if sent:
        return failed(
            f"`{sent[0].written}(task_id={sent[0].keyword('task_id')!r})` at {sent[0].place}: all it sends have one id",
            "leave task_id out; say idempotency_key= where two are to be one",
        )
    if gap(subject.task):
        return passed("request.id: each message gets one of its own, which a redelivery keeps")
    for each in timed(subject):
        first = each.rule.next_after(around.now)
        second = first and each.rule.next_after(first)
        if first and second:
            ids = f"{first:%Y-%m-%d %H:%M} is {run_id(each.name, first)}, {second:%H:%M} {run_id(each.name, second)}"
            return passed(f"{each.name}: an id is made of name and time of a fire: {ids}")
    return passed("an id is made of the time and 80 random bits (UUIDv7), and is the primary key of steadybeat.runs")


@check("4.2")
def state_checked(subject: Subject, around: Surroundings) -> Answer:
    """Whether an effect has happened is asked before it happens."""
    task, source, why = subject.task, subject.source, gap(subject.task)
    if not source.known:
        return by_hand.unread(source, why or lease(task))
    bare = _bare(source, why)
    if not bare:
        if not doing.effects(source) and why:
            if source.unseen is not None:
                return _unseen(source.unseen)
            return not_applicable(f"its code changes nothing that can be seen ({source.place})")
        return passed(_asked(subject, why))
    remedy = _ONCE if any(bare[0].startswith(kind) for kind in ("INSERT", "UPDATE", "DELETE")) else _OUTSIDE
    if why:
        return failed(f"{why}; {bare[0]}: nothing asks whether it has happened", remedy)
    return partly(
        f"{lease(task)}; but an attempt after one that was killed does it again without asking: {bare[0]}", remedy
    )


def _unseen(commit: Call) -> Answer:
    return unknown(
        f"`{commit.written}()` at {commit.place}: what it changes is not seen in the code",
        "say it in a statement, or declare audit_args= and run `audit --probe`",
    )


def _bare(source: Source, why: str) -> list[str]:
    """Return the effects that happen again with another attempt, each with its place."""
    writes = [
        each for each in source.writes if not doing.asks_for_state(source, each) and (why or not doing.is_fenced(each))
    ]
    calls = [each.call for each in doing.changing(source) if doing.why_no_key(each)]
    loose = [each for each in (*calls, *source.mails) if why or not doing.is_resolved(source, each)]
    said = [f"{each.kind} at {each.place}" for each in writes]
    return [*said, *(f"`{each.written}(…)` at {each.place}" for each in loose)]


def _asked(subject: Subject, why: str) -> str:
    fences = doing.fences(subject.source)
    if why:
        return f"{'; '.join(doing.effects(subject.source))}: the statement itself asks for the state"
    of = f"key_template={subject.task.key_template!r}" if subject.task.key_template else "its fire, or the run's own id"
    said = f"{lease(subject.task)}; processed key: {of}"
    places = ", ".join(dict.fromkeys(f"{each.last}() at {each.place}" for each in fences))
    nothing = f"its code changes nothing that can be seen ({subject.source.place})"
    return f"{said}; {places or '; '.join(doing.effects(subject.source)) or nothing}"


@check("4.3")
def atomic(subject: Subject, around: Surroundings) -> Answer:
    """What belongs together is changed together, or not at all."""
    source = subject.source
    if not source.known:
        return by_hand.unread(source, "its writes")
    if source.unseen is not None:
        return _unseen(source.unseen)
    if not source.writes:
        return not_applicable(f"its code writes no rows ({source.place})")
    loose = [each for each in source.writes if not doing.in_transaction(each.around)]
    if loose and (len(source.writes) > 1 or loose[0].around.loops):
        return failed(
            f"{loose[0].kind} at {loose[0].place} is in no transaction: a crash leaves half of it",
            "let what belongs together happen in one `with self.exactly_once() as db:`",
        )
    if loose:
        return passed(f"one statement: {loose[0].kind} at {loose[0].place}")
    within = ", ".join(dict.fromkeys(f"{each.kind} at {each.place}: {_transaction(each)}" for each in source.writes))
    return passed(within)


def _transaction(write: Write) -> str:
    return f"with {write.around.within[-1]}()"


@check("4.4")
def upserts(subject: Subject, around: Surroundings) -> Answer:
    """A row that is written twice is one row."""
    source, why = subject.source, gap(subject.task)
    if not source.known:
        return by_hand.unread(source, "its writes")
    writes = [each for each in source.writes if each.kind in {"INSERT", "UPSERT"} or each.relative]
    if not writes:
        return not_applicable(f"its code writes no new rows ({source.place})")
    doubling = [
        each for each in writes if not doing.is_upsert(each) and not each.guarded and (why or not doing.is_fenced(each))
    ]
    if doubling:
        twice = "adds to itself" if doubling[0].relative else "writes a second row"
        return failed(
            f"{doubling[0].kind} at {doubling[0].place} {twice} when it happens again",
            f"INSERT … ON CONFLICT (key) DO NOTHING; or {_ONCE}",
        )
    return passed(", ".join(dict.fromkeys(f"{each.kind} at {each.place}{_with_key(each)}" for each in writes)))


def _with_key(write: Write) -> str:
    return ", with the processed key" if not doing.is_upsert(write) and doing.is_fenced(write) else ""


@check("4.5")
def keyed(subject: Subject, around: Surroundings) -> Answer:
    """What is asked of others carries a key by which they know it again, or they are asked what became of it."""
    source, why = subject.source, gap(subject.task)
    if not source.known:
        return by_hand.unread(source, "its calls of other programs")
    calls = doing.changing(source)
    if not calls and not source.mails:
        return not_applicable(f"its code changes nothing elsewhere ({source.place})")
    said = []
    for each in calls:
        resolved = not why and doing.is_resolved(source, each.call)
        keyless = doing.why_no_key(each)
        if keyless and not resolved:
            return failed(f"`{each.call.written}(…)` at {each.call.place}: {keyless}", _OUTSIDE)
        how = "external() asks what became of the one before" if keyless else "with an idempotency key"
        said.append(f"`{each.call.written}(…)` at {each.call.place}: {how}")
    for mail in source.mails:
        if why or not doing.is_resolved(source, mail):
            return failed(f"mail at {mail.place}: nothing says whether it was sent before", _OUTSIDE)
        said.append(f"mail at {mail.place}: external() asks what became of the one before")
    return passed("; ".join(said))
