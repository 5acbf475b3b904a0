"""Scaled: section 7, many instances, of a plain application."""

from __future__ import annotations

import re
from datetime import timedelta

from steadybeat.audit.answer import Answer, failed, not_applicable, partly, passed, unknown
from steadybeat.audit.finding import Verdict
from steadybeat.audit.plain.asking import files_written, hard_limit, is_redis, seconds, turns, unread, visibility
from steadybeat.audit.plain.checking import check
from steadybeat.audit.plain.locked import outlives, taken
from steadybeat.audit.plain.program import Job, Program
from steadybeat.audit.plain.repeated import checked
from steadybeat.audit.plain.running import scheduler_apart
from steadybeat.audit.plain.telling import told

INSTANCE = re.compile(r"hostname|instance|node_?name|pod_?name|gethostname|\bhost\b", re.IGNORECASE)
FAILOVER = timedelta(minutes=5)


@check("7.1")
def once(job: Job, program: Program) -> Answer:
    """One execution however many instances."""
    turn = taken(job, program)
    if turn.verdict is not Verdict.PASS:
        return Answer(Verdict.FAIL if turn.verdict is Verdict.PARTIAL else turn.verdict, turn.evidence, turn.remedy)
    long_enough = outlives(job, program)
    if long_enough.verdict is not Verdict.PASS:
        return long_enough
    state = checked(job, program)
    if state.verdict is Verdict.PASS:
        return passed(f"{turn.evidence}; {state.evidence}")
    return partly(
        f"one at a time ({turn.evidence}), but a second message of the same fire runs after the first",
        "Note in the database which fire was done, in the transaction of the effect, and return where it is.",
    )


@check("7.2")
def any_worker(job: Job, program: Program) -> Answer:
    """Any worker may run any job of its queue."""
    if not job.source.known:
        return unknown(unread(job), "Read the code: does it use files of its machine?")
    if program.conf.worker_direct:
        return partly("worker_direct=True: messages may be meant for one worker", "Send to queues of services.")
    writes = files_written(job)
    if writes:
        return failed(
            f"{writes[0].written}() at {writes[0].place}: a file of one machine", "Keep it in the database or in S3."
        )
    return passed(f"{len(job.source.functions)} functions read: none keeps anything on its machine")


@check("7.3")
def instance_id(job: Job, program: Program) -> Answer:
    """Instance id in every log line and run."""
    conf = program.conf
    both = (str(conf.worker_log_format), str(conf.worker_task_log_format))
    if all(INSTANCE.search(each) for each in both):
        return passed(f"worker_task_log_format={conf.worker_task_log_format!r}")
    for signal in ("setup_logging", "after_setup_logger", "after_setup_task_logger"):
        for source in program.receivers(signal):
            found = next((each for each in (*source.texts,) if INSTANCE.search(each.text)), None)
            if found is not None:
                return passed(f"{signal}: {found.text[:80]!r} ({found.place})")
            if signal == "setup_logging":
                return unknown(
                    f"setup_logging is done by {source.place}",
                    "Look at one line of the log: does it name the host and the process?",
                )
    return failed(
        f"worker_log_format={conf.worker_log_format!r}: no host",
        "Put the host into worker_log_format and worker_task_log_format.",
    )


@check("7.4")
def fails_over(job: Job, program: Program) -> Answer:
    """Scheduler fails over."""
    if not job.entries and not program.keeps_schedules_elsewhere:
        return not_applicable("beat_schedule has no entry for it")
    written = str(program.conf.beat_scheduler)
    if not written.startswith("redbeat"):
        return failed(
            f"beat_scheduler={written!r}: a second Beat would fire everything twice, so there is but one",
            "Use RedBeat (beat_scheduler='redbeat.RedBeatScheduler') and start two Beats.",
        )
    lock_key = program.conf.get("redbeat_lock_key", "default")
    if lock_key is None:
        return failed("redbeat_lock_key=None: two Beats fire everything twice", "Leave it out.")
    timeout = program.conf.get("redbeat_lock_timeout")
    if timeout is None or float(timeout) > FAILOVER.total_seconds():
        return partly(
            f"redbeat_lock_timeout={timeout or '25 min (default)'}: so long nothing is sent when Beat dies",
            "Set redbeat_lock_timeout=60, beat_max_loop_interval=5.",
        )
    return passed(f"beat_scheduler={written!r}, redbeat_lock_timeout={timeout} s")


@check("7.5")
def dead_holder(job: Job, program: Program) -> Answer:
    """A dead holder blocks nobody for longer than its time limit."""
    held = turns(job)
    limit, where = hard_limit(job, program)
    if job.task.acks_late and is_redis(program) and limit is not None and visibility(program) > max(4 * limit, 600):
        return partly(
            f"the message of a dead worker comes back after {seconds(visibility(program))}; {where}",
            "Set the visibility timeout a little above the longest time limit.",
        )
    if not held:
        return not_applicable("it holds no lock")
    lock = held[0]
    if lock.kind in {"row", "advisory", "file"}:
        return passed(f"its server or system frees it with the connection ({lock.place})")
    if lock.bounded is False:
        return failed(f"never lapses: {lock.text[:80]} ({lock.place})", "Give it a time-out a little above time_limit.")
    if lock.seconds is None or limit is None:
        return unknown(f"lock: {seconds(lock.seconds)}; {where}", "Set both, the lock's a little longer.")
    if lock.seconds > 2 * limit:
        return failed(
            f"the lock holds {seconds(lock.seconds)}, an attempt {seconds(limit)} at the most",
            "Give it a time-out a little above time_limit.",
        )
    return passed(f"the lock lapses after {seconds(lock.seconds)}; {where}")


@check("7.6")
def health(job: Job, program: Program) -> Answer:
    """Health checks see a stuck instance."""
    asked = [each for each in program.commands if each.asks_for_life]
    limit, where = hard_limit(job, program)
    if asked and limit is not None:
        return passed(f"{asked[0].text[:80]} ({asked[0].place}); {where} ends what hangs in a child")
    if asked:
        return partly(
            f"{asked[0].text[:80]} ({asked[0].place}) asks the parent only, and no time limit ends what hangs",
            "Set time_limit=.",
        )
    beats = [each for each in program.receivers("heartbeat_sent") if told(each) or each.called("touch", "write_text")]
    if beats and limit is not None:
        return passed(f"a sign of life with each heartbeat ({beats[0].place}); {where} ends what hangs in a child")
    count = len(program.commands)
    return failed(
        f"no file asks workers or Beat for a sign of life; commands of its processes that were read: {count}",
        "Add a health check: celery -A … inspect ping -d celery@$HOSTNAME.",
    )


@check("7.7")
def scale_apart(job: Job, program: Program) -> Answer:
    """Workers scale without schedulers."""
    return scheduler_apart(program)


@check("7.8")
def contention(job: Job, program: Program) -> Answer:
    """Contention bounded (concurrency per task, per tenant, per queue)."""
    if job.task.rate_limit:
        return partly(
            f"rate_limit={job.task.rate_limit!r}: per worker, not for all",
            "Give it a queue of its own, with worker_concurrency set.",
        )
    locks = [each for each in turns(job) if each.tested and each.kind != "row" and not each.varies]
    if locks:
        return passed(f"one at a time, by its lock ({locks[0].place})")
    queue = program.queue_of(job)
    concurrency = program.conf.worker_concurrency or next(
        (
            each.option("-c", "--concurrency")
            for each in program.commands
            if each.is_worker and each.option("-c", "--concurrency")
        ),
        None,
    )
    others = [each for each in program.jobs if each is not job and program.queue_of(each) == queue]
    if queue and not others and concurrency:
        return passed(f"queue {queue!r} of its own, concurrency {concurrency}")
    if queue and queue != program.conf.task_default_queue and concurrency:
        return passed(f"queue {queue!r} of its service, concurrency {concurrency}")
    places = concurrency or "as many as there are cores"
    return failed(
        f"queue {queue!r} is shared with {len(others)} other tasks, concurrency {places}: one task can take all places",
        "Route it to its service's queue (task_routes), and set worker_concurrency.",
    )


@check("7.9")
def pools(job: Job, program: Program) -> Answer:
    """Connection pools bounded."""
    limit = program.conf.broker_pool_limit
    if not limit:
        return failed(
            f"broker_pool_limit={limit}: connections of the broker are not bounded, or made anew each time",
            "Set broker_pool_limit=10.",
        )
    endless = [
        each
        for each in program.calls
        if each.last == "create_engine"
        and (
            each.names.dotted(each.keywords["poolclass"]).endswith("NullPool")
            if "poolclass" in each.keywords
            else each.keyword("max_overflow") == -1
        )
    ]
    if endless:
        return failed(
            f"{endless[0].written}() at {endless[0].place} has no bound",
            "Leave poolclass out; set pool_size and max_overflow.",
        )
    direct = job.source.called("psycopg.connect", "psycopg2.connect", "pymysql.connect", "asyncpg.connect")
    if direct and any(each.around.loops for each in direct):
        return failed(f"{direct[0].written}() in a loop at {direct[0].place}: a connection each time", "Use a pool.")
    return passed(f"broker_pool_limit={limit}" + (f"; {_engine(program)}" if _engine(program) else ""))


def _engine(program: Program) -> str:
    found = program.called("create_engine")
    if not found:
        return ""
    size, overflow = found[0].keyword("pool_size"), found[0].keyword("max_overflow")
    said = [
        f"{name}={value}" for name, value in (("pool_size", size), ("max_overflow", overflow)) if isinstance(value, int)
    ]
    return f"create_engine({', '.join(said)}) at {found[0].place}" + (
        "" if said else ": SQLAlchemy's own bounds, 5 + 10"
    )
