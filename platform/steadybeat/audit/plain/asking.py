"""Asking: what several lines want to know of a job of a plain application."""

from __future__ import annotations

import ast
import re
from typing import Any

from steadybeat.audit.plain.program import Job, Program
from steadybeat.audit.source import Call, Handler, Lock, Loop, Write

LIBRARIES = ("celery_once", "celery_singleton", "celery_heimdall")
"""Packages that take locks for a task by its base class."""

LOCAL = ("shelve.open", "sqlite3.connect", "shutil.copy", "shutil.move", "os.rename", "os.replace")
"""What keeps something on the machine it is called on."""

WRITING = frozenset({"write_text", "write_bytes"})
MODE = re.compile(r"[rwaxbt+]{1,3}")

TRANSACTIONS = ("atomic", "begin", "transaction", "begin_nested", "savepoint", "exactly_once", "session_scope")
FANNING = frozenset({"delay", "apply_async", "send_task", "s", "si", "signature"})
TENANTS = (
    "tenant",
    "account",
    "customer",
    "user",
    "shop",
    "organisation",
    "organization",
    "team",
    "client",
    "workspace",
    "subscriber",
    "recipient",
    "artist",
    "merchant",
    "company",
    "companies",
    "member",
    "site",
    "org",
    "store",
    "seller",
)
"""Words for whom a job does its share, in the singular."""


def seconds(value: float | None) -> str:
    """Return a duration as text."""
    if value is None:
        return "no limit"
    for size, unit in ((3600, "h"), (60, "min")):
        if value >= size and value % size == 0:
            return f"{value / size:g} {unit}"
    return f"{value:g} s"


def hard_limit(job: Job, program: Program) -> tuple[float | None, str]:
    """Return after how many seconds an attempt is killed, and where that stands; None where it never is."""
    own, conf = job.task.time_limit, program.conf.task_time_limit
    if own and own != conf:
        return float(own), f"time_limit={own} s (task)"
    if conf:
        return float(conf), f"task_time_limit={conf} s (configuration)"
    return None, "time_limit=None, task_time_limit=None"


def pools(program: Program) -> dict[str, str]:
    """Return the kinds of pool its workers have, each with where that stands."""
    found = {}
    for command in program.commands:
        pool = command.option("-P", "--pool") if command.is_worker else None
        if pool:
            found[pool] = command.place
    return found or {str(program.conf.worker_pool): "worker_pool"}


def not_prefork(program: Program) -> str:
    """Return which pool is none of processes, so that nothing can be killed in it, and where it stands; else empty."""
    return next(
        (f"{pool} ({where})" for pool, where in pools(program).items() if pool not in {"prefork", "processes"}), ""
    )


def is_redis(program: Program) -> bool:
    """Say whether its messages are in Redis."""
    return str(program.conf.broker_url or "").partition(":")[0] in {"redis", "rediss", "sentinel", "valkey"}


def visibility(program: Program) -> float:
    """Return after how many seconds Redis gives a message out again that nobody has acknowledged."""
    return float((program.conf.broker_transport_options or {}).get("visibility_timeout") or 3600)


def turns(job: Job) -> list[Lock]:
    """Return what gives a job its turn: locks that its code takes, and rows that its transaction locks."""
    source = job.source
    rows = [each for each in source.statements if each.kind == "LOCK"]
    if not rows and is_one_statement(job):
        rows = list(source.writes)
    return [*source.locks, *(_row(each) for each in rows)]


def is_one_statement(job: Job) -> bool:
    """Say whether all that a job does is one statement that takes rows by their state."""
    writes = job.source.writes
    if len(writes) != 1 or job.source.outside or job.source.mails or job.source.sent:
        return False
    write = writes[0]
    return (
        write.kind in {"UPDATE", "DELETE", "UPSERT"}
        and not write.relative
        and (bool(write.where) or write.kind == "UPSERT")
        and not write.around.loops
    )


def _row(write: Write) -> Lock:
    text = write.text.lower()
    waits = not ("skip locked" in text or "nowait" in text or "skip_locked" in text)
    return Lock(
        kind="row",
        text=write.text,
        key="the rows themselves",
        varies=True,
        seconds=None,
        bounded=True,
        waits=waits,
        wait_seconds=None,
        owned=True,
        released="transaction",
        extended=True,
        tested=True,
        without="raises",
        release_errors="raises",
        place=write.place,
        function=write.function,
        around=write.around,
    )


def library_lock(job: Job) -> str:
    """Return the package whose base class takes a lock for a job; empty where there is none."""
    heads = {str(each.__module__).partition(".")[0] for each in type(job.task).__mro__}
    return next((each for each in LIBRARIES if each in heads), "")


def is_transaction(call_names: tuple[str, ...]) -> bool:
    """Say whether one of the contexts around a line is a transaction."""
    return any(
        each.rpartition(".")[2] in TRANSACTIONS or each in {"psycopg.connect", "psycopg2.connect"}
        for each in call_names
    )


def effects(job: Job) -> list[str]:
    """Return what a job does to the world, each with its place."""
    source = job.source
    return [
        *(f"{each.kind} at {each.place}" for each in source.writes),
        *(f"{each.call.written}() at {each.call.place}" for each in source.outside if each.changes),
        *(f"mail at {each.place}" for each in source.mails),
        *(f"{each.written}() at {each.place}" for each in source.sent),
        *(f"{each.written}() at {each.place}" for each in files_written(job)),
    ]


def files_written(job: Job) -> list[Call]:
    """Return the calls by which a job writes files of the machine that it is on."""
    return [each for each in job.source.calls if each.name in LOCAL or each.last in WRITING or _opens_for_writing(each)]


def _opens_for_writing(call: Call) -> bool:
    if call.last != "open":
        return False
    given = [call.argument(1 if call.name == "open" else 0), call.keyword("mode")]
    return any(MODE.fullmatch(each) is not None and set("wax+") & set(each) for each in given if isinstance(each, str))


def working_loops(job: Job) -> list[Loop]:
    """Return the loops in which a job does something to the world, asks other programs, or goes through rows."""
    source = job.source
    places = {
        place
        for around in (
            *(each.around for each in source.writes),
            *(each.call.around for each in source.outside),
            *(each.around for each in source.mails),
            *(each.around for each in source.sent),
        )
        for place in around.loops
    }
    return [each for each in source.loops if each.place in places or (each.kind == "for" and _is_input(each))]


def _is_input(loop: Loop) -> bool:
    """Say whether a loop goes through what a database gave."""
    text = ast.unparse(loop.names.standing_for(loop.node))
    return any(word in text for word in (".objects", ".execute(", ".query(", ".fetch", ".iterator(", ".scalars("))


def of_tenants(job: Job) -> list[Loop]:
    """Return the loops in which a job does a share for each of many tenants."""
    return [each for each in working_loops(job) if each.kind != "while" and _names_tenants(each.over)]


def _names_tenants(over: str) -> bool:
    words = over.lower().replace(".", " ").replace("_", " ").replace("(", " ").split()
    return any(word in {each, f"{each}s", f"{each}es"} for word in words for each in TENANTS)


def fan_outs(job: Job) -> list[Loop]:
    """Return the loops in which a job does a share for each of many tenants, or sends one task for each."""
    source = job.source
    sending = [each for each in working_loops(job) if any(call.last in FANNING for call in source.inside(each))]
    found = {each.place: each for each in (*of_tenants(job), *sending)}
    return list(found.values())


def retries(job: Job) -> list[Call]:
    """Return the calls by which a job asks for another attempt."""
    return [each for each in job.source.calls if each.last == "retry" and "self" in each.written.partition(".")[0]] + [
        each
        for each in job.source.calls
        if each.written.endswith(".retry")
        and not each.written.startswith("self")
        and each.keywords.keys() & {"exc", "countdown", "max_retries", "eta"}
    ]


def autoretry(job: Job) -> tuple[Any, ...]:
    """Return the errors for which a job is tried again by itself."""
    found = getattr(job.task, "autoretry_for", ()) or ()
    return tuple(found) if isinstance(found, tuple | list) else (found,)


def hiding(job: Job) -> list[Handler]:
    """Return every ``except`` of every error that lets the run go on as if it had not happened."""
    return [each for each in job.source.handlers if each.broad and not each.raises]


def unread(job: Job) -> str:
    """Return why a job's code says nothing."""
    return f"its code cannot be read: {'; '.join(job.source.unread)}"


IN_THREADS = ("threading.Thread", "threading.Timer", "multiprocessing.Process", "_thread.start_new_thread")
STARTING = ("worker_main", "Worker", "WorkController", "Beat", "EmbeddedService", "run_pending")
IN_PROCESS = (
    "apscheduler.schedulers.background.",
    "apscheduler.schedulers.asyncio.",
    "schedule.run_pending",
    "celery.beat.EmbeddedService",
)


def in_web_process(program: Program) -> str:
    """Return what shows that jobs run within another program, such as the web server; empty where nothing does."""
    if program.conf.task_always_eager:
        return "task_always_eager=True: a task runs in whoever sends it"
    for call in program.calls:
        if call.name.startswith(IN_THREADS):
            given = [call.names.dotted(each) for each in (*call.arguments, *call.keywords.values())]
            started = next((each for each in given if each.rpartition(".")[2] in STARTING), "")
            if started:
                what = f"{call.written}(target={started.rpartition('.')[2]})"
                return f"{what} at {call.place}: a worker inside another program"
        if call.name.startswith(IN_PROCESS):
            return f"{call.written}() at {call.place}: a scheduler inside another program"
    return ""
